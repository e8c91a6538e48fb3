"""Where settings come from, before anyone asks whether they are right: YAML files and environment variables as trees.

A tree is made of dicts, lists and leaves; every leaf knows where it stands. YAML is composed with PyYAML's safe loader
and then walked here, node by node: that gives line numbers, notices keys given twice, and counts what aliases and
merges expand to, so that a few lines cannot fill the memory.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LARGEST_FILE = 1024 * 1024
"""A larger configuration or secret file is refused, bytes."""

MOST_NODES = 20_000
"""Values in one file, counted after its aliases are expanded."""

DEEPEST = 30
"""Nesting in one file."""

PREFIX = "ARIMON_"

VARIABLE = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\}")
"""`${NAME}`, `${NAME:default}`, and `$$` for a `$` of its own."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration."""

    key: str
    """Its path, as `pbx.0.url`; empty when it concerns a file as a whole."""
    what: str
    """What is wrong."""
    where: str
    """`/etc/arimon.yaml:12`, `environment variable ARIMON_RABBITMQ__PORT`, `default.yaml`, …"""
    mend: str
    """What to do about it."""

    def __str__(self) -> str:
        """One line, for people."""
        return f"{self.key + ': ' if self.key else ''}{self.what} ({self.where}). {self.mend}"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value, and where it was found."""

    value: Any
    where: str
    shown: bool = True
    """False when the value came from the environment: then no error quotes it."""


@dataclass(slots=True)
class Branch:
    """A mapping of keys to trees, and where it begins."""

    items: dict[str, "Tree"]
    where: str


@dataclass(slots=True)
class Row:
    """A list of trees, and where it begins."""

    items: list["Tree"]
    where: str


Tree = Branch | Row | Leaf


def overlay(below: Tree | None, above: Tree) -> Tree:
    """`above` laid over `below`: mappings key by key, everything else whole."""
    if isinstance(below, Branch) and isinstance(above, Branch):
        items = dict(below.items)
        for key, value in above.items.items():
            items[key] = overlay(items.get(key), value)
        return Branch(items, above.where)
    return above


def plain(tree: Tree) -> Any:
    """The tree as dicts, lists and values."""
    if isinstance(tree, Branch):
        return {key: plain(value) for key, value in tree.items.items()}
    if isinstance(tree, Row):
        return [plain(value) for value in tree.items]
    return tree.value


def find(tree: Tree, path: tuple[str | int, ...]) -> Tree:
    """What stands at `path`, or the nearest thing above it."""
    for step in path:
        below: Tree | None = None
        if isinstance(tree, Branch) and isinstance(step, str):
            below = tree.items.get(step)
        elif isinstance(tree, Row) and isinstance(step, int) and step < len(tree.items):
            below = tree.items[step]
        if below is None:
            break
        tree = below
    return tree


def from_values(values: Any, where: str) -> Tree:
    """A tree of ready values."""
    if isinstance(values, Mapping):
        return Branch({str(key): from_values(value, where) for key, value in values.items()}, where)
    if isinstance(values, list | tuple):
        return Row([from_values(value, where) for value in values], where)
    return Leaf(values, where, shown=False)


def read_bounded(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        OSError: it cannot be read, is no file, or is too large.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise OSError(f"larger than {LARGEST_FILE} bytes")
    return data


class YamlFile:
    """Reads one YAML file into a tree, and notes what is wrong with it."""

    def __init__(self, path: Path, environ: Mapping[str, str], optional: Callable[[tuple[str, ...]], bool]) -> None:
        """Args:
        path: the file.
        environ: for `${NAME}`.
        optional: whether a key (a path of names, without list indexes) may be null: an empty `${NAME:}` is null there.
        """
        self._path = path
        self._environ = environ
        self._optional = optional
        self._nodes = 0
        self.problems: list[Problem] = []

    def read(self) -> Branch:
        """The file's tree; an empty one when there is nothing to be had from it."""
        empty = Branch({}, str(self._path))
        try:
            text = read_bounded(self._path).decode("utf-8-sig")
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            tree = self._walk(node, (), 0) if node is not None else empty
        except OSError as error:
            return self._fail(
                empty, f"cannot be read: {error.strerror or error}", "Check the path and its permissions."
            )
        except UnicodeDecodeError as error:
            return self._fail(empty, f"is not UTF-8 (byte {error.start})", "Save it as UTF-8.")
        except (yaml.YAMLError, _TooMuch, RecursionError, ValueError) as error:
            mend = (
                "Mend that line. Quotes are wanted by values that begin with * & ! % @ ` { [ or hold ${…} within { }."
            )
            return self._fail(empty, f"is no YAML that can be used: {_first_line(error)}", mend)
        if isinstance(tree, Leaf) and tree.value is None:
            return empty
        if not isinstance(tree, Branch):
            return self._fail(empty, "has no keys at its top", "Write `key: value` lines.")
        return tree

    def _fail(self, tree: Branch, what: str, mend: str) -> Branch:
        self.problems.append(Problem("", f"the file {what}", str(self._path), mend))
        return tree

    def _walk(self, node: yaml.Node, path: tuple[str | int, ...], depth: int) -> Tree:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > DEEPEST:
            raise _TooMuch(f"more than {MOST_NODES} values or {DEEPEST} levels, aliases expanded")
        where = f"{self._path}:{node.start_mark.line + 1}"
        if isinstance(node, yaml.MappingNode):
            return Branch(self._mapping(node, path, depth), where)
        if isinstance(node, yaml.SequenceNode):
            return Row([self._walk(item, (*path, at), depth + 1) for at, item in enumerate(node.value)], where)
        return self._scalar(node, path, where)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...], depth: int) -> dict[str, Tree]:
        own: dict[str, Tree] = {}
        merged: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            where = f"{self._path}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise ValueError(f"a key that is no text in line {key_node.start_mark.line + 1}")
            key = str(key_node.value)
            if key_node.tag == "tag:yaml.org,2002:merge":
                # The earlier of several merged mappings wins, and the mapping's own keys win over all.
                parts = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for part in parts:
                    tree = self._walk(part, path, depth + 1)
                    if not isinstance(tree, Branch):
                        raise ValueError(
                            f"`<<` with something other than a mapping in line {key_node.start_mark.line + 1}"
                        )
                    merged = {**tree.items, **merged}
                continue
            if key in own:
                name = dotted((*path, key))
                self.problems.append(Problem(name, "the key is given twice", where, "Remove one of the two."))
            own[key] = self._walk(value_node, (*path, key), depth + 1)
        return {**merged, **own}

    def _scalar(self, node: yaml.Node, path: tuple[str | int, ...], where: str) -> Leaf:
        if "$" not in node.value:
            return Leaf(_construct(node, where), where)
        unset: list[str] = []

        def substitute(match: re.Match[str]) -> str:
            name = match["name"]
            if name is None:
                return "$"
            found = self._environ.get(name, match["default"])
            if found is None:
                unset.append(name)
            return found or ""

        text = VARIABLE.sub(substitute, node.value)
        for name in unset:
            mend = f"Set it, or write ${{{name}:default}}."
            self.problems.append(Problem(dotted(path), f"the environment variable {name} is not set", where, mend))
        if "${" in VARIABLE.sub("", node.value):
            mend = "Write ${NAME} or ${NAME:default}, and $$ for a $ of its own."
            self.problems.append(Problem(dotted(path), "`${` begins no environment variable", where, mend))
        names = tuple(step for step in path if isinstance(step, str))
        return Leaf(text if text or not self._optional(names) else None, where, shown=False)


