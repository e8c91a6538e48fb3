"""The tree, on one screen.

    Root                 one_for_one
    ├─ Publisher         permanent
    ├─ Recovery          permanent
    ├─ Monitor           permanent
    └─ Pbx[name]         one_for_one, permanent, one per PBX in conf
       ├─ Switchboard    permanent; hosts the calls of this PBX
       └─ Connection     permanent; the only writer of the journal

`one_for_one` everywhere: no child holds state of another, the journal and the outbox stand between them. Started in
this order, stopped in reverse: Connection stops before Switchboard, so that what was received is folded, and all of
them before Publisher, so that what was folded is published.

Restart budgets (`supervision.intensity`, `period`) are for bugs: a PBX or a broker that is away is a state of
Connection or Publisher, and costs no restart. So starting touches nothing outside, and no restart is delayed.

A start that hangs, on a disk above all, would block its supervisor for ever: whoever gives no sign of life for
`supervision.start_silence` during its start is killed. There is no limit of the start as a whole (see
supervision.supervisor): how long a Switchboard refolds depends on its journal, and killing it would only make it begin
again.
"""

from collections.abc import Iterator

from conf.settings import Pbx, Settings
from supervision.child_spec import INFINITY, ChildSpec, ChildType, LivenessProbe, SupervisorSpec
from supervision.messages import Place, Start


def root(settings: Settings) -> SupervisorSpec:
    """Root's flags and children."""
    return _supervisor(
        settings,
        _worker(settings, "actors.publisher.PublisherActor", Place("publisher", None)),
        _worker(settings, "actors.recovery.RecoveryActor", Place("recovery", None)),
        _worker(settings, "actors.monitor.MonitorActor", Place("monitor", None)),
        *(_branch(settings, pbx) for pbx in settings.pbx),
    )


def actors(spec: SupervisorSpec) -> Iterator[str]:
    """Dotted names of the classes of all actors below a supervisor."""
    for child in spec.children:
        assert isinstance(child.start, Start)
        yield child.start.actor
        if child.start.supervisor is not None:
            yield from actors(child.start.supervisor)


def _branch(settings: Settings, pbx: Pbx) -> ChildSpec:
    place = Place("pbx", pbx.name)
    children = _supervisor(
        settings,
        _worker(settings, "actors.switchboard.SwitchboardActor", Place("switchboard", pbx.name)),
        _worker(settings, "actors.connection.ConnectionActor", Place("connection", pbx.name)),
    )
    # A supervisor may take as long as its subtree to stop; each worker below has its own limit.
    start = Start("supervision.supervisor.Supervisor", place, settings, children)
    return ChildSpec(
        str(place),
        start,
        shutdown=INFINITY,
        type=ChildType.SUPERVISOR,
        start_timeout=_silence(settings),
        probe=_probe(settings),
    )


def _worker(settings: Settings, actor: str, place: Place) -> ChildSpec:
    limit = int(settings.supervision.shutdown * 1000)
    start = Start(actor, place, settings)
    return ChildSpec(str(place), start, shutdown=limit, start_timeout=_silence(settings), probe=_probe(settings))


def _supervisor(settings: Settings, *children: ChildSpec) -> SupervisorSpec:
    options = settings.supervision
    return SupervisorSpec(intensity=options.intensity, period_ms=int(options.period * 1000), children=children)


def _silence(settings: Settings) -> int:
    return int(settings.supervision.start_silence * 1000)


def _probe(settings: Settings) -> LivenessProbe:
    options = settings.supervision
    return LivenessProbe(int(options.probe_interval * 1000), int(options.probe_limit * 1000))
