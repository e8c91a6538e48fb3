"""An outage of the broker is a state of Publisher, and no restart: both machines, ten virtual minutes."""

from random import Random

import pytest

from conf.settings import Settings
from conf.validation import validated
from supervision import tree
from tests.supervision.stage import Stage, moves, reports
from wire.amqp.session import Dial, Lost, Policy, Session, Start, Step, Tick, transition
from wire.backoff import Backoff

MINUTES = 10
TICK_MS = 250

POLICY = Policy(
    where="broker:5672",
    username="arimon",
    vhost="/",
    exchanges=("arimon.calls",),
    backoff=Backoff(0.5, 30.0),
    connect_timeout_ms=5_000,
    confirm_timeout_ms=30_000,
    heartbeat_s=10,
)


@pytest.mark.parametrize("how", ["refuses", "swallows"])
def test_ten_minutes_without_a_broker_cost_no_restart(how: str) -> None:
    """Every attempt fails, by refusal or by silence; Publisher answers its probes, and nobody is started anew."""
    settings = validated(Settings, {"pbx": [{"name": "pbx1", "url": "ws://127.0.0.1:8088/ari"}]})
    stage = Stage(tree.root(settings))
    assert moves(stage.log) == ["start publisher", "start recovery", "start monitor", "start pbx/pbx1"]
    random = Random(7)
    session, effects = transition(Session(POLICY), Start(0))
    attempts = 0
    for now_ms in range(0, MINUTES * 60_000, TICK_MS):
        # Whatever the session does, it raises nothing: an exception would end the actor, and here the test.
        while any(isinstance(each, Dial) for each in effects):
            attempts += 1
            effects = ()
            if how == "refuses":
                session, effects = transition(session, Lost(now_ms, "connection refused", random.random()))
        session, effects = transition(session, Tick(now_ms, now_ms, now_ms, 0, random.random()))
        stage.advance(TICK_MS)
    assert MINUTES <= attempts <= 100 * MINUTES
    assert session.step in (Step.BACKING_OFF, Step.DIALLING)
    assert moves(stage.log) == ["start publisher", "start recovery", "start monitor", "start pbx/pbx1"]
    assert reports(stage.log) == []
    assert stage.exit is None
