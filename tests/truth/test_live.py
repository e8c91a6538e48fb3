"""More calls of a live Asterisk 22.10.1, made to find out what the recordings in `tests/traces` do not show.

`originate_*` are ARI's and the CLI's originate into an application, into the dialplan, on behalf of another channel,
then forwarded or redirected; `create_*` are ARI's create with and without dial, and sent on; the rest are what their
names say. SIPp or another Asterisk was at the other end.
"""

from pathlib import Path

import pytest

from tests.truth import account, checker, oracle, recordings, report, run

FOLDER = Path(__file__).parent / "live"


@pytest.mark.parametrize("name", recordings.names(FOLDER))
def test_agrees(name: str) -> None:
    """Every fact of a live run agrees with its CEL and CDR."""
    verdict = checker.check(account.read(run.replayed(name, FOLDER)), oracle.read(name, FOLDER))
    assert verdict.total["calls"] > 0
    assert not verdict.faults, report.faults({name: verdict}, 20)
