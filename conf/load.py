"""Read the configuration, once, and say everything that is wrong with it at once.

    settings = load(Path("/etc/arimon/arimon.yaml"))

The layers, each laid over the one before, key by key (a list replaces a list):

    conf/default.yaml
    conf/production.yaml or conf/development.yaml   by application.environment, whichever layer sets it
    the file given by --config
    environment variables                           ARIMON_RABBITMQ__PORT=5673, ARIMON_PBX__0__PASSWORD=…
    overrides                                       what the command line decides (--demo, --state-dir)

In YAML, `${NAME}` and `${NAME:default}` take environment variables, and `$$` is a `$`. An index in a variable's name
overrides one field of one list item and keeps the others; the first index that is free adds an item. A `*_file` key
wins over the key it is named after: its file's text is the secret.

Keys that do not exist are errors, in files and in the environment: a mistyped key that is quietly ignored is found
months later. No error quotes a secret, nor anything that came from the environment.
"""

import dataclasses
import grp
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from conf import keys
from conf.secrets import MASK, Secret
from conf.settings import Pbx, Section, Settings
from conf.sources import (
    Branch,
    Leaf,
    Problem,
    Row,
    Tree,
    YamlFile,
    dotted,
    find,
    from_values,
    overlay,
    read_bounded,
    variables,
)

__all__ = ["ConfigurationError", "Problem", "check", "load", "show"]

HERE = Path(__file__).resolve().parent

SHIPPED = Settings(pbx=(Pbx(name="pbx1"),))
"""What default.yaml and production.yaml say: a tree of layers that says the same needs no validation."""


class ConfigurationError(Exception):
    """The configuration is wrong. `problems` has all of it; the text is a line for each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def load(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings, frozen.

    Args:
        config: the operator's file, if there is one.
        overrides: nested as in YAML; wins over everything.
        environ: environment variables; None takes the process's.

    Raises:
        ConfigurationError: something is wrong with them.
    """
    settings, problems = _read(config, overrides or {}, os.environ if environ is None else environ)
    if settings is None or problems:
        raise ConfigurationError(problems)
    return settings


