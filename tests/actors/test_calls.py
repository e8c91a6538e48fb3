"""actors.calls and actors.call_system: one Thespian actor per active call, supervised, with nothing left over."""

from collections.abc import Callable

import orjson
import pytest

from actors import calls
from actors.call import host
from actors.call.host import Folded
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.call_system import CallSystem, Poisoned
from conf.settings import Settings
from conf.validation import validated
from supervision.reports import Context, ReportKind
from tests.truth import recordings, run
from wire.message import OutboundMessage

SERVER = "pbx1"
ANSWERED = "01_inbound_answered_caller_hangup"
MOST_ROWS = 3000
"""Rows of a recording that are looked at: all, but for the load of 200 calls at once."""


@pytest.fixture
def settings() -> Settings:
    return validated(Settings, {"supervision": {"call_intensity": 20}})


@pytest.fixture
def system(settings: Settings) -> CallSystem:
    return CallSystem(SERVER, settings)


@pytest.fixture
def story(settings: Settings) -> list[Routed]:
    """An ordinary answered call, input by input."""
    return run.routed(ANSWERED, settings)


def of(call_id: str, inputs: list[Routed]) -> list[Routed]:
    """The same story, told to another call."""
    return [each._replace(call_id=call_id) for each in inputs]


def taken(system: CallSystem, inputs: list[Routed]) -> list[OutboundMessage]:
    """Deliver all; none may fail."""
    messages: list[OutboundMessage] = []
    for each in inputs:
        folded = system.deliver(each)
        assert isinstance(folded, Folded)
        messages.extend(folded.messages)
    return messages


def registered(system: CallSystem) -> set[str]:
    """Keys of Thespian's registry, those of dead actors included."""
    return set(system._system._systemBase.actorRegistry)


def raising(times: int, when: Callable[[Call | None, Routed], bool]) -> Callable[..., Folded]:
    """A fold that raises at chosen inputs, so many times."""
    left = times

    def fold(call: Call | None, given: Routed, server: str, settings: Settings) -> Folded:
        nonlocal left
        if left and when(call, given):
            left -= 1
            raise ZeroDivisionError("on purpose")
        return host.fold(call, given, server, settings)

    return fold


# --- the census -------------------------------------------------------------------------------------------------------


def test_each_active_call_has_one_actor_and_an_ended_one_none(system: CallSystem, story: list[Routed]) -> None:
    """The census counts one actor per call from its first input to its last."""
    for number in range(1, 4):
        taken(system, of(f"{number}.0", story[:-1]))
        assert system.census() == {"calls": number, "actors": number}
    assert sum(system.partition_sizes()) == 3
    for number in range(1, 4):
        taken(system, of(f"{number}.0", story[-1:]))
        assert system.census() == {"calls": 3 - number, "actors": 3 - number}


def test_nothing_is_left_of_a_thousand_calls(system: CallSystem, story: list[Routed]) -> None:
    """Thespian's registry, which keeps the dead for ever, is as it was before them; our tables are empty."""
    before = registered(system)
    for number in range(1000):
        taken(system, of(f"{number}.0", story))
    assert registered(system) == before
    assert system.states == {}
    assert system._residents == {}
    for partition in before:
        actor = system._system._systemBase.actorRegistry[partition]
        if actor is not None and isinstance(actor.instance, calls.CallsActor):
            supervisor = actor.instance
            assert (supervisor._addresses, supervisor._by_address, supervisor._endings) == ({}, {}, {})


def test_nothing_is_left_of_killed_actors(system: CallSystem, story: list[Routed]) -> None:
    """A replaced actor's key leaves the registry with it."""
    taken(system, of("1.0", story[:5]))
    before = len(registered(system))
    for _ in range(10):
        assert system.kill("1.0")
        assert len(registered(system)) == before
        assert system.census() == {"calls": 1, "actors": 1}


def test_a_killed_call_goes_on_where_it_was(system: CallSystem, story: list[Routed]) -> None:
    """After a kill at any point of its life a call has the same state, a new generation, and the same to say."""
    undisturbed = taken(CallSystem(SERVER, Settings()), of("1.0", story))
    messages: list[OutboundMessage] = []
    for number, each in enumerate(of("1.0", story)):
        messages.extend(taken(system, [each]))
        if "1.0" in system.states and number % 2:
            state, generation = system.states["1.0"], system.generation("1.0")
            assert system.kill("1.0")
            assert system.states["1.0"] is state
            assert system.generation("1.0") == generation + 1
    assert messages == undisturbed
    assert system.census() == {"calls": 0, "actors": 0}


