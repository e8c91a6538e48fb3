"""From the socket of a PBX to a queue of a real RabbitMQ, as a consumer has it."""

import json

from tests.daemon import assert_complete, replayed, wait_for
from tests.rabbitmq import Vhost
from tests.spine.tools import Queue, Start, finish, problems, wait_for_confirmed


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


def test_what_nobody_is_bound_for_is_parked_and_can_be_redriven(start: Start, vhost: Vhost) -> None:
    """Counted in status and told as a problem; after a queue was bound, a redrive publishes all of it, in order."""
    daemon, simulator = start()
    wait_for(lambda: daemon.client.status()["pbx"][0]["parked"] > 20, "messages are parked")
    wait_for(lambda: "messages parked as unroutable" in problems(daemon) or None, "it is told as a problem")
    simulator.end()
    wait_for(lambda: daemon.client.status()["pbx"][0]["link"]["state"] != "connected", "the end of the link is told")
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


def test_more_than_may_be_parked_waits_and_is_said(start: Start, vhost: Vhost) -> None:
    """Streams wait at their first unroutable message then; once a queue is bound all of it comes, in order."""
    daemon, simulator = start(publisher={"parked_max": 5})
    wait_for(
        lambda: "wait at an unroutable message: publisher.parked_max" in problems(daemon), "it is told as a problem"
    )
    [outbox] = daemon.client.outbox()
    assert outbox["parked"] == 5
    assert outbox["held_up"] > 0
    queue = Queue(vhost)
    queue.bind()
    assert daemon.client.outbox_redrive()["done"].startswith("5 parked messages")
    finish(daemon, simulator)
    assert_complete_anyhow(queue.take(), replayed(simulator.sent(), daemon.settings))


def assert_complete_anyhow(messages: list[bytes], expected: list[bytes]) -> None:
    """As `assert_complete`, but what was parked may come after what was not."""
    in_sequence = sorted(dict.fromkeys(messages), key=lambda body: json.loads(body)["sequence"])
    assert_complete(in_sequence, expected)


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
