"""Erlang/OTP for the tests in this folder: one process for all of them."""

from collections.abc import Iterator

import pytest

from tests.supervision.otp.erlang import Erlang


@pytest.fixture(scope="session")
def erlang() -> Iterator[Erlang]:
    """Erlang/OTP's supervisor; installs erlang-base where it may, and fails with the line to type where it may not."""
    with Erlang() as process:
        yield process
