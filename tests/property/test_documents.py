"""What is written is read back the same, and what is not ours never crashes the reader."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus.decision import Decision, decode_decision, encode_decision
from circinus.errors import InvalidInput
from circinus.scenario import Scenario, decode_scenario, encode_scenario

sys.path.insert(0, str(Path(__file__).parent))
from strategies import decisions, scenarios


@given(scenarios())
def test_a_scenario_survives_json(scenario: Scenario) -> None:
    assert decode_scenario(encode_scenario(scenario)) == scenario


@given(scenarios())
def test_a_scenario_survives_yaml(scenario: Scenario) -> None:
    assert decode_scenario(encode_scenario(scenario, yaml=True)) == scenario


@given(decisions)
def test_a_decision_survives_its_file(decision: Decision) -> None:
    assert decode_decision(encode_decision(decision)) == decision


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_other_bytes_are_invalid_input(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_scenario(data, name="f")
    with pytest.raises(InvalidInput):
        decode_decision(data, name="f")
