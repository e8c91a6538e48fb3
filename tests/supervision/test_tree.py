"""supervision.tree: what belongs to it."""

from conf.settings import Settings
from conf.validation import validated
from supervision import tree


def test_the_actors_of_all_branches_are_named() -> None:
    """Those below a PBX too; arimond loads their code before anything is forked."""
    settings = validated(Settings, {"pbx": [{"name": "pbx1"}, {"name": "pbx2"}]})
    branch = [
        "supervision.supervisor.Supervisor",
        "actors.switchboard.SwitchboardActor",
        "actors.connection.ConnectionActor",
    ]
    assert list(tree.actors(tree.root(settings))) == [
        "actors.publisher.PublisherActor",
        "actors.recovery.RecoveryActor",
        "actors.monitor.MonitorActor",
        *branch,
        *branch,
    ]
