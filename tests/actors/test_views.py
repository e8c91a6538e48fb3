"""actors.views: what is shown, made of the processes' vitals."""

from typing import Any

import pytest

from actors.messages import Vitals
from actors.views import LAG_LIMIT, AllVitals, health, status, tree_node
from conf.settings import Settings
from conf.validation import validated
from supervision.messages import Identity, Place
from wire.control.api import Unanswered
from wire.metrics.registry import Snapshot

SETTINGS = validated(Settings, {"pbx": [{"name": "pbx1"}, {"name": "pbx2"}]})

CONNECTION = {
    "link": {"name": "connected", "since_ms": 5, "attempt": 0, "detail": ""},
    "events": 10,
    "events_per_second": 2.5,
    "journal": {"state": "working", "reason": None, "lost_rows": 0, "last_n": 12, "set_aside": ()},
}
JOURNAL: Any = CONNECTION["journal"]
SWITCHBOARD = {
    "lag_rows": 0,
    "lag_seconds": 0.0,
    "quarantined": 0,
    "outbox": {"waiting": 1, "parked": 0},
    "calls": 3,
    "partitions": [1, 2],
    "disk": None,
    "held_up": 0,
    "restoring": False,
    "made_good_in_part": False,
}
PUBLISHER = {"state": {"phase": "connected", "reason": "", "attempt": 0}, "confirmed": 7}


def vitals(**details: dict[str, Any]) -> AllVitals:
    """Vitals of some roles; those of a PBX are pbx1's."""
    return {
        (place := Place(role, "pbx1" if role in ("connection", "switchboard", "pbx") else None)): (
            Identity(*place, 2),
            Vitals(4711, 0, Snapshot(), shown),
        )
        for role, shown in details.items()
    }


def child(role: str, pbx: str | None, **changes: Any) -> dict[str, Any]:
    """A child as its supervisor shows it."""
    return {
        "id": str(Place(role, pbx)),
        "role": role,
        "pbx": pbx,
        "kind": "worker",
        "pid": 5,
        "state": "running",
        "generation": 2,
        "restarts": 1,
        "since_ms": 9,
        "last_exit": "killed",
        "probe_age_seconds": 0.5,
        "lag_seconds": 0.001,
    } | changes


def test_all_well() -> None:
    """No problem, and the figures of each PBX are its own."""
    heard = vitals(connection=CONNECTION, switchboard=SWITCHBOARD, publisher=PUBLISHER, root={"arimond": 99})
    later = {"link": {"name": "connected", "since_ms": 6, "attempt": 0, "detail": ""}}
    for role, details in (("connection", CONNECTION | later), ("switchboard", SWITCHBOARD | {"calls": 4})):
        place = Place(role, "pbx2")
        heard = {**heard, place: (Identity(*place, 1), Vitals(4712, 0, Snapshot(), details))}
    shown = status(SETTINGS, heard, 1)
    assert (shown["healthy"], shown["problems"], shown["pid"]) == (True, [], 99)
    first, second = shown["pbx"]
    assert (first["link"]["state"], first["calls"], first["events"], first["journal_n"]) == ("connected", 3, 10, 12)
    assert (second["link"]["since_ms"], second["calls"]) == (6, 4)
    assert shown["publisher"]["confirmed"] == 7


def test_a_ledger_that_cannot_be_opened_breaks_no_status() -> None:
    """Its figures are then 0, and the problem says why."""
    shown = status(SETTINGS, vitals(switchboard=SWITCHBOARD | {"disk": "full", "outbox": None}), 1)
    assert (shown["pbx"][0]["outbox"], shown["healthy"]) == (0, False)


