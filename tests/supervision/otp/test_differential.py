"""Our machine and Erlang/OTP's supervisor, on the same scenarios."""

from tests.supervision.otp.differential import compare
from tests.supervision.otp.erlang import Erlang


def test_starts_stops_exits_replies_and_reports_are_those_of_otp(erlang: Erlang) -> None:
    """On a few hundred random trees and inputs, both do the same in the same order."""
    tally = compare(erlang, scenarios=400, number=4)
    assert tally.scenarios >= 400
    assert tally.rare() == {}
