"""From the socket of a PBX to a queue of a real RabbitMQ, whatever happens to the broker."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, Simulator, assert_complete, replayed, wait_for
from tests.rabbitmq import RabbitMQ, Vhost
from tests.spine.tools import CALM, Queue, finish, problems, restarts, status

TRAFFIC = ("--rate", "200", "--lanes", "8", "--loop", "forever", "--mix", "ordinary")

Start = Callable[..., tuple[Daemon, Simulator]]


@pytest.fixture
def start(tmp_path: Path, vhost: Vhost) -> Iterator[Start]:
    """Starts a simulator, and a daemon that publishes to this test's vhost; keywords change its settings."""
    made: list[Daemon | Simulator] = []

    def run(form: str = "v3", **rabbitmq: Any) -> tuple[Daemon, Simulator]:
        simulator = Simulator(tmp_path / "simulator", *TRAFFIC)
        made.append(simulator)
        daemon = Daemon(
            tmp_path / "daemon",
            [simulator.pbx()],
            supervision=CALM,
            publisher={"sink": "amqp", "form": form},
            rabbitmq={
                "port": vhost.broker.port,
                "vhost": vhost.name,
                "retry": {"minimum": 0.1, "maximum": 0.5},
                **rabbitmq,
            },
        )
        made.append(daemon)
        daemon.start()
        return daemon, simulator

    yield run
    for each in reversed(made):
        each.end()


def confirmed(daemon: Daemon) -> int:
    found = status(daemon)
    return 0 if found is None else found["publisher"]["confirmed"]


def wait_for_confirmed(daemon: Daemon, more: int) -> None:
    """Wait until so many more are confirmed."""
    before = confirmed(daemon)
    wait_for(lambda: confirmed(daemon) > before + more, f"{more} messages are confirmed")


def test_every_message_comes_once_and_in_order(start: Start, vhost: Vhost) -> None:
    """What is in the queue is what replay gives of the simulator's log; properties and headers are as documented."""
    queue = Queue(vhost)
    queue.bind()
    daemon, simulator = start()
    wait_for_confirmed(daemon, 60)
    finish(daemon, simulator)
    bodies = queue.take()
    assert_complete(bodies, replayed(simulator.sent(), daemon.settings))
    assert len(bodies) == len(set(bodies))
    for message in queue.taken:
        body = json.loads(message.body)
        operation = body["operation"]["type"]
        assert message.message_id == body["message_id"]
        assert message.routing_key == f"{body['stream'].split(':')[0]}.pbx1.{operation}"
        assert (message.content_type, message.delivery_mode) == ("application/json", 2)
        assert (message.type, message.app_id) == (operation, "arimon")
        assert (message.headers["server"], message.headers["operation"]) == ("pbx1", operation)
        assert message.headers.get("call_id") == body["call_id"]
    assert {message.routing_key for message in queue.taken} >= {"pbx.pbx1.pbx-connected", "call.pbx1.finished-call"}


def test_a_broker_killed_in_full_traffic_loses_nothing(start: Start, vhost: Vhost, rabbitmq: RabbitMQ) -> None:
    """kill -9 of the broker, and back: every message is there, doubles have one id, and no process was restarted."""
    queue = Queue(vhost)
    queue.bind()
    daemon, simulator = start()
    before = restarts(daemon)
    wait_for_confirmed(daemon, 40)
    rabbitmq.kill()
    wait_for(lambda: "publisher: " in problems(daemon) or None, "the status says that the broker is away")
    depth = wait_for(lambda: daemon.client.outbox()[0]["depth"], "the outbox takes what cannot be published")
    wait_for(lambda: daemon.client.outbox()[0]["depth"] > depth + 20, "and goes on to")
    rabbitmq.start()
    wait_for_confirmed(daemon, depth + 20)
    assert restarts(daemon) == before
    assert set(before.values()) == {0}
    finish(daemon, simulator)
    assert_complete(queue.take(), replayed(simulator.sent(), daemon.settings))


