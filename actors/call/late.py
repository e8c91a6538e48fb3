"""Channels met in mid-life: who called them was told before anybody listened.

Theory. A channel is *late* when its ChannelCreated was not seen (we connected late, events were lost). What it shows
now says which of three it is:

- a *caller* runs dialplan of its own: it is the root of a call, at once;
- a *called leg* runs AppDial or AppQueue, and `Local/…;2` was called by its `;1`: its call is not its own, so it must
  never lend it its id, and waits;
- *unclear* is who shows no application, or AppDial2 (the PBX itself called it), or who is in Stasis without an
  extension that led there, or in the dialplan at `s` with another party (Dial's `U()`): it may be the root, or called
  on behalf of another channel. It waits, too.

Who waits is held back like any pending channel, until one of these says more:

- a bridge where calls meet has a channel in it whose call is known;
- BRIDGEPEER names a channel that is known, a Dial names both;
- the bridge names channels that nobody has seen yet (`Group.beside`). Each of them speaks when it leaves, at the
  latest. When all have, the eldest of them leads, unless it was called, too. A group whose last channel has gone waits
  on for those, so that nothing is lost if the caller goes last;
- it ends, or leaves a bridge in which nobody else is left: if it and one other channel, and only they, show each
  other's number, they were in one call (`seek`). Not earlier: under load many calls are from one number to another, and
  one call must not take another along for a likeness.

An unclear channel leads when it is alone, has been in no bridge, and ends. What is left is unknown (`call-unknown`):
a called leg whose caller went before the first event, and one that leaves a bridge in which nobody else is left.
"""

from typing import TYPE_CHECKING

from actors.call.events import Channel
from actors.call.inputs import ChannelJoined

if TYPE_CHECKING:
    from actors.call.belonging import Belonging
    from actors.call.register import Group, Known

_DIALLING = frozenset({"Dial", "Queue"})
"""Applications of a caller who may not show yet whom it calls."""


def looks_called(app: str) -> bool:
    """Whether an application is what Asterisk shows on a called leg."""
    return app in ("AppDial", "AppQueue")


def is_unclear(channel: Channel) -> bool:
    """Whether a late channel shows nothing that tells a caller from a called leg."""
    if channel.app in ("", "AppDial2") or channel.state == "Ringing":
        return True
    nowhere = channel.exten in ("", "s")
    return nowhere and (channel.app == "Stasis" or (channel.connected != "" and channel.app not in _DIALLING))


def met(work: "Belonging", key: str, channel: Channel) -> None:
    """A channel is seen for the first time: whoever waits may have waited for it."""
    known = work.channels[key]
    if known.late:
        work.fold.snapshot(channel, known.order)  # others look for it by what it shows
    if known.late and known.party.channel[-2:] == ";1" and not known.peer and not is_unclear(channel):
        work.become_root(key)  # an originated one that runs dialplan
    for leader in sorted(work.groups):
        group = work.groups.get(leader)
        if group is None or key in group.members:
            continue
        if key in group.beside:
            _joined(work, leader, key)


def seek(work: "Belonging", key: str) -> None:
    """A late channel that waits, and goes now, finds whom it talked with, or who rang it, by their numbers."""
    known = work.channels.get(key)
    mine = work.shown(key)
    if known is None or known.call is not None or not known.late or mine is None or not mine.connected:
        return
    found: dict[str, Known] = {}
    for other, one in work.channels.items():
        theirs = work.shown(other)
        if other == key or theirs is None or theirs.number != mine.connected or looks_called(theirs.app):
            continue
        # A called leg shows the extension of its caller until it answers: of several only one is who the caller shows.
        dials = theirs.app in _DIALLING and mine.exten == theirs.exten and one.order < known.order
        if (theirs.connected == mine.number or dials) and (one.call is not None or one.group != known.group):
            call = one.call or one.group or ""
            if call not in found or one.order > found[call].order:
                found[call] = one
    if len(found) == 1:
        other = next(iter(found.values())).party.channel_id
        theirs = work.shown(other)
        if looks_called(mine.app) and theirs is not None and theirs.app in _DIALLING:
            work.note_dialled(key, False, other)
        tie(work, key, other)


def tie(work: "Belonging", key: str, other: str) -> None:
    """A late channel that waits is in one call with another channel, nobody knows who called whom."""
    mine, theirs = work.channels[key], work.channels[other]
    if mine.group is None or mine.group == theirs.group:
        return
    if theirs.group is None:
        work.follow(key, other)
        return
    first, second = sorted((mine.group, theirs.group), key=lambda leader: _age(work.groups[leader], leader))
    work.unite(second, first)


def _joined(work: "Belonging", leader: str, key: str) -> None:
    """The channel that a group was beside of in a bridge has come."""
    known = work.channels[key]
    group = work.groups[leader]
    if known.call is not None:
        work.resolve(leader, known.call)
        return
    assert known.group is not None
    first, second = sorted((leader, known.group), key=lambda one: _age(work.groups[one], one))
    work.unite(second, first)
    group = work.groups[first]
    group = group._replace(beside=tuple(one for one in group.beside if one not in work.channels))
    work.groups = work.groups.set(first, group)
    if group.beside:
        return
    eldest = work.channels.get(first)
    if eldest is None:
        work.claimed(first)
    elif eldest.may_lead() and eldest.party.channel[-2:] != ";1":
        work.lead(first)


def _age(group: "Group", leader: str) -> tuple[int, int]:
    """How old the channel is that leads a group, though it may have gone."""
    for member, given in group.held:
        if member == leader and type(given.body) is ChannelJoined:
            return given.body.party.created_ms, given.body.order
    return group.claim or (0, 0)


def ends_as_root(known: "Known", shown: Channel | None, last: Channel) -> bool:
    """Whether a late channel that waits until its end was the root of a call.

    Args:
        known: the channel.
        shown: as it was shown before its end; None if the end is all that was seen.
        last: as its end shows it.
    """
    if known.party.channel[-2:] in (";1", ";2"):
        return False
    if shown is None:
        return last.state == "Up" and last.exten not in ("", "s")
    return not looks_called(shown.app) and (shown.state != "Ringing" or shown.app in ("AppDial2", "Stasis"))
