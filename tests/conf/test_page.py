"""docs/configuration.md."""

from conf import keys
from conf.page import PATH, page


def test_the_page_is_current() -> None:
    """docs/configuration.md is what settings.py says; `python -m conf.page` writes it."""
    assert PATH.read_text(encoding="utf-8") == page()


def test_the_page_has_every_key() -> None:
    """Each key that is no section has a row, as often as there are keys of its name."""
    names = [key.path[-1] for key in keys.every().values() if key.shape != "section" and key.type != "list of sections"]
    assert all(page().count(f"\n| `{name}` |") == names.count(name) for name in names)


def test_every_key_says_what_it_means() -> None:
    """No key is without meaning, and every duration and size has its unit."""
    assert all(key.meaning for key in keys.every().values())
    assert keys.at(("pbx", 3, "dead_after")) == keys.every()["pbx", "*", "dead_after"]
    assert keys.every()["pbx", "*", "dead_after"].unit == "seconds"
    assert keys.every()["rabbitmq", "heartbeat"].unit == "seconds"
    assert keys.every()["journal", "segment_bytes"].unit == "bytes"