def check(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Everything that is wrong, for `arimond --check`: what `load` refuses, and what this host lacks.

    The host's part (files to be read, groups, the state directory) is only looked at when all values are right.
    """
    settings, problems = _read(config, overrides or {}, os.environ if environ is None else environ)
    if settings is not None and not problems:
        problems = _host(settings)
    return problems


def show(settings: Settings) -> str:
    """The settings in force as YAML that could be used as a file, with secrets masked."""
    return yaml.safe_dump(_shown(settings), sort_keys=False, allow_unicode=True)


def _shown(value: Any) -> Any:
    if isinstance(value, Section):
        return {field.name: _shown(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, tuple | list):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _read(
    config: Path | None, overrides: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[Settings | None, list[Problem]]:
    """The settings, if their values are right, and all problems."""
    problems: list[Problem] = []

    def file(path: Path) -> Branch:
        reader = YamlFile(path, environ, _may_be_null)
        tree = reader.read()
        problems.extend(reader.problems)
        return tree

    default = file(HERE / "default.yaml")
    own = file(config) if config is not None else Branch({}, "")
    decided = from_values(overrides, "the command line")
    # The environment's own layer lies between default and --config, but --config, a variable or the command line may
    # name it. What is wrong with the variables is noted in the second pass.
    environment = _environment(overlay(_variables(overlay(default, own), environ, []), decided))
    tree: Tree = default
    if environment is not None:
        tree = overlay(tree, file(HERE / f"{environment}.yaml"))
    tree = overlay(tree, own)
    tree = _variables(tree, environ, problems)
    tree = overlay(tree, decided)
    _secret_files(tree, (), problems)
    _names(tree, problems)
    if _says(tree, SHIPPED):
        return SHIPPED, _once(problems)
    # pydantic-settings, and pydantic with it, cost more than all the rest of arimon-ctl's start.
    from conf.validation import validate

    settings, wrong = validate(tree)
    said = {problem.key for problem in problems}
    return settings, _once([*problems, *(problem for problem in wrong if problem.key not in said)])


def _says(tree: Tree, value: Any) -> bool:
    """Whether a tree says of a value just what it is already, in the same types: then nothing of it need be checked.

    What is not sure is a no: it costs a check, whose outcome is the same.
    """
    if isinstance(tree, Branch):
        if not isinstance(value, Section):
            return False
        fields = dataclasses.fields(value)
        return tree.items.keys() <= {field.name for field in fields} and all(
            _says(tree.items[field.name], getattr(value, field.name))
            if field.name in tree.items
            else getattr(value, field.name) == _default(field)
            for field in fields
        )
    if isinstance(tree, Row):
        return (
            isinstance(value, tuple)
            and len(tree.items) == len(value)
            and all(_says(below, item) for below, item in zip(tree.items, value, strict=True))
        )
    if isinstance(value, Path | Secret):
        value = str(value) if isinstance(value, Path) else value.get_secret_value()
    return type(tree.value) is type(value) and bool(tree.value == value)


def _default(field: "dataclasses.Field[Any]") -> Any:
    """What a field is when nobody says anything; MISSING, which equals nothing else, if somebody must."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _once(problems: list[Problem]) -> list[Problem]:
    """Without repetitions: one unset variable can stand in a place that two aliases use."""
    return list(dict.fromkeys(problems))


def _environment(tree: Tree) -> str | None:
    found = find(tree, ("application", "environment"))
    value = found.value if isinstance(found, Leaf) else None
    return value if value in ("production", "development") else None


def _may_be_null(path: tuple[str, ...]) -> bool:
    return any(key.optional for key in keys.every().values() if tuple(step for step in key.path if step != "*") == path)


# Environment variables


def _variables(tree: Tree, environ: Mapping[str, str], problems: list[Problem]) -> Tree:
    """The tree with the environment's settings laid over it."""
    for variable, parts, value in variables(environ):
        where = f"environment variable {variable}"
        path = _resolve(tree, parts)
        if isinstance(path, _Unknown):
            problems.append(Problem("", path.what, where, path.mend or _suggest_variable(variable)))
            continue
        key = keys.at(path)
        leaf: Tree = Leaf(value if value or key is None or not key.optional else None, where, shown=False)
        if key is not None and key.shape != "scalar":
            try:
                leaf = from_values(orjson.loads(value), where)
            except orjson.JSONDecodeError:
                mend = f"Write it as JSON, or set one of its items: {variable}__…"
                problems.append(Problem(dotted(path), f"a {key.shape} is wanted, and this is no JSON", where, mend))
                continue
        tree = _placed(tree, path, leaf, where)
    return tree


@dataclass(frozen=True, slots=True)
class _Unknown:
    """Why a variable names no key."""

    what: str
    mend: str | None = None


def _resolve(tree: Tree, parts: tuple[str, ...]) -> tuple[str | int, ...] | _Unknown:
    """The key path that a variable's parts name, or what is wrong with them."""
    path: tuple[str | int, ...] = ()
    for at, part in enumerate(parts):
        key = keys.at(path) if path and not isinstance(path[-1], int) else None
        if key is not None and key.shape == "mapping":
            return (*path, ".".join(parts[at:]))
        if key is not None and key.shape == "list":
            found = find(tree, path)
            there = len(found.items) if isinstance(found, Row) else 0
            if not part.isdecimal() or len(part) > 6:
                return _Unknown(f"{dotted(path)} is a list, and {part} is no index", "Write 0 for its first item.")
            if int(part) > there:
                return _Unknown(f"{dotted(path)} has only {there} items", f"The next item's index is {there}.")
            path = (*path, int(part))
        elif part.lower() in keys.below(path):
            path = (*path, part.lower())
        else:
            return _Unknown(f"{dotted((*path, part.lower()))} is no known key")
    return path


def _suggest_variable(variable: str) -> str:
    import difflib  # here, because few starts have a mistake to explain

    known = ["ARIMON_" + "__".join(step.upper() for step in path).replace("*", "0") for path in keys.every()]
    close = difflib.get_close_matches(variable, known, 1, 0.8)
    return f"Did you mean {close[0]}?" if close else "See docs/configuration.md for the keys, or unset it."


def _placed(tree: Tree, path: tuple[str | int, ...], value: Tree, where: str) -> Tree:
    """A copy of the tree with `value` at `path`."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        items = list(tree.items) if isinstance(tree, Row) else []
        if step == len(items):
            items.append(Branch({}, where))
        items[step] = _placed(items[step], rest, value, where)
        return Row(items, tree.where)
    branch = dict(tree.items) if isinstance(tree, Branch) else {}
    branch[step] = _placed(branch.get(step, Branch({}, where)), rest, value, where)
    return Branch(branch, tree.where)


# Checks that need the tree


def _secret_files(tree: Tree, path: tuple[str | int, ...], problems: list[Problem]) -> None:
    """Put the text of each `*_file` in place of the secret that it is named after."""
    if isinstance(tree, Row):
        for index, item in enumerate(tree.items):
            _secret_files(item, (*path, index), problems)
    if not isinstance(tree, Branch):
        return
    for name, value in list(tree.items.items()):
        _secret_files(value, (*path, name), problems)
        if not name.endswith("_file"):
            continue
        wanted = keys.at((*path, name.removesuffix("_file")))
        if wanted is None or not wanted.secret:
            continue
        if not isinstance(value, Leaf) or not isinstance(value.value, str):
            continue
        key = dotted((*path, name))
        try:
            text = read_bounded(Path(value.value)).decode().removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            mend = "Check that it exists and that arimon's user may read it."
            problems.append(Problem(key, f"the secret's file cannot be read: {said}", value.where, mend))
            continue
        if not text:
            problems.append(Problem(key, "the secret's file is empty", value.where, "Write the secret into it."))
        tree.items[name.removesuffix("_file")] = Leaf(text, value.where, shown=False)


def _names(tree: Tree, problems: list[Problem]) -> None:
    """There is a PBX, and no two have the same name."""
    pbxs = find(tree, ("pbx",))
    if not isinstance(pbxs, Row) or not pbxs.items:
        if not isinstance(pbxs, Leaf):
            mend = "Name at least one under `pbx:`, as docs/configuration.md shows."
            problems.append(Problem("pbx", "no PBX is configured", pbxs.where, mend))
        return
    first: dict[str, int] = {}
    for index, pbx in enumerate(pbxs.items):
        name = find(pbx, ("name",))
        # The name becomes a directory, and some file systems know no case.
        if isinstance(name, Leaf) and isinstance(name.value, str):
            earlier = first.setdefault(name.value.lower(), index)
            if earlier != index:
                what = f"the name is that of pbx.{earlier} already"
                problems.append(Problem(f"pbx.{index}.name", what, name.where, "Give each PBX a name of its own."))


def _host(settings: Settings) -> list[Problem]:
    """What the settings ask of this host that it does not have."""
    problems: list[Problem] = []

    def add(key: str, what: str, mend: str) -> None:
        problems.append(Problem(key, what, "this host", mend))

    bundles = [(f"pbx.{index}.ca_file", pbx.ca_file) for index, pbx in enumerate(settings.pbx)]
    for key, path in [*bundles, ("rabbitmq.ca_file", settings.rabbitmq.ca_file)]:
        if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
            add(key, f"{path} cannot be read", "Check that it exists and that arimon's user may read it.")
    group = settings.control.group
    if group is not None:
        try:
            grp.getgrnam(group)
        except KeyError:
            add("control.group", f"there is no group {group}", f"Make it (groupadd --system {group}), or name another.")
    file = settings.logging.file
    places = {"state_dir": settings.state_dir, "control.socket": settings.control.socket.parent}
    if file is not None:
        places["logging.file"] = file.parent
    for key, place in places.items():
        there = next(parent for parent in (place, *place.parents) if parent.exists())
        if not there.is_dir():
            add(key, f"{there} is no directory", "Remove it, or name another.")
        elif not os.access(there, os.W_OK | os.X_OK):
            add(key, f"{there} cannot be written to", "Give it to arimon's user, or name another.")
    return problems
