"""docs/configuration.md, made from settings.py. `python -m conf.page` writes it."""

from collections.abc import Iterator
from pathlib import Path

from conf import keys

PATH = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

HEAD = """\
# Configuration

<!-- Made from conf/settings.py by `python -m conf.page`; a test holds it to that. -->

arimon reads, each laid over the one before:

1. `conf/default.yaml`
2. `conf/production.yaml` or `conf/development.yaml`, as `application.environment` says
3. the file given by `--config`
4. environment variables

`arimond --config FILE --check` says everything that is wrong, each with its key, file and line, and what to do about
it. `arimon-ctl config show` prints what is in force, secrets masked. A key that does not exist is an error.

## Your file

Only what differs from the defaults need stand in it. A list replaces a list, so name all your PBXs:

```yaml
pbx:
  - name: north
    url: wss://pbx-north.example/ari
    password: ${NORTH_PASSWORD}
  - name: south
    url: ws://10.0.0.7:8088/ari
    password_file: ${CREDENTIALS_DIRECTORY}/south
rabbitmq:
  host: rabbit.example
  password: ${RABBITMQ_PASS}
```

`${NAME}` takes an environment variable, which must be set then; `${NAME:default}` need not be; `$$` is a `$`. Within
`{ … }` YAML wants quotes round such a value. A path that is not absolute starts at the working directory.

## Environment variables

`ARIMON_` and the key's path in capitals, with `__` between its parts. An index names an item of a list; its other
fields stay as they are, and the first free index adds an item. Lists and mappings as a whole are written as JSON.

```sh
ARIMON_RABBITMQ__PORT=5673
ARIMON_PBX__0__PASSWORD=…
ARIMON_PBX__0__TRUNKS='["PJSIP/trunk-*"]'
ARIMON_LOGGING__LEVELS__wire__ari=DEBUG
```

## Secrets

Keys of type *secret* are masked wherever arimon shows or logs anything. Keep them out of the file: `${NAME}`, or the
key's `_file` brother, which names a file that holds nothing but the secret (a systemd credential, a Docker secret) and
wins.

## Keys
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    top = [key for key in keys.every().values() if len(key.path) == 1 and key.shape == "scalar"]
    yield _table("At the top", "", top)
    for key in keys.every().values():
        below = [other for other in keys.every().values() if other.path[:-1] == key.path and other.shape != "section"]
        if key.type == "list of sections":
            items = (*key.path, "*")
            below = [other for other in keys.every().values() if other.path[:-1] == items and other.shape != "section"]
            yield _table(f"`{key.name}`, a list", key.meaning, below)
        elif key.shape == "section" and below:
            yield _table(f"`{key.name.replace('.*', '[]')}`", key.meaning, below)


def _table(title: str, meaning: str, rows: list[keys.Key]) -> str:
    text = f"\n### {title}\n\n" + (f"{meaning}\n\n" if meaning else "")
    text += "| key | type | default | unit | meaning |\n|---|---|---|---|---|\n"
    for key in rows:
        default = key.default if key.default == "required" or not key.default else f"`{key.default}`"
        cells = (f"`{key.path[-1]}`", key.type, default, key.unit, key.meaning)
        text += "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
    return text


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