def test_a_kill_touches_no_sibling(system: CallSystem, story: list[Routed]) -> None:
    """Calls of the same partition and of others keep their actors and their generations."""
    names = [f"{number}.0" for number in range(40)]
    for name in names:
        taken(system, of(name, story[:5]))
    addresses = {name: system._residents[name].address for name in names}
    system.kill(names[7])
    for name in set(names) - {names[7]}:
        assert system.generation(name) == 1
        assert system._residents[name].address is addresses[name]
    assert system.restarts == 1
    assert system.census() == {"calls": 40, "actors": 40}


def test_there_is_nobody_to_kill_where_there_is_no_call(system: CallSystem) -> None:
    """kill says so."""
    assert system.kill("1.0") is False


def test_a_restored_call_goes_on(system: CallSystem, settings: Settings, story: list[Routed]) -> None:
    """A state put back has an actor of its own, which takes the next input where the former host left off."""
    former = CallSystem(SERVER, settings)
    first = taken(former, of("1.0", story[:8]))
    system.restore("1.0", former.states["1.0"])
    assert system.census() == {"calls": 1, "actors": 1}
    undisturbed = taken(CallSystem(SERVER, settings), of("1.0", story))
    assert first + taken(system, of("1.0", story[8:])) == undisturbed


def test_partitions_share_the_calls(settings: Settings, story: list[Routed]) -> None:
    """A call belongs to one partition, always the same; no partition is left without."""
    system = CallSystem(SERVER, settings)
    for number in range(200):
        taken(system, of(f"{number}.0", story[:1]))
    assert len(system.partition_sizes()) == settings.switchboard.partitions
    assert min(system.partition_sizes()) > 0
    assert sum(system.partition_sizes()) == 200


# --- poison -----------------------------------------------------------------------------------------------------------


DIALLING = 19
"""The row of the story in which the Dial begins; it gives the call three inputs."""


def dialling(_call: Call | None, given: Routed) -> bool:
    """The inputs of that row, in the call 1.0."""
    return given.call_id == "1.0" and given.input.n == DIALLING


def test_an_input_at_which_one_actor_fails_is_given_to_its_successor(
    monkeypatch: pytest.MonkeyPatch, system: CallSystem, story: list[Routed]
) -> None:
    """A passing fault costs the call one generation, and nothing that it says."""
    undisturbed = taken(CallSystem(SERVER, Settings()), of("1.0", story))
    monkeypatch.setattr(calls, "fold", raising(1, dialling))
    messages = taken(system, of("1.0", story[:-1]))
    assert system.generation("1.0") == 2
    assert system.restarts == 1
    assert messages + taken(system, of("1.0", story[-1:])) == undisturbed


def test_a_crash_is_reported_with_what_is_needed_to_mend_it(
    monkeypatch: pytest.MonkeyPatch, system: CallSystem, story: list[Routed]
) -> None:
    """The report has the exception, the message that was being handled, the state, and the traceback."""
    monkeypatch.setattr(calls, "fold", raising(1, dialling))
    taken(system, of("1.0", story[:-1]))
    [crash] = [report for report in system.take_reports() if report.kind is ReportKind.CRASH]
    shown = crash.as_dict()
    assert shown["supervisor"] == f"pbx/{SERVER}/calls/{system.partition_of('1.0')}"
    assert shown["reason"] == "ZeroDivisionError: on purpose"
    assert "Routed(call_id='1.0'" in str(shown["message"])
    assert "Call(" in str(shown["state"])
    assert "in fold" in str(shown["traceback"])
    assert system.take_reports() == []


def test_an_input_that_no_actor_can_take_is_poison(
    monkeypatch: pytest.MonkeyPatch, system: CallSystem, story: list[Routed]
) -> None:
    """It fails at the actor and at its successor; the call goes on from its former state, and says degraded."""
    taken(system, of("2.0", story[:-1]))
    monkeypatch.setattr(calls, "fold", raising(-1, dialling))
    [first, *rest] = of("1.0", story)
    taken(system, [first])
    poisoned: list[Poisoned] = []
    messages: list[OutboundMessage] = []
    for each in rest:
        before = system.states["1.0"]
        folded = system.deliver(each)
        if isinstance(folded, Poisoned):
            assert system.states["1.0"] is before
            assert system.census() == {"calls": 2, "actors": 2}
            poisoned.append(folded)
            system.degrade("1.0")
            assert system.states["1.0"].degraded
        else:
            messages.extend(folded.messages)
    assert [str(each.reason) for each in poisoned] == ["ZeroDivisionError: on purpose"] * len(poisoned)
    assert len(poisoned) == sum(each.input.n == DIALLING for each in story)
    assert messages
    assert all(orjson.loads(message.body)["degraded"] for message in messages)
    # The other call has not noticed.
    assert system.generation("2.0") == 1
    assert not system.states["2.0"].degraded
    assert system.census() == {"calls": 1, "actors": 1}