class _TooMuch(Exception):
    """The file expands to more than anyone would write."""


def _construct(node: yaml.Node, where: str) -> Any:
    """A scalar's value, by the safe loader's own rules."""
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node)
    except yaml.constructor.ConstructorError as error:
        raise ValueError(f"{error.problem} in {where}") from None
    finally:
        loader.dispose()
    return value if isinstance(value, str | int | float | bool | None) else str(node.value)


def _first_line(error: Exception) -> str:
    """What a YAML error says and in which line.

    Neither its snippet of the file nor what it quotes: a password without quotes that begins with `*` is an alias to
    YAML, and an error would name it.
    """
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or (str(error) if isinstance(error, ValueError | _TooMuch) else "")
    said = re.sub(r"""'[^']*'|"[^"]*\"""", "…", said)
    return f"{said or 'nested too deeply'}{f' in line {mark.line + 1}' if mark is not None else ''}"


def dotted(path: tuple[str | int, ...]) -> str:
    """`pbx.0.url`."""
    return ".".join(str(step) for step in path)


def variables(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """The environment's settings: (variable, its parts, value); whole lists come before their items, items in order.

    `ARIMON_TEST_…` belongs to the tests, and `ARIMON_PYTHON` to the launchers.
    """
    found = []
    for name, value in environ.items():
        if name.startswith(PREFIX) and not name.startswith("ARIMON_TEST_") and name != "ARIMON_PYTHON":
            found.append((name, tuple(name.removeprefix(PREFIX).split("__")), value))
    return iter(sorted(found, key=lambda item: [(part.isdecimal(), part.zfill(9)) for part in item[1]]))
