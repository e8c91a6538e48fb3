"""docs/metrics.md."""

from wire.metrics import names
from wire.metrics.page import PATH, page


def test_the_page_is_current() -> None:
    """docs/metrics.md is what names.py says; `python -m wire.metrics.page` writes it."""
    assert PATH.read_text(encoding="utf-8") == page()


def test_the_page_has_every_metric() -> None:
    """Each metric has a row."""
    assert all(f"| `{metric.name}` |" in page() for metric in names.ALL)
