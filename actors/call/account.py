"""The account of a call: what `received-call` and `finished-call` say, computed from the call's state.

Source: the definitions in `ari/truth.md`.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from actors.call.envelope import maybe_rfc3339, rfc3339
from actors.call.inputs import SegmentEnded
from actors.call.state import Call, Hold, Leg, Phase, Tape, Transfer

DISPOSITIONS = {
    17: "BUSY",
    34: "CONGESTION",
    42: "CONGESTION",
    0: "NO ANSWER",
    16: "NO ANSWER",
    18: "NO ANSWER",
    19: "NO ANSWER",
    21: "NO ANSWER",
    26: "NO ANSWER",
}
"""Cause of the last attempt → disposition of a call that nobody answered; every other cause is FAILED. A refusal (21)
is NO ANSWER, as in the CDR: its cause says what it was."""


def seconds(milliseconds: int) -> float:
    """Milliseconds as seconds, never below zero: clocks of two channels may differ by a few milliseconds."""
    return max(milliseconds, 0) / 1000


@lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def is_trunk(call: Call, leg: Leg) -> bool:
    """Whether a leg leads to the outside world."""
    rules = call.identity.rules
    if rules.trunks:
        return any(fnmatchcase(leg.endpoint, pattern) for pattern in rules.trunks)
    return _pattern(rules.trunk_contexts).search(leg.context) is not None


def _elder(leg: Leg) -> tuple[int, int]:
    return (leg.started_ms, leg.order)


def oldest(call: Call) -> Leg | None:
    """The call's oldest channel: the one whose id it bears, if it is there."""
    root = call.legs.get(call.call_id)
    if root is None and call.legs:
        root = min(call.legs.values(), key=_elder)
    return root


def started_ms(call: Call) -> int:
    """When the call began, Unix milliseconds."""
    legs: dict[str, Leg] = call.legs
    return min(leg.started_ms for leg in legs.values())


def _people(call: Call) -> list[Leg]:
    return sorted((leg for leg in call.legs.values() if leg.person), key=_elder)


def is_originated(root: Leg) -> bool:
    """Whether the call was begun by the PBX itself, as in click-to-call."""
    return root.origin == "originated"


class _Cast(NamedTuple):
    """Who is who in a call: what most of its account depends on, found out once."""

    call: Call
    root: Leg | None
    """The oldest channel."""
    caller: Leg | None
    """The leg of the party who called: the oldest channel; of an originated call the party that was called first."""
    people: list[Leg]
    """Legs at whose end may be somebody, the eldest first."""
    reached: Leg | None
    """The leg of the party who was called: who answered first, else who was dialled last; never who called."""


def _cast(call: Call) -> _Cast:
    root = oldest(call)
    people = _people(call)
    caller = _caller(call, root, people)
    return _Cast(call, root, caller, people, _reached(call, caller, people))


def _caller(call: Call, root: Leg | None, people: list[Leg]) -> Leg | None:
    if root is None or not is_originated(root) or root.person:
        return root
    # A Local pair at the root: its ;2 called somebody first, perhaps through further pairs, unless it is a robot that
    # runs an application. Of several it is the one that answered.
    halves = {leg.channel: leg.channel_id for leg in call.legs.values() if not leg.person}
    called: dict[str, list[Leg]] = {}
    for leg in call.legs.values():
        if leg.dialled_by is not None and leg is not root:
            called.setdefault(leg.dialled_by, []).append(leg)
    behind: list[Leg] = []
    asked = [root]
    for local in asked:  # grows on the way; each leg is dialled by one other and is taken out here, so it ends
        for leg in called.pop(halves.get(local.channel[:-1] + "2", ""), ()):
            (behind if leg.person else asked).append(leg)
    return min(behind, key=lambda leg: (leg.answered_ms is None, leg.answered_ms or 0, *_elder(leg)), default=root)


def _reached(call: Call, caller: Leg | None, people: list[Leg]) -> Leg | None:
    if call.life.reached is not None:
        answered: Leg | None = call.legs.get(call.life.reached[0])
        if answered is not None and answered is not caller:
            return answered
    last = None
    for leg in people:
        if leg is not caller and leg.origin in ("dialled", "originated"):
            if leg.reached:
                return leg
            last = leg
    return last


def origin(call: Call) -> tuple[str, str]:
    """Number and name of who called."""
    return _origin(_cast(call))


def _origin(cast: _Cast) -> tuple[str, str]:
    leg = cast.caller
    if leg is None:
        return "", ""
    if not leg.person and not leg.number and leg.origin != "snoop":
        return leg.channel.partition("/")[2].partition("@")[0], leg.name
    return leg.number, leg.name


def destiny(call: Call) -> str | None:
    """The number dialled; None while an originated call has not said whom else it is to reach."""
    return _destiny(_cast(call))


def _destiny(cast: _Cast) -> str | None:
    root, met, first = cast.root, cast.reached, cast.call.life.reached
    if root is None:
        return None
    if is_originated(root):
        if met is None:
            return None
        return met.wanted or met.number or None
    exten = root.exten
    if exten in ("", "s") or exten[0] in "*#":
        if first is not None and first[0] != root.channel_id:
            return first[1] or exten or None
        if met is not None and (met.number or met.wanted):
            return met.number or met.wanted
    return exten or None