def test_a_broker_that_is_away_at_the_start_is_waited_for(start: Start, vhost: Vhost, rabbitmq: RabbitMQ) -> None:
    """The tree is whole and works without it; when it comes, everything is published, from the first message on."""
    queue = Queue(vhost)
    queue.bind()
    rabbitmq.kill()
    daemon, simulator = start()
    wait_for(lambda: daemon.client.outbox()[0]["depth"] > 40, "messages wait in the outbox")
    found = status(daemon)
    assert found is not None
    assert not found["healthy"]
    assert found["publisher"]["link"]["state"] != "connected"
    assert confirmed(daemon) == 0
    rabbitmq.start()
    wait_for_confirmed(daemon, 60)
    assert set(restarts(daemon).values()) == {0}
    finish(daemon, simulator)
    bodies = queue.take()
    assert_complete(bodies, replayed(simulator.sent(), daemon.settings))
    assert_complete(bodies, replayed(daemon.exported(), daemon.settings), prefix="pbx:")


def test_what_nobody_is_bound_for_is_parked_and_can_be_redriven(start: Start, vhost: Vhost) -> None:
    """Counted in status and told as a problem; after a queue was bound, a redrive publishes all of it, in order."""
    daemon, simulator = start()
    wait_for(lambda: daemon.client.status()["pbx"][0]["parked"] > 20, "messages are parked")
    wait_for(lambda: "messages parked as unroutable" in problems(daemon) or None, "it is told as a problem")
    simulator.end()
    daemon.wait_drained()
    [outbox] = daemon.client.outbox()
    assert outbox["parked"] == outbox["depth"] > 20
    queue = Queue(vhost)
    queue.bind()
    done = daemon.client.outbox_redrive()["done"]
    assert done.startswith(f"{outbox['parked']} parked messages")
    wait_for(lambda: daemon.client.outbox()[0]["depth"] == 0, "nothing is parked any more")
    wait_for(lambda: "parked" not in problems(daemon), "the problem is gone")
    assert daemon.stop() == 0
    expected = replayed(simulator.sent(), daemon.settings)
    assert_complete(queue.take(), expected)


def test_what_is_routable_is_not_held_up_by_what_is_not(start: Start, vhost: Vhost) -> None:
    """With a queue for finished calls only, those come while everything else is parked."""
    queue = Queue(vhost)
    queue.bind("call.*.finished-call")
    daemon, simulator = start()
    wait_for_confirmed(daemon, 10)
    finish(daemon, simulator)
    got = [json.loads(body)["message_id"] for body in queue.take()]
    expected = [json.loads(body) for body in replayed(simulator.sent(), daemon.settings)]
    finished = {each["message_id"] for each in expected if each["operation"]["type"] == "finished-call"}
    assert set(got) == finished
    assert len(got) == len(finished)


def test_both_forms_go_to_exchanges_of_their_own(start: Start, vhost: Vhost) -> None:
    """`both`: the v3 form and the legacy form of each message, each complete, with ids of its own."""
    new, old = Queue(vhost), Queue(vhost, "old", "arimon.legacy")
    new.bind()
    old.bind()
    daemon, simulator = start(form="both")
    wait_for_confirmed(daemon, 60)
    finish(daemon, simulator)
    expected = replayed(simulator.sent(), daemon.settings)
    legacy = {json.loads(body)["payload"]["message_id"]: body for body in expected if b'"payload"' in body}
    v3 = [body for body in expected if b'"payload"' not in body]
    assert len(legacy) == len(v3)
    assert_complete(new.take(), v3)
    calls = [body for body in old.take() if json.loads(body)["payload"]["call_id"] is not None]
    assert {json.loads(body)["payload"]["message_id"]: body for body in calls} == legacy
    assert len(calls) == len(legacy)
    assert legacy.keys().isdisjoint(json.loads(body)["message_id"] for body in v3)
