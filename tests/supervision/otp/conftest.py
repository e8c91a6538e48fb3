"""Erlang/OTP for the tests in this folder: one process for all of them."""

import random
from collections.abc import Iterator

import pytest

from tests.supervision.otp.erlang import Erlang
from tests.supervision.otp.scenarios import Pick, Scenario, play
from tests.supervision.otp.world import World


@pytest.fixture(scope="session")
def erlang() -> Iterator[Erlang]:
    """Erlang/OTP's supervisor; installs erlang-base where it may, and fails with the line to type where it may not."""
    with Erlang() as process:
        yield process


@pytest.fixture(scope="session")
def recorded(erlang: Erlang) -> list[Scenario]:
    """Scenarios that Erlang has played, always the same."""
    return [play(Pick(random.Random(number).choice), erlang.tell, World()) for number in range(500)]