def _direction(cast: _Cast) -> str:
    """inbound, outbound, transit or internal."""
    from_trunk = cast.caller is not None and is_trunk(cast.call, cast.caller)
    to_trunk = cast.reached is not None and is_trunk(cast.call, cast.reached)
    if from_trunk:
        return "transit" if to_trunk else "inbound"
    return "outbound" if to_trunk else "internal"


def _half(call: Call, leg: Leg | None) -> Leg | None:
    """The other half of a Local pair."""
    if leg is None or leg.channel[-2:] not in (";1", ";2"):
        return None
    name = leg.channel[:-1] + ("2" if leg.channel[-1] == "1" else "1")
    return next((one for one in call.legs.values() if one.channel == name), None)


def _runs_unseen(root: Leg) -> bool:
    """Whether an originated channel runs an application: ARI shows its dialplan, but no application without one."""
    return is_originated(root) and root.answered_ms is not None and root.app in ("", "AppDial2")


_TALK_MS = 1000
"""How long two parties must have talked for a call to be answered, persons or not; less is not billed."""

_OWN = {17: "BUSY", 34: "CONGESTION"}
"""Cause of a caller → disposition of a call in which nobody was dialled, or which its caller ended after all dials."""


def _disposition(cast: _Cast, gave_up: bool) -> str:
    """How the call went."""
    call, root, caller = cast.call, cast.root, cast.caller
    if call.life.reached is not None or (root is not None and root.alone):
        return "ANSWERED"
    if talk_ms(call.life.segments) >= _TALK_MS:
        return "ANSWERED"  # with a robot behind a Local channel: a conference, a queue, an application
    if call.life.merged_into is not None and root is not None and root.answered_ms is not None:
        return "ANSWERED"  # it met the other call in a bridge: they talked
    attempts = [
        leg for leg in cast.people if leg.origin in ("dialled", "originated") and (leg is not caller or leg is root)
    ]
    if root is not None and attempts in ([], [root]) and _runs_unseen(root):
        return "ANSWERED"
    # The dialplan's Busy() and Congestion() are told to the caller, who hangs up then.
    own = next((_OWN[leg.cause] for leg in (root, _half(call, root)) if leg and leg.cause in _OWN), None)
    if not attempts:
        return own or ("CANCELLED" if gave_up else "FAILED")
    if gave_up and attempts != [root]:
        return own or "CANCELLED"
    decided = [leg for leg in attempts if leg.cause is not None]
    if not decided:
        return "NO ANSWER"
    last = max(decided, key=lambda leg: (leg.ended_ms or 0, leg.order))
    return DISPOSITIONS.get(last.cause or 0, "FAILED")


def is_half(name: str) -> bool:
    """Whether a channel is half of a Local pair, by its name."""
    return name[-2:] in (";1", ";2")


def gives_way(source: str | None, other: str) -> bool:
    """Whether a hang-up source is none yet, or a Local half that gives way to who has a will."""
    return source is None or (is_half(source) and not is_half(other))


_TOGETHER_MS = 100
"""Two channels ended together, one because of the other, within this time."""


_ELSEWHERE = "elsewhere"
"""Hang-up source in place of a channel's name: somebody in another call, who picked up whom a Local pair called."""


def _behind(call: Call, leg: Leg, seen: frozenset[str]) -> str | None:
    """Who hung up a leg, seen through Local channels, which only pass on what their other half was asked; `_ELSEWHERE`
    if that one went on in another call; None if nobody did, or if the pair ended at another time: then it did not end
    this leg."""
    source = leg.source
    if source is None or not is_half(source) or source in seen:
        return source
    half = source[:-1] + ("2" if source[-1] == "1" else "1")
    for other in call.legs.values():
        if other.channel == half:
            if other.phase is Phase.MOVED:
                return _ELSEWHERE
            if other.source == half or abs((other.ended_ms or 0) - (leg.ended_ms or 0)) >= _TOGETHER_MS:
                return None
            return _behind(call, other, seen | {source})
    return None


def _hangup_by(cast: _Cast) -> str:
    """Who first asked to hang up the oldest channel: origin, destiny or system."""
    call, root, caller = cast.call, cast.root, cast.caller
    if root is None or caller is None:
        return "system"
    source = _behind(call, root, frozenset())
    if not root.person:
        # A Local pair at the root stands for the party that was called through it. What it passes on from its own
        # other half comes from who is there by now; without a source it was optimised away, and that party is asked.
        # Where both ends hang up at once, each passes on its own: whoever the root stands for had asked by itself then.
        together = abs((caller.ended_ms or 0) - (root.ended_ms or 0)) < _TOGETHER_MS
        if caller.source == caller.channel and together and root.source is not None and is_half(root.source):
            return "origin"
        if source is None:
            source = _behind(call, caller, frozenset())
        elif root.source == root.channel and source != "dialplan":
            return "origin"
    if source is None or source == "dialplan":
        return "system"
    if source == _ELSEWHERE:  # somebody who is not in this call: it can only be whom its root stands for
        return "system" if root.person else "origin"
    return "origin" if source in (root.channel, caller.channel) else "destiny"


