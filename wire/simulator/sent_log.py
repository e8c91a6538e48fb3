"""What a simulated PBX put on the wire, kept: the truth that a test compares with.

`NAME.jsonl` has one line a frame, in the order of sending:

- an event: `{"t": seconds, "event": {…}}`, the frame's own bytes inside, readable by `arimon-ctl replay`;
- a frame that is no JSON object: `{"t": seconds, "kind": "frame", "text": "…"}` where it is text, or
  `{"t": seconds, "kind": "frame", "base64": "…"}` where it is not UTF-8, is binary or breaks the protocol.

`NAME.acts.jsonl` has everything else that happened: links that came and went, faults, calls begun, restarts:
`{"t": seconds, "act": "…", …}`.

`t` counts from the start of the simulator. A frame is sent when it was handed to the transport; whether the client
read it, only the client knows. What an application other than the first one got is in `NAME.APP.jsonl`, so that one
file is one client's view.
"""

import base64
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson


@dataclass(frozen=True, slots=True)
class Sent:
    """One frame that was sent."""

    t: float
    """Seconds since the simulator's start."""
    app: str
    """The application it was sent to."""
    payload: bytes
    """The frame's payload."""

    @property
    def event(self) -> dict[str, Any]:
        """The frame as an event.

        Raises:
            orjson.JSONDecodeError: it was garbage.
        """
        event: dict[str, Any] = orjson.loads(self.payload)
        return event


class SentLog:
    """One PBX's log, on disk and in memory.

    Args:
        path: the file of frames; None keeps nothing on disk.
        remember: how many frames to keep in memory, newest first to stay.
    """

    BUFFER = 1 << 20
    """Bytes gathered before a write to disk; `flush` writes what there is."""

    def __init__(self, path: Path | None = None, remember: int = 0) -> None:
        self.path = path
        self.count = 0
        """Frames sent."""
        self.bytes = 0
        """Bytes of payload sent."""
        self.acts: deque[dict[str, Any]] = deque(maxlen=10_000)
        self._sent: deque[Sent] = deque(maxlen=remember)
        self._files: dict[str, BinaryIO] = {}
        self._acts: BinaryIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[""] = path.open("wb", buffering=self.BUFFER)
            self._acts = path.with_name(f"{path.stem}.acts.jsonl").open("wb", buffering=self.BUFFER)
        self._first_app: str | None = None

    @property
    def sent(self) -> list[Sent]:
        """The frames that are remembered, oldest first."""
        return list(self._sent)

    def frames(self, t: float, app: str, payloads: Sequence[bytes]) -> None:
        """Events were sent."""
        self._count(t, app, payloads)
        file = self._file(app)
        if file is not None:
            start = b'{"t": %.6f, "event": ' % t
            file.write(b"".join([part for payload in payloads for part in (start, payload, b"}\n")]))

    def garbage(self, t: float, app: str, payload: bytes, text: bool) -> None:
        """A frame was sent that is no event.

        Args:
            text: whether it went out as a text frame.
        """
        self._count(t, app, (payload,))
        file = self._file(app)
        if file is None:
            return
        line: dict[str, Any] = {"t": round(t, 6)}
        try:
            if not text:
                raise UnicodeError
            event = orjson.loads(payload)
            if not isinstance(event, dict):
                raise UnicodeError
            line["event"] = event
        except ValueError:  # UnicodeError and JSONDecodeError are both
            try:
                if not text:
                    raise UnicodeError
                line |= {"kind": "frame", "text": payload.decode()}
            except UnicodeError:
                line |= {"kind": "frame", "base64": base64.b64encode(payload).decode()}
        file.write(orjson.dumps(line) + b"\n")

    def act(self, t: float, act: str, **details: Any) -> None:
        """Something else happened."""
        line = {"t": round(t, 6), "act": act, **details}
        self.acts.append(line)
        if self._acts is not None:
            self._acts.write(orjson.dumps(line) + b"\n")

    def flush(self) -> None:
        """What was logged so far is in the files."""
        for file in (*self._files.values(), self._acts):
            if file is not None:
                file.flush()

    def close(self) -> None:
        """The log is complete."""
        for file in (*self._files.values(), self._acts):
            if file is not None:
                file.close()
        self._files.clear()
        self._acts = None

    def _count(self, t: float, app: str, payloads: Sequence[bytes]) -> None:
        self.count += len(payloads)
        self.bytes += sum(map(len, payloads))
        if self._sent.maxlen:
            self._sent.extend([Sent(t, app, payload) for payload in payloads])

    def _file(self, app: str) -> BinaryIO | None:
        if not self._files:
            return None
        if self._first_app is None:
            self._first_app = app
        if app == self._first_app:
            return self._files[""]
        if app not in self._files:
            assert self.path is not None  # there are files
            safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in app)
            self._files[app] = self.path.with_name(f"{self.path.stem}.{safe}.jsonl").open("wb", buffering=self.BUFFER)
        return self._files[app]