def test_poison_is_charged_to_no_supervisor(
    monkeypatch: pytest.MonkeyPatch, system: CallSystem, story: list[Routed]
) -> None:
    """However often one call crashes, its partition goes on, and takes new calls."""
    monkeypatch.setattr(calls, "fold", raising(-1, lambda _call, given: given.call_id == "1.0"))
    [first] = of("1.0", story[:1])
    for _ in range(100):
        assert isinstance(system.deliver(first), Poisoned)
        system.degrade("1.0")
    siblings = [f"{number}.0" for number in range(2, 100)]
    for name in siblings:
        taken(system, of(name, story[:5]))
    assert system.partition_of("1.0") in {system.partition_of(name) for name in siblings}
    assert {system.generation(name) for name in siblings} == {1}
    assert all(report.context is not Context.SHUTDOWN for report in system.take_reports())


def test_a_call_poisoned_at_its_first_input_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, system: CallSystem, story: list[Routed]
) -> None:
    """It never came to be: no state, no actor, no key; its next input begins it as if it were the first."""
    before = registered(system)
    monkeypatch.setattr(calls, "fold", raising(-1, lambda _call, given: given.input == story[0].input))
    first, second, *_ = of("1.0", story)
    assert isinstance(system.deliver(first), Poisoned)
    system.degrade("1.0")
    assert system.census() == {"calls": 0, "actors": 0}
    assert registered(system) == before
    taken(system, [second])
    assert system.census() == {"calls": 1, "actors": 1}


def test_a_call_that_used_up_its_budget_goes_on_with_its_next_input(
    monkeypatch: pytest.MonkeyPatch, story: list[Routed]
) -> None:
    """Given up by its supervisor, it is Poisoned like any other, keeps its state, and its next input finds an actor."""
    system = CallSystem(SERVER, validated(Settings, {"supervision": {"call_intensity": 1}}))
    undisturbed = taken(CallSystem(SERVER, Settings()), of("1.0", story))
    taken(system, of("2.0", story[:5]))
    messages = taken(system, of("1.0", story[:8]))
    with monkeypatch.context() as patched:
        patched.setattr(calls, "fold", raising(-1, lambda _call, given: given.call_id == "1.0"))
        for each in of("1.0", story[8:11]):
            assert isinstance(system.deliver(each), Poisoned)
            system.degrade("1.0")
            assert system.census() == {"calls": 2, "actors": 2}
    assert any(report.context is Context.ABANDONED for report in system.take_reports())
    assert system.states["1.0"].degraded
    assert system.generation("2.0") == 1
    messages += taken(system, of("1.0", story[8:]))
    assert [message.operation for message in messages] == [message.operation for message in undisturbed]
    assert system.census() == {"calls": 1, "actors": 1}


def test_a_call_killed_more_often_than_its_budget_allows_still_has_an_actor(story: list[Routed]) -> None:
    """The census holds whatever an operator does: each active call has one actor, with a generation of its own."""
    system = CallSystem(SERVER, validated(Settings, {"supervision": {"call_intensity": 2}}))
    taken(system, of("1.0", story[:5]))
    state = system.states["1.0"]
    seen = [system.generation("1.0")]
    for _ in range(8):
        assert system.kill("1.0")
        assert system.census() == {"calls": 1, "actors": 1}
        assert system.states["1.0"] is state
        seen.append(system.generation("1.0"))
    assert seen == sorted(set(seen)), "a generation names one incarnation"
    taken(system, of("1.0", story[5:]))
    assert system.census() == {"calls": 0, "actors": 0}


# --- every recording --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recordings.names())
def test_actors_say_what_a_plain_fold_says(name: str, settings: Settings) -> None:
    """Every recording gives the same messages through mailboxes as through a dict, and one actor per call all along."""
    system = CallSystem(SERVER, settings)
    plain: dict[str, Call] = {}
    for each in run.routed(name, settings, MOST_ROWS):
        expected = host.fold(plain.get(each.call_id), each, SERVER, settings)
        plain[each.call_id] = expected.call
        if expected.ended:
            del plain[each.call_id]
        assert system.deliver(each) == expected
    assert system.states == plain
    assert system.census() == {"calls": len(plain), "actors": len(plain)}
    assert {system.generation(call_id) for call_id in plain} <= {1}
