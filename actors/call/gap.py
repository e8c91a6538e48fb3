"""A gap and its account: which calls began, changed or ended in it unseen.

A call *began unseen* if the channel whose id it bears was not seen from its birth: a look found it, an event met it in
the middle of its life, or nobody saw it at all and others name it. Whichever tells first begins the call, and it is
*adopted*, once; what the looks after the gap tell besides does not make it a corrected one as well. A channel of which
all that is true joins a call that was known, and so that has changed unseen: it is *corrected*.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from actors.call.inputs import ChannelJoined, Routed
from actors.call.register import Correlation

KILLED = "killed"
"""Reason of a gap: Connection ended without a word."""
JOURNAL_LOST = "journal-lost"
"""Reason of a gap: the journal begins anew, or has not its beginning, and what was in the other part is not known."""
ROWS_LOST = "rows-lost"
"""Reason of a gap: the journal could not keep rows, or they were damaged on disk."""
AUDIT = "audit"
"""Reason of a gap: the link was up, but two looks show what no event told."""
STARTED = "started"
"""Reason of a gap: arimon watches this PBX for the first time, and calls were under way."""


class Account(NamedTuple):
    """What a row told of that nobody had seen."""

    adopted: tuple[str, ...]
    """Calls that began unseen, in the order in which they were told something; so are the others."""
    corrected: tuple[str, ...]
    """Calls that changed unseen."""
    ended: tuple[str, ...]
    """Calls that ended unseen."""
    inferred: int
    """Events inferred; a channel that was met in mid-life counts as one, its begin."""
    oldest_ms: int | None
    """When the oldest channel of those adopted began, Unix milliseconds; None if none was adopted."""


class Gap(NamedTuple):
    """A time in which the PBX was not seen, or not all of it."""

    from_ms: int | None
    """Its beginning; None while nobody knows (the first link-up of all)."""
    to_ms: int | None
    """Its end; None while it lasts."""
    reason: str
    adopted: tuple[str, ...] = ()
    """Calls that began unseen."""
    corrected: tuple[str, ...] = ()
    """Calls that changed unseen."""
    ended: tuple[str, ...] = ()
    """Calls that ended unseen."""
    inferred: int = 0
    """Events inferred."""
    rows_lost: int = 0
    """Journal rows known to be lost."""
    oldest_ms: int | None = None
    """See `Account`."""

    def noted(self, account: Account) -> "Gap":
        """This gap with that in its account."""
        adopted = joined(self.adopted, account.adopted)
        ended = joined(self.ended, account.ended)
        others = frozenset((*adopted, *ended))
        begins = [ms for ms in (self.oldest_ms, account.oldest_ms) if ms is not None]
        return self._replace(
            adopted=adopted,
            corrected=tuple(one for one in joined(self.corrected, account.corrected) if one not in others),
            ended=ended,
            inferred=self.inferred + account.inferred,
            oldest_ms=min(begins, default=None),
        )


def joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Both, each once."""
    return tuple(dict.fromkeys((*first, *second)))


def of_look(
    before: Correlation, after: Correlation, routed: Sequence[Routed], inferred: int, gap: Gap | None
) -> Account:
    """What was concluded from a look.

    Args:
        before: what was known of channels before it.
        after: what is known of them now.
        routed: what calls were told of it.
        inferred: how many events that was.
        gap: the gap that is not told yet.
    """
    unseen = _begun_unseen(before, after, routed)
    begun = unseen | frozenset(gap.adopted if gap is not None else ())
    adopted: dict[str, None] = {}
    corrected: dict[str, None] = {}
    ended: dict[str, None] = {}
    for call, _ in routed:
        if call in unseen:
            adopted[call] = None
        elif call not in after.calls:
            ended[call] = None
        else:
            (adopted if call in begun else corrected)[call] = None
    return Account(tuple(adopted), tuple(corrected), tuple(ended), inferred, _oldest_ms(unseen, routed))


def of_frame(before: Correlation, after: Correlation, routed: Sequence[Routed]) -> Account | None:
    """What an event shows to have begun while nobody looked; None if it shows nothing of that.

    Args:
        before: what was known of channels before it.
        after: what is known of them now.
        routed: what calls were told of it.
    """
    joins = [one for one in routed if type(one.input.body) is ChannelJoined]
    if not joins:
        return None
    unseen = _begun_unseen(before, after, joins)
    late = [one.call_id for one in joins if one.input.recovered]
    if not late and not unseen:
        return None
    adopted = dict.fromkeys(one.call_id for one in joins if one.call_id in unseen)
    corrected = dict.fromkeys(call for call in late if call not in unseen)
    return Account(tuple(adopted), tuple(corrected), (), len(late), _oldest_ms(unseen, joins))


def _begun_unseen(before: Correlation, after: Correlation, routed: Iterable[Routed]) -> frozenset[str]:
    """The calls that began here, and whose own channel was not seen from its birth."""
    own: dict[str, bool | None] = {}
    """Call → whether its own channel, which joins here, was met in mid-life; None: it does not join here."""
    for call, given in routed:
        if type(given.body) is ChannelJoined:
            if given.body.party.channel_id == call:
                own[call] = given.recovered
            else:
                own.setdefault(call, None)
    return frozenset(
        call
        for call, late in own.items()
        if call not in before.calls and (_is_unknown(after, call) if late is None else late)
    )


def _is_unknown(after: Correlation, channel: str) -> bool:
    known = after.channels.get(channel)
    return known is None or known.late


def _oldest_ms(calls: frozenset[str], routed: Iterable[Routed]) -> int | None:
    return min(
        (given.body.party.created_ms for call, given in routed if call in calls and type(given.body) is ChannelJoined),
        default=None,
    )
