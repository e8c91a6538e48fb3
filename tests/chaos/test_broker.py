"""Whatever the broker does, under load: it is said, nothing is lost or restarted, and order is kept."""

import asyncio
import json
import time
from collections import Counter

import aio_pika

from tests.daemon import Daemon, Simulator, accounted_for, assert_complete, replayed, wait_for
from tests.rabbitmq import RabbitMQ, Vhost
from tests.schemas import schemas
from tests.spine.tools import Queue, Start, confirmed, finish, problems, restarts, status, wait_for_confirmed


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


def test_after_an_outage_what_is_too_old_is_withheld_and_said(start: Start, vhost: Vhost, rabbitmq: RabbitMQ) -> None:
    """Of the operations named only; a consumer can account for every sequence, in order, and so can the operator."""
    queue = Queue(vhost)
    queue.bind()
    policy = {"ringing-call": 1.0, "dtmf-received": 1.0}
    daemon, simulator = start(publisher={"withhold_after": policy})
    wait_for_confirmed(daemon, 40)
    rabbitmq.kill()

    def too_old() -> bool:
        [outbox] = daemon.client.outbox()
        return outbox["depth"] > 100 and time.time() - (outbox["oldest_ms"] or 0) / 1000 > 4

    wait_for(too_old, "many messages wait, and for long")
    rabbitmq.start()
    wait_for_confirmed(daemon, 60)
    simulator.end()
    daemon.wait_drained()
    counted = daemon.client.outbox()[0]["withheld"]
    assert daemon.stop() == 0
    bodies = queue.take()
    assert_complete(bodies, replayed(simulator.sent(), daemon.settings))
    told = [json.loads(body) for body in dict.fromkeys(bodies) if b'"messages-withheld"' in body]
    assert {each["data"]["operation"] for each in told} <= policy.keys()
    assert sum(len(accounted_for(each)) for each in told) == counted > 0
    for each in told:
        assert schemas().errors(each) == []
    assert "switchboard.messages_withheld" in (daemon.folder / "arimond.log").read_text()


def goes_on(daemon: Daemon, simulator: Simulator, queue: Queue) -> None:
    """The fault is over: all that waited is published, with what came meanwhile, and no process was restarted."""
    wait_for_confirmed(daemon, daemon.client.outbox()[0]["depth"] + 20)
    wait_for(lambda: "publisher: " not in problems(daemon), "the problem is gone")
    assert set(restarts(daemon).values()) == {0}
    finish(daemon, simulator)
    assert_complete(queue.take(), replayed(simulator.sent(), daemon.settings))


def waits(daemon: Daemon, said: str) -> None:
    """The problem is told, and messages wait for its end in the outbox."""
    wait_for(lambda: said in problems(daemon), f"the status says {said!r}")
    depth = daemon.client.outbox()[0]["depth"]
    wait_for(lambda: daemon.client.outbox()[0]["depth"] > depth + 20, "the outbox takes what cannot be published")


def test_a_blocked_broker(start: Start, vhost: Vhost, rabbitmq: RabbitMQ) -> None:
    """Memory alarm: the connection stays, and nothing is pushed into a broker that asked for mercy."""
    queue = Queue(vhost)
    queue.bind()
    daemon, simulator = start()
    wait_for_confirmed(daemon, 40)
    rabbitmq.alarm(True)
    waits(daemon, "publisher: blocked")
    rabbitmq.alarm(False)
    goes_on(daemon, simulator, queue)


def test_a_broker_that_stands_still(start: Start, vhost: Vhost, rabbitmq: RabbitMQ) -> None:
    """SIGSTOP: sockets stay open and no confirm comes; that is noticed, and everything unconfirmed goes once more."""
    queue = Queue(vhost)
    queue.bind()
    daemon, simulator = start(confirm_timeout=5.0)
    wait_for_confirmed(daemon, 40)
    rabbitmq.pause()
    waits(daemon, "publisher: ")
    rabbitmq.resume()
    goes_on(daemon, simulator, queue)


def test_permissions_that_were_taken_away(start: Start, vhost: Vhost, rabbitmq: RabbitMQ) -> None:
    """The broker closes the channel at each publish: said in its own words, tried again, and over once it is mended."""
    rabbitmq.add_user("operator", "operator")
    rabbitmq.permit("operator", vhost.name)
    queue = Queue(vhost)
    queue.bind()
    daemon, simulator = start(username="operator", password="operator")
    wait_for_confirmed(daemon, 40)
    rabbitmq.permit("operator", vhost.name, write="^$")
    rabbitmq.close_connections()
    waits(daemon, "ACCESS_REFUSED")
    rabbitmq.permit("operator", vhost.name)
    goes_on(daemon, simulator, queue)


def test_an_exchange_of_another_type(start: Start, vhost: Vhost) -> None:
    """Somebody declared it otherwise: said in the broker's words; once that one is deleted, all is published.

    What is published before the queue is bound to the new one is parked, so here it comes in any order.
    """
    asyncio.run(declare(vhost, "fanout"))
    daemon, simulator = start()
    waits(daemon, "PRECONDITION_FAILED")
    asyncio.run(delete(vhost))
    queue = Queue(vhost)
    queue.bind()
    wait_for_confirmed(daemon, 40)
    assert set(restarts(daemon).values()) == {0}
    finish_parked(daemon, simulator)
    ids = Counter(json.loads(body)["message_id"] for body in queue.take())
    expected = [json.loads(body)["message_id"] for body in replayed(daemon.exported(), daemon.settings)]
    assert ids == Counter(expected)


def finish_parked(daemon: Daemon, simulator: Simulator) -> None:
    """The same, with what is parked given once more."""
    simulator.end()
    daemon.wait_drained()
    daemon.client.outbox_redrive()
    wait_for(lambda: daemon.client.outbox()[0]["depth"] == 0, "nothing is parked any more")
    assert daemon.stop() == 0


async def declare(vhost: Vhost, kind: str) -> None:
    """Declare our exchange."""
    async with await aio_pika.connect(vhost.url) as connection:
        await (await connection.channel()).declare_exchange("arimon.calls", kind, durable=True)


async def delete(vhost: Vhost) -> None:
    """Delete it."""
    async with await aio_pika.connect(vhost.url) as connection:
        await (await connection.channel()).exchange_delete("arimon.calls")
