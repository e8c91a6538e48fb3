"""What holds for a recording holds for what another Asterisk would have sent in its place."""

from collections.abc import Callable

import pytest

from tests.truth import account, checker, report, run, variants
from tests.truth.checker import Verdict
from tests.truth.variants import Variant

NAMES = list(variants.short_names())

TOGETHER = (
    "07_dtmf_during_call",
    "10_blind_transfer",
    "11_attended_transfer",
    "12b_queue_local_members",
    "14_conference_three",
    "15e_click_to_call_ami_local",
    "17_parking_and_retrieve",
    "18b_group_pickup_of_ring_group",
    "20c_local_three_hops",
)
"""Recordings of one run of one Asterisk, so that no channel name occurs twice in them."""


def verdict(variant: Variant) -> Verdict:
    """How a variant's messages compare."""
    return checker.check(account.read(run.replay(variant.frames)), variant.truth)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [variants.elsewhere, variants.filtered, variants.renamed])
def test_a_recording_made_elsewhere_agrees_as_well(name: str, make: Callable[[str], Variant]) -> None:
    """Another time zone, an eventFilter, other channel ids: every fact stays right."""
    assert report.faults({name: verdict(make(name))}) == ""


@pytest.mark.parametrize("name", ["31_channelvars_linkedid", "31b_channelvars_transfer_pickup_park"])
def test_linkedids_are_derived_where_asterisk_does_not_send_them(name: str) -> None:
    """With and without channelvars the account is the same."""
    variant = variants.without_channelvars(name)
    assert report.faults({name: verdict(variant)}) == ""
    assert list(run.replay(variant.frames)) == list(run.replay(variants.original(name).frames))


def test_calls_beside_each_other_do_not_touch() -> None:
    """Recordings that run at once have each call as it was, alone."""
    together = variants.interleaved(TOGETHER)
    assert report.faults({"together": verdict(together)}) == ""
    alone = [line for name in TOGETHER for line in run.replay(variants.original(name).frames)]
    assert sorted(run.replay(together.frames)) == sorted(alone)


@pytest.mark.parametrize("name", NAMES)
def test_disturbed_frames_lead_to_a_sound_account(name: str) -> None:
    """With frames missing, swapped and doubled each stream is in order and valid, and no call_id is invented."""
    variant = variants.disturbed(name, 1)
    told = account.read(run.replay(variant.frames))
    assert told.faults == []
    assert {message["call_id"] for message in told.messages} <= variant.truth.linkedids | {None}


@pytest.mark.parametrize("name", NAMES)
def test_frames_that_come_twice_change_nothing(name: str) -> None:
    """Every frame comes again, byte for byte: every fact stays right."""
    assert report.faults({name: verdict(variants.doubled(name))}) == ""
