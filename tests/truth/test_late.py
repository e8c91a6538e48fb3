"""Recordings whose beginning is missing: no call gets an id that Asterisk did not give it."""

import json

import pytest

from tests.truth import recordings, run, variants
from tests.truth.variants import Variant

CUTS = 10
"""Places at which each recording is cut."""

TOLD = ["31_channelvars_linkedid", "31b_channelvars_transfer_pickup_park"]
"""Recordings with channelvars."""

KNOWN_SHARE = 0.95
"""Of the channels that end after the cut, at least so many are legs of their call. The others' callers went before the
first event of them, in the last milliseconds of their call."""


def cuts(whole: Variant) -> list[Variant]:
    """A recording without its first 1/11, 2/11, …"""
    return [variants.cut(whole, len(whole.frames) * place // (CUTS + 1)) for place in range(1, CUTS + 1)]


def strays(variant: Variant) -> list[str]:
    """Messages with a call_id that the CEL does not name, and legs in a call that is not theirs."""
    found = []
    for message in map(json.loads, run.replay(variant.frames)):
        call_id, operation = message["call_id"], message["operation"]["type"]
        if call_id is not None and call_id not in variant.truth.linkedids:
            found.append(f"{operation} of {call_id}")
        elif operation == "finished-call":
            legs = [leg["channel_id"] for leg in message["data"]["legs"]]
            found += [f"leg {leg} of {call_id}" for leg in legs if call_id not in variant.truth.channels[leg].stays]
    return found


@pytest.mark.parametrize("name", list(variants.short_names()))
def test_whoever_connects_late_invents_no_call(name: str) -> None:
    """Cut at ten places, without channelvars: every call_id is a linkedid of the CEL, every leg is in its call."""
    assert [strays(variant) for variant in cuts(variants.without_channelvars(name))] == [[]] * CUTS


def test_a_linkedid_that_the_pbx_says_is_kept_from_the_first_event() -> None:
    """So it is with channelvars, also where a channel is born into a call whose last known channel has just gone."""
    assert [stray for name in TOLD for variant in cuts(variants.original(name)) for stray in strays(variant)] == []


def test_most_legs_of_a_call_under_way_are_told() -> None:
    """Without channelvars, nearly all channels that end after the cut are legs of a call."""
    ended = right = 0
    for name in variants.short_names():
        for variant in cuts(variants.without_channelvars(name)):
            legs = {
                leg["channel_id"]
                for message in map(json.loads, run.replay(variant.frames))
                if message["operation"]["type"] == "finished-call"
                for leg in message["data"]["legs"]
            }
            events = [json.loads(line)["event"] for line in variant.frames]
            gone = {event["channel"]["id"] for event in events if event["type"] == "ChannelDestroyed"}
            gone = {key for key in gone if not variant.truth.channels[key].is_snoop}
            ended += len(gone)
            right += len(gone & legs)
    assert right >= KNOWN_SHARE * ended


def test_every_recording_is_cut() -> None:
    """But for three that would take too long, and add nothing."""
    assert len(recordings.names()) - len(list(variants.short_names())) == 3
