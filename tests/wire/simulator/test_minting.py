"""New ids, names and times."""

from wire.simulator.minting import Minter
from wire.simulator.tokens import ChannelName, Text, Uniqueid, Uuid, parse_time


def test_a_time_keeps_its_form() -> None:
    """Offset, its colon and the number of digits are the recording's."""
    for text, moved in (
        ("2026-11-22T23:59:59.900+0530", "2026-11-23T00:00:00.400+0530"),
        ("2026-11-22T08:52:45Z", "2026-11-22T08:52:45Z"),
        ("2026-11-22T08:52:45.516123-05:00", "2026-11-22T08:52:46.016000-05:00"),
    ):
        time = parse_time(text)
        assert time is not None
        assert Minter().mint(time, [], 500) == moved


def test_ids_and_names_count_up() -> None:
    """Unique ids have one counter, names one in each technology, both as Asterisk writes them."""
    minter = Minter()
    uniqueid = Uniqueid("1795337565.7", "channel", "", 1795337565)
    sip, local = ChannelName("PJSIP/a-00000009", "PJSIP", ("a",)), ChannelName("Local/b@c-00000004", "Local", ("b@c",))
    made = [minter.mint(slot, [], 2000) for slot in (uniqueid, uniqueid, sip, local, sip)]
    assert made == ["1795337567.0", "1795337567.1", "PJSIP/a-00000000", "Local/b@c-00000000", "PJSIP/a-00000001"]


def test_names_begin_again_after_a_restart_and_ids_do_not() -> None:
    """A restarted PBX reuses names; no id is ever given twice."""
    minter = Minter()
    uniqueid, name = Uniqueid("1795337565.7", "channel", "", 1795337565), ChannelName("SIP/a-00000009", "SIP", ("a",))
    before = (minter.mint(uniqueid, [], 0), minter.mint(name, [], 0))
    minter.restarted()
    after = (minter.mint(uniqueid, [], 0), minter.mint(name, [], 0))
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_the_same_seed_makes_the_same_uuids() -> None:
    """Bridge ids are repeatable, and differ from each other."""
    slot = Uuid("f55fb26c-9077-402e-9ec2-8c64cc65f40e", "bridge")
    first, second = Minter(7), Minter(7)
    made = [first.mint(slot, [], 0), first.mint(slot, [], 0)]
    assert made == [second.mint(slot, [], 0), second.mint(slot, [], 0)]
    assert made[0] != made[1]


def test_free_text_gets_a_suffix_and_names_follow_their_ids() -> None:
    """A name with an id in it has the id that was made."""
    minter = Minter()
    made = minter.mint(Text("agent-x", "channel"), [], 0)
    assert made == "agent-x-1"
    assert minter.mint(ChannelName("Snoop/agent-x-00000003", "Snoop", (0,)), [made.encode()], 0) == (
        "Snoop/agent-x-1-00000000"
    )
