"""Recordings of a call: ARI's own, which say when they begin and end, and MixMonitor's, which say when they begin."""

from typing import Any

from actors.call import events as ari
from actors.call.envelope import rfc3339
from actors.call.state import Leg, Tape
from actors.call.turn import Turn


class Tapes(Turn):
    """What begins and ends a recording."""

    __slots__ = ()

    def recording(self, body: ari.Recording) -> None:
        name = self.text(body.name)
        channel_id = body.target if body.target_kind == "channel" else None
        bridge = body.target if body.target_kind == "bridge" else None
        leg = self.legs.get(channel_id) if channel_id is not None else None
        channel = leg.channel if leg is not None else self.text(body.channel) if body.channel is not None else None
        running = next(
            (tape for tape in self.life.tapes if tape.how == "ari" and tape.name == name and tape.result is None), None
        )
        if body.event == "RecordingStarted":
            if running is None:  # a bridge's recording events come twice
                self.tape(Tape(name, "ari", channel_id, channel, bridge, self.at, None, None))
                self.say("recording-started", _data(name, "ari", channel_id, channel, bridge))
            return
        if running is None:
            if body.event == "RecordingFinished":
                return
            self.tape(Tape(name, "ari", channel_id, channel, bridge, self.at, self.at, body.state))
        else:
            self.end_tape(running, body.state)
        since_ms = running.from_ms if running is not None else self.at
        self.said_recorded(
            Tape(name, "ari", channel_id, channel, bridge, since_ms, self.at, self.text(body.state)), body.cause
        )

    def monitor(self, leg: Leg, body: ari.ChannelVarset) -> None:
        name = self.text(body.value)
        if not name or any(name == one for one, _ in leg.monitors):
            return
        if len(leg.monitors) >= 16:
            self.overflow("monitors", leg.channel)
            return
        self.put(leg._replace(monitors=(*leg.monitors, (name, self.at))))
        self.tape(Tape(name, "mixmonitor", leg.channel_id, leg.channel, None, self.at, None, None))
        self.say("recording-started", _data(name, "mixmonitor", leg.channel_id, leg.channel, None))

    def tape(self, tape: Tape) -> None:
        if len(self.life.tapes) >= self.bounds.entries:
            self.overflow("recordings", tape.name)
            return
        self.life = self.life._replace(tapes=(*self.life.tapes, tape))

    def end_tape(self, tape: Tape, result: str) -> None:
        ended = tape._replace(to_ms=self.at, result=self.text(result))
        self.life = self.life._replace(tapes=tuple(ended if one is tape else one for one in self.life.tapes))

    def close_tapes(self, leg: Leg, result: str) -> None:
        for tape in self.life.tapes:
            if tape.how == "mixmonitor" and tape.channel_id == leg.channel_id and tape.result is None:
                self.end_tape(tape, result)

    def finish_tapes(self, leg: Leg) -> None:
        """MixMonitor says nothing when it stops: at the latest it does with its channel."""
        for name, since_ms in leg.monitors:
            self.said_recorded(
                Tape(name, "mixmonitor", leg.channel_id, leg.channel, None, since_ms, self.at, "done"), None
            )
        self.close_tapes(leg, "done")

    def said_recorded(self, tape: Tape, cause: str | None) -> None:
        data = _data(tape.name, tape.how, tape.channel_id, tape.channel, tape.bridge)
        data["started_at"] = rfc3339(tape.from_ms)
        data["seconds"] = self.seconds(tape.from_ms)
        data["result"] = tape.result
        data["cause"] = self.text(cause) if cause else None
        self.say("recording-finished", data)


def _data(name: str, how: str, channel_id: str | None, channel: str | None, bridge: str | None) -> dict[str, Any]:
    return {"name": name, "how": how, "channel_id": channel_id, "channel": channel, "bridge_id": bridge}
