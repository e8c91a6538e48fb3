"""Erlang/OTP's supervisor as a long-lived process that is moved by lines; see supervisor.escript."""

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

SCRIPT = Path(__file__).with_name("supervisor.escript")
INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "erlang-base"]


class ErlangMissing(RuntimeError):
    """There is no escript, and it could not be installed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the test against Erlang/OTP needs escript ({why}); install it with: {' '.join(INSTALL)}")


def escript() -> str:
    """Path of escript, which is installed first if that is possible.

    Raises:
        ErlangMissing: with the exact line that installs it.
    """
    found = shutil.which("escript")
    if found is not None:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ErlangMissing("not installed, and this user cannot install it")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # The second time with fresh lists, which images often lack. Other test workers may be installing it, too.
    for command in (INSTALL, ["apt-get", "update"], INSTALL):
        done = subprocess.run(
            [*command, "-o", "DPkg::Lock::Timeout=120"], env=environment, capture_output=True, text=True, check=False
        )
        found = shutil.which("escript")
        if found is not None:
            return found
    raise ErlangMissing(f"installing it failed: {done.stderr.strip()[-300:]}")


class Erlang:
    """The escript; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [escript(), str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.banner = self._answer()

    def tell(self, line: str) -> list[str]:
        """Send one command (an Erlang term); returns the events that it caused."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + ".\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> list[str]:
        assert self._process.stdout is not None
        lines: list[str] = []
        while (line := self._process.stdout.readline()) != ".\n":
            if not line:
                raise RuntimeError(f"Erlang ended with status {self._process.wait()} after {lines}")
            lines.append(line.rstrip("\n"))
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()  # it waits for something that a failed scenario never gave it
            self._process.wait()
        self._process.stdout.close()