def test_before_anybody_has_reported_everything_is_unknown() -> None:
    """Status is there from the first moment; the tree is not, and says so."""
    shown = status(SETTINGS, {}, 1)
    assert [pbx["link"]["state"] for pbx in shown["pbx"]] == ["disconnected", "disconnected"]
    assert shown["publisher"]["link"]["state"] == "disconnected"
    assert shown["problems"] == [
        "publisher: has not reported yet",
        "pbx/pbx1/connection: has not reported yet",
        "pbx/pbx1/switchboard: has not reported yet",
        "pbx/pbx2/connection: has not reported yet",
        "pbx/pbx2/switchboard: has not reported yet",
    ]
    with pytest.raises(Unanswered, match="Root has not reported yet"):
        tree_node({})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"connection": CONNECTION | {"link": None}},
            "pbx/pbx1/connection: not connected yet",
        ),
        (
            {"connection": CONNECTION | {"link": {"name": "backing_off", "detail": "refused"}}},
            "pbx/pbx1/connection: backing_off: refused",
        ),
        (
            {"connection": CONNECTION | {"journal": JOURNAL | {"state": "refused", "reason": "disk full"}}},
            "pbx/pbx1/connection: the journal's disk refuses rows: disk full",
        ),
        (
            {"connection": CONNECTION | {"journal": JOURNAL | {"lost_rows": 5}}},
            "pbx/pbx1/connection: 5 rows lost since the start of Connection",
        ),
        (
            {"switchboard": SWITCHBOARD | {"lag_rows": 7, "lag_seconds": LAG_LIMIT + 1}},
            "pbx/pbx1/switchboard: 7 rows behind, for 11 s",
        ),
        (
            {"switchboard": SWITCHBOARD | {"disk": "ledger.db: database or disk is full"}},
            "pbx/pbx1/switchboard: the disk refuses, rows wait in the journal: ledger.db: database or disk is full",
        ),
        (
            # A ledger that cannot be opened has no figures.
            {"switchboard": SWITCHBOARD | {"disk": "ledger.db: disk I/O error", "outbox": None}},
            "pbx/pbx1/switchboard: the disk refuses, rows wait in the journal: ledger.db: disk I/O error",
        ),
        (
            {"switchboard": SWITCHBOARD | {"restoring": True}},
            "pbx/pbx1/switchboard: comes back to its checkpoint; rows are folded again, new ones wait in the journal",
        ),
        (
            {"switchboard": SWITCHBOARD | {"made_good_in_part": True}},
            "pbx/pbx1/switchboard: its database was lost, and made good from a part of the journal only: what was not"
            " confirmed of earlier rows is gone",
        ),
        ({"switchboard": SWITCHBOARD | {"quarantined": 2}}, "pbx/pbx1/switchboard: 2 rows in quarantine"),
        (
            {"switchboard": SWITCHBOARD | {"outbox": {"waiting": 0, "parked": 4}}},
            "pbx/pbx1/switchboard: 4 messages parked as unroutable",
        ),
        (
            {"switchboard": SWITCHBOARD | {"held_up": 3}},
            "pbx/pbx1/switchboard: 3 streams wait at an unroutable message: publisher.parked_max",
        ),
        (
            {"publisher": {"state": {"phase": "backing_off", "reason": "broker away", "attempt": 3}}},
            "publisher: backing_off: broker away",
        ),
        ({"root": {"suspended": True}}, "root: suspended by an operator"),
        (
            {"root": {"node": {"children": [child("publisher", None, state="waiting", last_exit="killed")]}}},
            "publisher: waiting; it ended last with: killed",
        ),
    ],
)
def test_each_problem_is_a_sentence(wrong: dict[str, Any], said: str) -> None:
    """That says where, and what."""
    assert health(Settings(), vitals(**({"publisher": PUBLISHER} | wrong))) == [said]


def test_the_tree_has_what_each_supervisor_sees() -> None:
    """Processes with their restarts, partitions with their calls, and the calls' sum on the way up."""
    below = {"strategy": "one_for_one", "budget": None, "children": [child("switchboard", "pbx1")]}
    above = {
        "strategy": "one_for_one",
        "budget": {"used": 1, "allowed": 5, "reset_seconds": 3.0},
        "children": [child("publisher", None), child("pbx", "pbx1", kind="supervisor")],
    }
    root = tree_node(vitals(root={"node": above}, pbx={"node": below}, switchboard=SWITCHBOARD))
    assert (root["path"], root["pid"], root["generation"], root["calls"]) == ("root", 4711, 2, 3)
    assert root["budget"] == above["budget"]
    publisher, branch = root["children"]
    assert (publisher["path"], publisher["restarts"], publisher["last_exit"]) == ("publisher", 1, "killed")
    assert (branch["path"], branch["calls"]) == ("pbx/pbx1", 3)
    [switchboard] = branch["children"]
    assert [(each["path"], each["calls"]) for each in switchboard["children"]] == [
        ("pbx/pbx1/calls/0", 1),
        ("pbx/pbx1/calls/1", 2),
    ]
