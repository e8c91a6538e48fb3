"""The offer protocol against a Publisher and a broker that misbehave by seed: order, and nothing lost."""

import random
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from tests.wire.store.terms import since, tell
from wire.message import OutboundMessage
from wire.store import outbox as outbox_module
from wire.store.offer import (
    Accepted,
    Added,
    Confirmed,
    Delete,
    Failed,
    Input,
    Limits,
    Load,
    Loaded,
    Offer,
    Park,
    PublisherDown,
    PublisherUp,
    Returned,
    Tick,
    Unparked,
    Withhold,
)
from wire.store.offers import Offers
from wire.store.outbox import Outbox

Make = Callable[..., OutboundMessage]


def sequences(message: OutboundMessage) -> Iterable[int]:
    """Which of its stream's sequences a message accounts for."""
    if message.operation != "messages-withheld":
        return (message.sequence,)
    first, last = map(int, message.body.split()[0].split(b"-"))
    return range(first, last + 1)


class Lab:
    """An owner with a real outbox and a Publisher with a broker that misbehave by seed."""

    def __init__(self, seed: int, message: Make, ages: Mapping[str, int] | None = None) -> None:
        self.ages = ages or {}
        self.draw = random.Random(seed)
        self.message = message
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.executescript(outbox_module.STEP + outbox_module.CRC_STEP)
        self.outbox = Outbox(self.connection, Path(":memory:"))
        self.now = 0
        self.sequences = {f"call:{n}": 0 for n in range(self.draw.randint(1, 9))}
        self.received: dict[str, list[int]] = {stream: [] for stream in self.sequences}
        self.generation = 1
        self.up = False
        self.unroutable: set[str] = set()
        self.held: dict[int, OutboundMessage] = {}  # by the Publisher
        self.post: list[Input] = []  # to the owner
        self.mail: list[Offer] = []  # to the Publisher
        self.start()

    def start(self) -> None:
        """The owner begins: nothing in memory."""
        self.offers = Offers(
            Limits(
                window=3,
                entries=self.draw.choice([4, 12, 100]),
                answer_ms=50,
                confirm_ms=500,
                retry_min_ms=5,
                parked=self.draw.choice([3, 1000]),
                ages=self.ages,
            ),
            tell,
            since,
        )
        self.post = []
        if self.up:
            self.say(PublisherUp(self.generation))

    def say(self, event: Input) -> None:
        for command in self.offers.handle(event, self.now, self.now):
            match command:
                case Offer():
                    self.mail.append(command)
                case Delete(ids):
                    self.outbox.confirm(ids)
                case Park(ids, reason):
                    self.outbox.park(ids, reason, self.now)
                case Load(after_id, rows, max_bytes):
                    self.say(Loaded(after_id, tuple(self.outbox.load(after_id, rows, max_bytes)), self.outbox.parked()))
                case Withhold(ids, told):
                    self.outbox.withhold(ids, told)

    def publish(self, faults: float) -> None:
        """The Publisher takes an offer; the broker answers for some of what it holds."""
        draw = self.draw
        if self.mail:
            offer = self.mail.pop(0)
            if offer.generation == self.generation and draw.random() >= faults:
                for each in offer.entries:
                    self.held.setdefault(each.id, each.message)
                if draw.random() >= faults:
                    self.post.append(Accepted(self.generation, offer.offer))
        for id in [id for id in self.held if draw.random() < 0.5]:
            message = self.held.pop(id)
            if message.stream in self.unroutable:
                answer: Input = Returned(self.generation, (id,), "NO_ROUTE")
            elif draw.random() < faults:
                answer = Failed(self.generation, (id,))
            else:
                self.received[message.stream].extend(sequences(message))
                answer = Confirmed((id,))
            if draw.random() >= faults:
                self.post.append(answer)

    def step(self, faults: float) -> None:
        draw = self.draw
        self.now += draw.randint(0, 20)
        what = draw.random()
        if what < 0.3 and faults:
            stream = draw.choice(list(self.sequences))
            messages = []
            for _ in range(draw.randint(1, 6)):
                self.sequences[stream] += 1
                operation = draw.choice(("kept", "old"))
                message = self.message(stream, self.sequences[stream], operation=operation)
                messages.append(message._replace(timestamp_ms=self.now))
            self.say(Added(tuple(self.outbox.add(messages, self.now))))
        elif what < 0.33 and faults:
            self.generation += 1
            self.held.clear()
            self.up = True
            self.say(PublisherUp(self.generation))
        elif what < 0.35 and faults:
            self.up = not self.up
            self.say(PublisherUp(self.generation) if self.up else PublisherDown())
        elif what < 0.36 and faults:
            self.start()
        elif what < 0.38 and faults:
            self.unroutable = {draw.choice(list(self.sequences))} if draw.random() < 0.5 else set()
        elif what < 0.40 and faults:
            self.say(Unparked(tuple(self.outbox.unpark())))
        elif what < 0.7:
            self.publish(faults)
        else:
            for _ in range(min(len(self.post), 5)):
                self.say(self.post.pop(0))
        deadline = self.offers.deadline()
        if deadline is not None and deadline <= self.now:
            self.say(Tick())
        assert self.offers.in_flight <= 3
        flying = [lane.flying.message.stream for lane in self.offers._lanes.values() if lane.flying]
        assert len(flying) == len(set(flying)) == self.offers.in_flight


@pytest.mark.parametrize("ages", [{}, {"old": 200}])
@pytest.mark.parametrize("seed", range(50))
def test_every_message_arrives_in_order_whatever_happens(seed: int, message: Make, ages: dict[str, int]) -> None:
    """Under nacks, lost mail, restarts of both sides and unroutable keys, each stream arrives whole or is accounted
    for; and in order but for repetitions and for what was parked."""
    lab = Lab(seed, message, ages)
    for _ in range(600):
        lab.step(faults=0.15)
    lab.unroutable, lab.up = set(), True
    lab.generation += 1
    lab.held.clear()
    lab.say(PublisherUp(lab.generation))
    lab.say(Unparked(tuple(lab.outbox.unpark())))
    for _ in range(40_000):
        if not lab.outbox.counts().waiting:
            break
        lab.step(faults=0)
    assert lab.outbox.counts()[:2] == (0, 0)
    for stream, last in lab.sequences.items():
        firsts = list(dict.fromkeys(lab.received[stream]))
        assert sorted(firsts) == list(range(1, last + 1))
    lab.connection.close()


@pytest.mark.parametrize("ages", [{}, {"old": 200}])
@pytest.mark.parametrize("seed", range(50, 90))
def test_order_holds_among_what_is_routable(seed: int, message: Make, ages: dict[str, int]) -> None:
    """Without unroutable keys, a consumer that drops repetitions sees every stream strictly in order."""
    lab = Lab(seed, message, ages)
    choice = lab.draw.random

    def drawn() -> float:
        while True:
            value = choice()
            if not 0.36 <= value < 0.40:  # neither unroutable nor unparked
                return value

    lab.draw.random = drawn  # type: ignore[method-assign]
    for _ in range(600):
        lab.step(faults=0.15)
    for stream in lab.sequences:
        firsts = list(dict.fromkeys(lab.received[stream]))
        assert firsts == list(range(1, len(firsts) + 1))
    lab.connection.close()
