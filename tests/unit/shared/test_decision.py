"""Decision files: what may be left out, and what is refused."""

from __future__ import annotations

import json

import pytest

from circinus.decision import (
    Decision,
    Rejection,
    Relaxation,
    ResourcePrice,
    decode_decision,
    encode_decision,
)
from circinus.errors import InvalidInput

OLD = b"""{"circinus": 1, "planner": "p", "assignments": [],
  "rejected": [{"query": "q", "reason": "r", "binding": "cost", "relaxation": null}]}"""


def test_a_file_without_prices_and_relaxations_still_loads() -> None:
    found = decode_decision(OLD)
    assert found.prices == ()
    assert found.deployment_bound_usd_hour is None
    assert found.rejected[0].relaxations == ()


def test_prices_and_relaxations_stand_in_the_file_under_their_names() -> None:
    price = ResourcePrice(
        resource="link", devices=("a", "b"), machines=(1, 4), weighted_rps_per_unit=0.5
    )
    rejection = Rejection(
        query="q",
        reason="r",
        binding="latency",
        relaxation="needs 5 ms more latency",
        relaxations=(Relaxation(what="latency", amount=5, to=35),),
    )
    decision = Decision(
        planner="p", prices=(price,), rejected=(rejection,), deployment_bound_usd_hour=2.0
    )
    raw = json.loads(encode_decision(decision))
    assert raw["prices"] == [
        {
            "resource": "link",
            "devices": ["a", "b"],
            "machines": [1, 4],
            "weighted_rps_per_unit": 0.5,
        }
    ]
    assert raw["deployment_bound_usd_hour"] == 2.0
    assert raw["rejected"][0]["relaxations"] == [{"what": "latency", "amount": 5, "to": 35}]


def test_nothing_new_is_written_where_there_is_nothing_to_say() -> None:
    raw = json.loads(encode_decision(decode_decision(OLD)))
    assert not {"prices", "deployment_bound_usd_hour"} & raw.keys()
    assert raw["rejected"] == json.loads(OLD)["rejected"]


@pytest.mark.parametrize("key", ["devices", "machines"])
def test_the_price_of_a_link_with_one_end_is_refused(key) -> None:
    price = {
        "resource": "link",
        "devices": ["a", "b"],
        "machines": [1, 1],
        "weighted_rps_per_unit": 1,
    }
    document = {"circinus": 1, "planner": "p", "assignments": [], "rejected": []}
    price[key] = price[key][:1]
    with pytest.raises(InvalidInput, match=rf"prices\[0\]\.{key}"):
        decode_decision(json.dumps({**document, "prices": [price]}).encode())


def test_a_price_reads_as_people_say_it() -> None:
    price = ResourcePrice(
        resource="cores", devices=("edge-2",), machines=(1,), weighted_rps_per_unit=3.1
    )
    assert str(price) == "edge-2 cores: worth 3.1 weighted req/s per core"
    link = ResourcePrice(
        resource="link", devices=("pi", "dc"), machines=(1, 3), weighted_rps_per_unit=0.25
    )
    assert str(link) == (
        "link pi - dc (or any of the 3 machines like it): worth 0.25 weighted req/s per Mbit/s"
    )
