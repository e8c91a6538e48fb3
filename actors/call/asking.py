"""Whom a channel was called for where no Dial names a caller: originate, Page, forwards to nowhere, consultations.

It is told by what the channels show: arguments, numbers, and who holds.
"""

from typing import TYPE_CHECKING

from actors.call.events import Bridge, Channel, endpoint

if TYPE_CHECKING:
    from actors.call.belonging import Belonging
    from actors.call.register import Known


CALLING = frozenset({"Page", "ChanIsAvail"})
"""Applications that name in their arguments whom they call, while no Dial names a caller; ChanIsAvail's has no Dial."""


def announced(shown: Channel | None) -> bool:
    """Whether a channel that ends was called to hear something, as by ParkAndAnnounce: it was answered, runs nothing,
    and no Dial tells of it. It is called on nobody's behalf."""
    return shown is not None and shown.app == "" and shown.state == "Up" and shown.name[-2:] not in (";1", ";2")


def originated(work: "Belonging", key: str) -> bool:
    """The PBX itself calls this pending channel: on behalf of another one that lives, or of nobody.

    Page says in its arguments whom it calls. Who is called on behalf of a channel otherwise is born with that
    channel's number and name as the other party's. A channel without a number leaves no such trace: then it may be any
    of those that an application controls.

    Returns:
        Whether Page called it, which does not count as originated.
    """
    known = work.channels[key]
    if work.pages and paged(work, key):
        return True
    if known.asker is None:
        return False
    shown = work.fold.shown
    asked: dict[str, str] = {}
    for other, one in work.channels.items():
        if one.group == known.group and one.call is None:
            continue
        channel = shown(other)
        if channel is None or channel.number != known.asker or known.asker_name not in (None, channel.cid_name):
            continue
        if known.asker or _controlled(channel):
            asked[one.call or one.group or ""] = other
    if not known.asker and not asked:
        work.lead(key)
    elif known.asker:
        if len(asked) > 1:  # only an application asks on behalf of a channel: as a rule of one that it controls
            asked = {call: one for call, one in asked.items() if _controlled(shown(one))}
        if len(asked) == 1:
            work.follow(key, *asked.values())
    return False


def recalled(known: "Known", peer: Channel) -> bool:
    """Whether the PBX calls back who gave a consultation away before it was answered, which does not count as
    originated: on nobody's behalf, yet from birth another party's number is shown to it."""
    return known.asker == "" and peer.app == "AppDial2" and peer.connected not in ("", peer.number)


def created_for(work: "Belonging", known: "Known") -> bool:
    """Whether an application created this pending channel and dialled it for a caller, whose number it shows. Who that
    is may have asked for it at its creation, too: a bridge tells."""
    shown = work.shown(known.party.channel_id)
    made = known.asker is None and known.party.origin == "originated" and not known.late
    return made and shown is not None and shown.connected != ""


def conferred(work: "Belonging", channel: Channel, bridge: Bridge) -> bool:
    """Whether Page called who enters a bridge now, though it did not show what it ran: others that are called on
    behalf of a channel go to Stasis or into the dialplan."""
    before = work.fold.shown(channel.id)
    return bridge.creator == "ConfBridge" and before is not None and before.app == "AppDial2" != channel.app


def paged_into(work: "Belonging", key: str, bridge: Bridge) -> None:
    """Who was `conferred` meets there whom it was called for: the one in the conference whose number was shown to it,
    though ARI did not show that it runs Page."""
    asker = work.channels[key].asker
    asked = [other for other in bridge.members if other != key and number(work, other) == asker]
    if len(asked) == 1:
        work.follow(key, *asked)


def pages_now(work: "Belonging", key: str, arguments: str) -> None:
    """A channel runs Page or ChanIsAvail: it calls each of its targets at once, one after the other."""
    targets = arguments.partition(",")[0].split("&")
    work.pages = work.pages.set(key, tuple(map(_dialled_endpoint, targets[: work.bounds.legs])))


def paged(work: "Belonging", key: str, app: str = "Page") -> bool:
    """Whether one who runs Page, or ChanIsAvail, called this pending channel, whose call it then shares."""
    called = endpoint(work.channels[key].party.channel)
    for pager in sorted(work.pages, key=lambda one: work.channels[one].order, reverse=True):
        targets = work.pages[pager]
        shown = work.fold.shown(pager)
        if called in targets and shown is not None and shown.app == app:
            at = targets.index(called)
            work.pages = work.pages.set(pager, (*targets[:at], *targets[at + 1 :]))
            work.follow(key, pager)
            return True
    return False


def forwarded(work: "Belonging", caller: Channel, peer: Channel) -> None:
    """A dial is decided whose peer may have sent its caller on, to a Local channel that shows the caller's number, and
    as its own the extension that the caller dialled. If nothing is there the pair ends undialled, and nothing else
    tells whose it was."""
    for leader in sorted(work.groups):
        known = work.channels.get(leader)
        shown = work.fold.shown(leader)
        if (
            known is not None
            and known.peer
            and known.party.channel[-2:] == ";1"
            and shown is not None
            and shown.number in (peer.number, caller.exten)
            and shown.number != ""
            and shown.connected == caller.number
        ):
            work.follow(leader, caller.id)


def transferring(work: "Belonging", key: str, transferer: str) -> None:
    """A Local channel is called to consult somebody, or to take the place of who transfers among several: it is born
    into the call of who transfers, who is named."""
    named = [other for other, one in work.channels.items() if one.party.channel == transferer and other != key]
    if len(named) == 1:
        work.follow(key, named[0])


def consulting(work: "Belonging", known: "Known") -> str | None:
    """The call of who transfers by feature code, and now calls whom to consult, where no variable names it: that Local
    channel runs nothing, waits alone in a bridge and shows the number of who asked for it, who holds its peer in
    another still."""
    shown = work.shown(known.party.channel_id)
    if shown is None or shown.app or not shown.connected or known.late:
        return None
    calls = {
        one.call
        for key, one in work.channels.items()
        if one.held_ms is not None
        and one.bridge is not None
        and one.call is not None
        and number(work, key) == shown.connected
    }
    return calls.pop() if len(calls) == 1 else None


def number(work: "Belonging", key: str) -> str:
    """The number that a channel showed last."""
    shown = work.shown(key)
    return shown.number if shown is not None else ""


def _controlled(channel: Channel | None) -> bool:
    """Whether an application may call others on behalf of a channel, without saying whom: it is in Stasis, or was
    originated into an application, which ARI need not show."""
    if channel is None:
        return False
    local = channel.name[-2:] in (";1", ";2")
    return channel.app == "Stasis" or (channel.app == "AppDial2" and not local)


def _dialled_endpoint(target: str) -> str:
    """The endpoint that a channel is named after which is called by `tech/resource`, as Dial and Page take it."""
    technology, _, resource = target.strip().partition("/")
    resource = resource.partition("/")[0]
    if technology != "Local":
        resource = resource.rpartition("@")[2]
    return f"{technology}/{resource}"
