"""The sink against a real RabbitMQ: what it sends, and every way a broker can disappoint."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from conf.settings import Settings
from tests.rabbitmq import RabbitMQ, Vhost
from tests.wire.amqp.conftest import LIMIT, Consumer, Running, message
from wire.sink import Outcome, Phase, Verdict

Run = Callable[[Settings], Awaitable[Running]]
Make = Callable[..., Settings]


async def test_a_message_arrives_whole(run: Run, settings: Make, consumer: Consumer) -> None:
    """Body, routing key, properties and headers are those of the contract; a message without a call has no call_id."""
    await consumer.bind(key="#")
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1, body='{"number": "ñ"}'.encode()), message(2, call_id=None)])
    assert set((await running.verdicts(2)).values()) == {Verdict.CONFIRMED}
    first, second = await consumer.all()
    assert first.body == '{"number": "ñ"}'.encode()
    assert first.routing_key == "call.pbx1.dtmf-received"
    assert (first.message_id, first.type, first.app_id) == ("call:1.1/1", "dtmf-received", "arimon")
    assert (first.content_type, first.delivery_mode) == ("application/json", 2)
    assert first.headers == {"call_id": "1.1", "server": "pbx1", "operation": "dtmf-received"}
    assert second.headers == {"server": "pbx1", "operation": "dtmf-received"}


async def test_a_large_message_is_split_into_frames(run: Run, settings: Make, consumer: Consumer) -> None:
    """A body of several frames, a body of exactly one, and an empty one arrive as they were."""
    await consumer.bind()
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    bodies = [b"x" * 500_000, b"y" * (131_072 - 8), b""]
    running.sink.publish([message(n, body=body) for n, body in enumerate(bodies, 1)])
    await running.verdicts(3)
    assert [taken.body for taken in await consumer.all()] == bodies


async def test_each_form_has_its_exchange(run: Run, settings: Make, vhost: Vhost) -> None:
    """With `publisher.form: both` two durable topic exchanges are declared."""
    running = await run(settings(form="both"))
    await running.phase(Phase.CONNECTED)
    for name in ("arimon.calls", "arimon.legacy"):
        found = vhost.broker.call(f'rabbit_exchange:lookup(rabbit_misc:r(<<"{vhost.name}">>, exchange, <<"{name}">>))')
        assert "topic,true,false" in found.replace(" ", "")


async def test_outcomes_come_together(run: Run, settings: Make, consumer: Consumer) -> None:
    """The verdicts of many messages come in few calls, each with the time that it took."""
    await consumer.bind()
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(n) for n in range(1, 201)])
    assert running.outcomes == []
    await running.verdicts(200)
    assert running.calls < 100
    assert all(0 < outcome.seconds < LIMIT for outcome in running.outcomes)
    assert running.sink.in_flight == 0


async def test_one_id_is_in_flight_once(run: Run, settings: Make, consumer: Consumer) -> None:
    """A second publish of an id in flight is ignored: one message, one outcome; afterwards it may be sent again."""
    await consumer.bind()
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1), message(1)])
    running.sink.publish([message(1), message(2)])
    await running.verdicts(2)
    assert [taken.message_id for taken in await consumer.all()] == ["call:1.1/1", "call:1.1/2"]
    running.sink.publish([message(1)])
    await running.verdicts(3)
    assert len(running.outcomes) == 3


async def test_an_id_is_in_flight_until_its_outcome_is_told(run: Run, settings: Make, rabbitmq: RabbitMQ) -> None:
    """An id whose verdict is known and not yet told is not taken again: an owner never gets an outcome too many."""
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1, routing_key="k" * 256), message(1, routing_key="k" * 256)])
    running.sink.publish([message(1)])
    assert await running.verdicts(1) == {"call:1.1/1": Verdict.REFUSED}
    running.sink.publish([message(2, routing_key="nobody")])
    await running.verdicts(2)
    assert [outcome.verdict for outcome in running.outcomes] == [Verdict.REFUSED, Verdict.RETURNED]


async def test_an_unroutable_message_is_returned_and_blocks_nothing(
    run: Run, settings: Make, consumer: Consumer
) -> None:
    """No queue for the key: RETURNED for that message, CONFIRMED for those around it, on the same connection."""
    await consumer.bind(key="call.#")
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    lost = message(2, routing_key="pbx.pbx1.pbx-connected", body=b"z" * 300_000)
    running.sink.publish([message(1), lost, message(3)])
    verdicts = await running.verdicts(3)
    assert list(verdicts.values()).count(Verdict.CONFIRMED) == 2
    (returned,) = [outcome for outcome in running.outcomes if outcome.verdict is Verdict.RETURNED]
    assert returned.message_id == "call:1.1/2"
    assert "NO_ROUTE" in returned.detail
    assert "pbx.pbx1.pbx-connected" in returned.detail
    assert running.sink.state.phase is Phase.CONNECTED


async def test_what_amqp_cannot_carry_is_refused(run: Run, settings: Make, consumer: Consumer) -> None:
    """A routing key over 255 bytes, or a form without an exchange, is REFUSED and harms no other message."""
    await consumer.bind()
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1, routing_key="call." + "é" * 130), message(2, form="legacy"), message(3)])
    running.sink.publish([message(4, routing_key="call.\ud800")])
    verdicts = await running.verdicts(4)
    assert verdicts == {
        "call:1.1/1": Verdict.REFUSED,
        "call:1.1/2": Verdict.REFUSED,
        "call:1.1/3": Verdict.CONFIRMED,
        "call:1.1/4": Verdict.REFUSED,
    }


async def test_a_nack_fails_the_message_alone(run: Run, settings: Make, consumer: Consumer) -> None:
    """A full queue that rejects nacks: FAILED, still connected; once there is room the same message is confirmed."""
    await consumer.bind(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1)])
    await running.verdicts(1)
    running.sink.publish([message(2)])
    verdicts = await running.verdicts(2)
    assert verdicts["call:1.1/2"] is Verdict.FAILED
    assert "nacked" in running.outcomes[-1].detail
    assert running.sink.state.phase is Phase.CONNECTED
    await consumer.purge()
    running.sink.publish([message(2)])
    assert (await running.verdicts(3))["call:1.1/2"] is Verdict.CONFIRMED


async def test_order_is_kept_through_nacks(run: Run, settings: Make, consumer: Consumer) -> None:
    """A queue that rejects again and again: with one in flight per lane, each lane arrives in order and complete."""
    await consumer.bind(arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    loop = asyncio.get_running_loop()
    lanes, last = 5, 20
    unsettled = lanes

    def settle(outcome: Outcome) -> None:
        nonlocal unsettled
        stream, number = outcome.message_id.split("/")
        if outcome.verdict is Verdict.FAILED:
            loop.call_later(0.005, running.sink.publish, [message(int(number), stream=stream)])
        elif int(number) < last:
            running.sink.publish([message(int(number) + 1, stream=stream)])
        else:
            unsettled -= 1

    running.on_outcome = settle
    running.sink.publish([message(1, stream=f"call:{lane}") for lane in range(lanes)])
    taken: list[str] = []
    async with asyncio.timeout(2 * LIMIT):
        while unsettled:
            taken += [item.message_id or "" for item in await consumer.all()]
    taken += [item.message_id or "" for item in await consumer.all()]
    assert any(outcome.verdict is Verdict.FAILED for outcome in running.outcomes)
    for lane in range(lanes):
        assert [taken_id for taken_id in taken if taken_id.startswith(f"call:{lane}/")] == [
            f"call:{lane}/{number}" for number in range(1, last + 1)
        ]


async def test_the_memory_alarm_blocks_and_unblocks(
    run: Run, settings: Make, consumer: Consumer, rabbitmq: RabbitMQ
) -> None:
    """Blocked: new messages FAILED at once, what is in flight stays beyond confirm_timeout and is confirmed after."""
    await consumer.bind()
    running = await run(settings(confirm_timeout=3.0))
    await running.phase(Phase.CONNECTED)
    rabbitmq.alarm(True)
    running.sink.publish([message(1)])
    state = await running.phase(Phase.BLOCKED)
    assert "blocked" in state.reason
    assert "memory" in state.reason
    running.sink.publish([message(2)])
    assert (await running.verdicts(1)) == {"call:1.1/2": Verdict.FAILED}
    with pytest.raises(TimeoutError):  # longer than the confirm_timeout, and its clock stands still
        await running.verdicts(2, seconds=4.0)
    assert running.sink.state.phase is Phase.BLOCKED
    rabbitmq.alarm(False)
    await running.phase(Phase.CONNECTED)
    assert (await running.verdicts(2))["call:1.1/1"] is Verdict.CONFIRMED
    assert [taken.message_id for taken in await consumer.all()] == ["call:1.1/1"]


async def test_a_stopped_broker_times_out_and_comes_back(
    run: Run, settings: Make, consumer: Consumer, rabbitmq: RabbitMQ
) -> None:
    """SIGSTOP: the confirm is overdue, in flight FAILED, reconnecting gets no answer; SIGCONT: connected again."""
    await consumer.bind()
    running = await run(settings(confirm_timeout=3.0, connect_timeout=3.0))
    await running.phase(Phase.CONNECTED)
    rabbitmq.pause()
    running.sink.publish([message(1)])
    assert await running.verdicts(1) == {"call:1.1/1": Verdict.FAILED}
    assert "confirmed none" in running.outcomes[0].detail
    await running.until(lambda: "no answer (start) within 3 s" in running.sink.state.reason)
    assert running.sink.state.attempt >= 1
    rabbitmq.resume()
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1)])
    assert (await running.verdicts(2))["call:1.1/1"] is Verdict.CONFIRMED
    await running.until(lambda: running.sink.state.attempt == 0)
    assert running.sink.state.reason == ""


async def test_a_silent_link_is_noticed_without_traffic(run: Run, settings: Make, rabbitmq: RabbitMQ) -> None:
    """Nothing in flight and the broker stopped: two heartbeats of silence are a lost connection."""
    running = await run(settings(heartbeat=1))
    await running.phase(Phase.CONNECTED)
    rabbitmq.pause()
    await running.until(lambda: any("not a byte" in state.reason for state in running.states))
    rabbitmq.resume()
    await running.phase(Phase.CONNECTED)


async def test_heartbeats_keep_an_idle_link(run: Run, settings: Make) -> None:
    """An idle connection with a heartbeat of 3 s is still the same one after seven: two without one would end it."""
    running = await run(settings(heartbeat=3))
    await running.phase(Phase.CONNECTED)
    with pytest.raises(TimeoutError):
        await running.until(lambda: running.sink.state.phase is not Phase.CONNECTED, 7.0)


async def test_confirmed_messages_survive_kill_9(
    run: Run, settings: Make, consumer: Consumer, rabbitmq: RabbitMQ
) -> None:
    """kill -9 under load: every CONFIRMED message is in the queue, every lane is in order and complete in the end."""
    await consumer.bind()
    running = await run(settings())
    lanes = 20
    last = 100
    lane_of: dict[str, tuple[str, int]] = {}
    confirmed: set[str] = set()
    waiting: dict[str, int] = {}

    def offer(stream: str, number: int) -> None:
        made = message(number, stream=stream)
        lane_of[made.message_id] = (stream, number)
        waiting[stream] = number
        if running.sink.state.takes_messages:
            running.sink.publish([made])

    def settle(outcome: Outcome) -> None:
        stream, number = lane_of[outcome.message_id]
        if outcome.verdict is Verdict.CONFIRMED:
            confirmed.add(outcome.message_id)
            del waiting[stream]
            if number < last:
                offer(stream, number + 1)

    running.on_outcome = settle
    await running.phase(Phase.CONNECTED)
    for lane in range(lanes):
        offer(f"call:{lane}", 1)
    await running.until(lambda: len(confirmed) > lanes * last // 3)
    rabbitmq.kill()  # the loop stands still meanwhile, or all might be confirmed before the broker is dead
    state = await running.phase(Phase.BACKING_OFF)
    assert str(rabbitmq.port) in state.reason
    assert waiting
    at_the_kill = set(confirmed)
    assert len(at_the_kill) < lanes * last
    await running.until(lambda: running.sink.in_flight == 0)
    await asyncio.to_thread(rabbitmq.start)
    while waiting:
        await running.phase(Phase.CONNECTED)
        for stream, number in list(waiting.items()):
            offer(stream, number)
        # The link may be lost again, to a broker that is slow to come up: what it FAILED is offered anew then.
        await running.until(lambda: not waiting or running.sink.state.phase is not Phase.CONNECTED)
    taken = [item.message_id or "" for item in await consumer.all()]
    assert at_the_kill <= set(taken)
    numbers = defaultdict(list)
    for message_id in dict.fromkeys(taken):  # a consumer that drops ids it has seen
        stream, number = lane_of[message_id]
        numbers[stream].append(number)
    assert len(numbers) == lanes
    assert all(seen == list(range(1, last + 1)) for seen in numbers.values())


async def test_a_broker_that_is_away_costs_nothing(run: Run, settings: Make, free_port: Callable[[], int]) -> None:
    """Nobody listens: attempts go on with growing delays, a message is FAILED at once, closing is immediate."""
    running = await run(settings(port=free_port()))
    await running.until(lambda: running.sink.state.attempt >= 4)
    delays = [state for state in running.states if state.phase is Phase.BACKING_OFF]
    assert "connect" in delays[0].reason.lower()
    running.sink.publish([message(1)])
    assert await running.verdicts(1) == {"call:1.1/1": Verdict.FAILED}
    await asyncio.wait_for(running.sink.close(10 * LIMIT), LIMIT)
    assert running.sink.state.phase is Phase.DISCONNECTED


async def test_a_wrong_password_names_the_setting(run: Run, settings: Make) -> None:
    """The reason says whose password was refused and which key to check, and never the password."""
    running = await run(settings(password="not-the-password"))
    state = await running.phase(Phase.BACKING_OFF)
    assert "ACCESS_REFUSED" in state.reason
    assert "rabbitmq.password" in state.reason
    assert "not-the-password" not in repr(running.states)
    await running.until(lambda: running.sink.state.attempt >= 3)


async def test_the_password_file_wins_and_is_read_anew(run: Run, settings: Make, tmp_path: Path) -> None:
    """A password file that is missing, then wrong, then right ends in CONNECTED without a restart."""
    file = tmp_path / "password"
    running = await run(settings(password="wrong", password_file=file))
    await running.until(lambda: "rabbitmq.password_file" in running.sink.state.reason)
    file.write_text("wrong\n")
    await running.until(lambda: "ACCESS_REFUSED" in running.sink.state.reason)
    file.write_text("guest\n")
    await running.phase(Phase.CONNECTED)


async def test_a_missing_vhost_is_told(run: Run, settings: Make, rabbitmq: RabbitMQ) -> None:
    """The reason names the command that makes the vhost, then the rights, which suffice; it connects by itself."""
    running = await run(settings(vhost="later"))
    state = await running.phase(Phase.BACKING_OFF)
    assert "rabbitmqctl add_vhost later" in state.reason
    rabbitmq.call('rabbit_vhost:add(<<"later">>, <<"test">>)')
    rights = "set_permissions -p later guest '^arimon' '^arimon' ''"
    await running.until(lambda: rights in running.sink.state.reason)  # it exists, and guest may not enter
    rabbitmq.permit("guest", "later", "^arimon", "^arimon", "")
    await running.phase(Phase.CONNECTED)
    await running.sink.close(0.0)
    rabbitmq.call('rabbit_vhost:delete(<<"later">>, <<"test">>)')


async def test_an_exchange_of_another_type_is_told(run: Run, settings: Make, consumer: Consumer) -> None:
    """The reason names the exchange; when it is deleted the sink declares its own and connects."""
    await consumer.declare_exchange("fanout")
    running = await run(settings())
    state = await running.phase(Phase.BACKING_OFF)
    assert "PRECONDITION_FAILED" in state.reason
    assert "'arimon.calls'" in state.reason
    await consumer.delete_exchange()
    await running.phase(Phase.CONNECTED)


async def test_a_user_who_may_not_publish_does_not_spin(
    run: Run, settings: Make, consumer: Consumer, vhost: Vhost
) -> None:
    """The broker closes the channel at each publish: FAILED, and attempts grow although each connection succeeds."""
    broker = vhost.broker
    await consumer.bind()
    broker.add_user(f"reader-{vhost.name}", "secret")
    broker.permit(f"reader-{vhost.name}", vhost.name, write="^$")
    running = await run(settings(username=f"reader-{vhost.name}", password="secret"))
    for number in range(1, 4):
        await running.until(lambda: running.sink.state.phase is Phase.CONNECTED)
        running.sink.publish([message(number)])
        await running.verdicts(number)
        assert running.sink.state.attempt >= number
    assert set((await running.verdicts(3)).values()) == {Verdict.FAILED}
    assert "configure and write permission" in running.outcomes[-1].detail
    broker.permit(f"reader-{vhost.name}", vhost.name, "^arimon", "^arimon", "")
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(4)])
    assert (await running.verdicts(4))["call:1.1/4"] is Verdict.CONFIRMED


async def test_a_deleted_exchange_is_declared_anew(run: Run, settings: Make, consumer: Consumer) -> None:
    """The exchange vanishes under us: what is in flight FAILED, and reconnecting declares it again."""
    await consumer.bind()
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    await consumer.delete_exchange()
    running.sink.publish([message(1)])
    assert await running.verdicts(1) == {"call:1.1/1": Verdict.FAILED}
    await running.phase(Phase.CONNECTED)
    await consumer.bind()
    running.sink.publish([message(1)])
    assert (await running.verdicts(2))["call:1.1/1"] is Verdict.CONFIRMED


async def test_an_orderly_stop_of_the_broker_is_told_in_its_words(run: Run, settings: Make, rabbitmq: RabbitMQ) -> None:
    """`rabbitmqctl close_all_connections` says why; the sink repeats it and reconnects at once."""
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    rabbitmq.close_all_connections("maintenance")
    await running.until(lambda: any("CONNECTION_FORCED - maintenance" in state.reason for state in running.states))
    await running.phase(Phase.CONNECTED)


async def test_closing_drains(run: Run, settings: Make, consumer: Consumer) -> None:
    """close() waits for the confirms of what is in flight, takes nothing new, and run() returns."""
    await consumer.bind()
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(n) for n in range(1, 51)])
    closing = asyncio.create_task(running.sink.close(LIMIT))
    await asyncio.sleep(0)
    running.sink.publish([message(51)])
    await closing
    verdicts = await running.verdicts(51)
    assert verdicts.pop("call:1.1/51") is Verdict.FAILED
    assert set(verdicts.values()) == {Verdict.CONFIRMED}
    assert running.sink.state.phase is Phase.DISCONNECTED


async def test_closing_has_a_limit(run: Run, settings: Make, consumer: Consumer, rabbitmq: RabbitMQ) -> None:
    """A stopped broker holds up close() for the drain and the good-bye, and what is in flight is FAILED."""
    await consumer.bind()
    running = await run(settings())
    await running.phase(Phase.CONNECTED)
    rabbitmq.pause()
    running.sink.publish([message(1)])
    await asyncio.wait_for(running.sink.close(0.3), LIMIT)
    assert await running.verdicts(1) == {"call:1.1/1": Verdict.FAILED}


async def test_tls(run: Run, settings: Make, consumer: Consumer, rabbitmq: RabbitMQ) -> None:
    """AMQPS with a CA of our own carries messages."""
    await consumer.bind()
    running = await run(settings(tls=True, port=rabbitmq.tls_port, ca_file=rabbitmq.ca_file))
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1)])
    assert await running.verdicts(1) == {"call:1.1/1": Verdict.CONFIRMED}


async def test_tls_with_an_unknown_ca_is_refused(run: Run, settings: Make, rabbitmq: RabbitMQ) -> None:
    """A certificate that does not chain to a known CA is not accepted, and the reason names the option."""
    running = await run(settings(tls=True, port=rabbitmq.tls_port))
    state = await running.phase(Phase.BACKING_OFF)
    assert "rabbitmq.ca_file" in state.reason


async def test_another_protocol_is_told(run: Run, settings: Make, free_port: Callable[[], int]) -> None:
    """A server that is no broker is named as such, and attempts go on."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        running = await run(settings(port=port))
        state = await running.phase(Phase.BACKING_OFF)
        assert "AMQP" in state.reason
        await running.sink.close(0.0)


async def test_an_error_in_a_callback_ends_run(settings: Make, run: Run) -> None:
    """What a callback raises is an error of ours: run() raises it, so that the process exits and is restarted."""
    running = Running(settings())

    def broken(outcome: Outcome) -> None:
        raise ZeroDivisionError

    running.on_outcome = broken
    task = asyncio.create_task(running.sink.run())
    await running.phase(Phase.CONNECTED)
    running.sink.publish([message(1)])
    with pytest.raises(ZeroDivisionError):
        await task


async def test_closing_before_running(settings: Make) -> None:
    """A sink closed before it ran never dials."""
    running = Running(settings())
    await running.sink.close(1.0)
    await running.sink.run()
    assert [state.phase for state in running.states] == [Phase.DISCONNECTED]