def talk_ms(segments: Iterable[SegmentEnded]) -> int:
    """Union of the answered segments that have a second party, milliseconds."""
    total = 0
    until = 0
    spans = sorted(
        (one.answer_ms, one.end_ms)
        for one in segments
        if one.answer_ms is not None and one.dst_channel is not None and one.disposition == "ANSWERED"
    )
    for begin, end in spans:
        if end > until:
            total += end - max(begin, until)
            until = end
    return total


def _cause(leg: Leg | None) -> dict[str, Any]:
    if leg is None or leg.cause is None:
        return {"code": None, "text": None}
    return {"code": leg.cause, "text": leg.cause_text}


def leg_data(leg: Leg) -> dict[str, Any]:
    """One entry of `legs`."""
    return {
        "channel_id": leg.channel_id,
        "channel": leg.channel,
        "endpoint": leg.endpoint,
        "number": leg.number,
        "name": leg.name,
        "started_at": rfc3339(leg.started_ms),
        "answered_at": maybe_rfc3339(leg.answered_ms),
        "ended_at": maybe_rfc3339(leg.ended_ms),
        "cause": _cause(leg),
        "moved_to": leg.moved_to,
    }


def _segment(one: SegmentEnded) -> dict[str, Any]:
    return {
        "channel": one.channel,
        "dst_channel": one.dst_channel,
        "src": one.src,
        "dst": one.dst,
        "start": rfc3339(one.start_ms),
        "answer": maybe_rfc3339(one.answer_ms),
        "end": rfc3339(one.end_ms),
        "billsec": max(one.end_ms - one.answer_ms, 0) // 1000 if one.answer_ms is not None else 0,
        "disposition": one.disposition,
    }


def _transfer(one: Transfer) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "at": rfc3339(one.at_ms),
        "by": one.by,
        "from": one.transferred,
        "to": one.to,
        "result": one.result,
    }


def _hold(one: Hold) -> dict[str, Any]:
    return {
        "channel": one.channel,
        "from": rfc3339(one.from_ms),
        "to": maybe_rfc3339(one.to_ms),
        "seconds": seconds(one.until_ms - one.from_ms),
    }


def _tape(one: Tape) -> dict[str, Any]:
    return {
        "name": one.name,
        "how": one.how,
        "channel": one.channel,
        "bridge": one.bridge,
        "from": rfc3339(one.from_ms),
        "to": maybe_rfc3339(one.to_ms),
        "result": one.result,
    }


def mask(call: Call, digits: str) -> str:
    """Digits as they may be shown."""
    if call.identity.rules.mask_dtmf:
        return "*" * len(digits)
    if call.identity.rules.mask_dtmf_pattern:
        return _pattern(call.identity.rules.mask_dtmf_pattern).sub(lambda match: "*" * len(match.group()), digits)
    return digits


def received(call: Call) -> dict[str, Any]:
    """Data of `received-call`."""
    cast = _cast(call)
    root = cast.root
    assert root is not None
    number, name = _origin(cast)
    return {
        "origin": number,
        "origin_name": name,
        "destiny": _destiny(cast),
        "direction": _direction(cast),
        "channel_id": root.channel_id,
        "channel": root.channel,
        "endpoint": root.endpoint,
    }


def finished(call: Call) -> dict[str, Any]:
    """Data of `finished-call`."""
    life = call.life
    cast = _cast(call)
    root = cast.root
    assert root is not None
    number, name = _origin(cast)
    hangup_by = _hangup_by(cast)
    begin = started_ms(call)
    answered_ms = root.answered_ms
    return {
        "origin": number,
        "origin_name": name,
        "destiny": _destiny(cast),
        "direction": _direction(cast),
        "disposition": _disposition(cast, gave_up=hangup_by == "origin"),
        "answered": answered_ms is not None,
        "started_at": rfc3339(begin),
        "answered_at": maybe_rfc3339(answered_ms),
        "ended_at": rfc3339(life.last_ms),
        "duration_seconds": seconds(life.last_ms - begin),
        "talk_seconds": seconds(talk_ms(life.segments)),
        "cause": _cause(root),
        "hangup_by": hangup_by,
        "merged_into": life.merged_into,
        "legs": [leg_data(leg) for leg in sorted(call.legs.values(), key=_elder) if leg.origin != "snoop"],
        "segments": [_segment(one) for one in sorted(life.segments, key=lambda one: one.start_ms)],
        "transfers": [_transfer(one) for one in life.transfers],
        "holds": [_hold(one) for one in life.holds],
        "dtmf": mask(call, life.digits),
        "quality": {channel: quality._asdict() for channel, quality in sorted(life.quality)},
        "recordings": [_tape(one) for one in life.tapes],
    }


def over(leg: Leg) -> bool:
    """Whether a leg has no future in this call."""
    return leg.phase is Phase.ENDED or leg.phase is Phase.MOVED
