"""Scenario and submission documents: what is accepted, and how bad input is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from circinus.errors import InvalidInput
from circinus.scenario import (
    decode_scenario,
    decode_submission,
    encode_scenario,
    encode_submission,
    load_scenario,
    save_scenario,
)

CONTRACT = """
circinus: 1
tiers: [device, edge, cloud]
device_classes:
  pi5:  {cores: 4,  memory_mb: 8192,  price_usd_hour: 0.01}
  xeon: {cores: 32, memory_mb: 65536, price_usd_hour: 1.20}
devices:
  - {id: pi-1, class: pi5, tier: device}
  - {id: dc-1, class: xeon, tier: cloud}
links:
  - {between: [device, cloud], rtt_ms: 40, bandwidth_mbps: 20, price_usd_gb: 0.05}
pipelines:
  read-signs:
    operators:
      decode: {knobs: {scale: [1.0, 0.5]}, tiers: [device]}
      detect: {needs: [decode], knobs: {side: [320, 640], precision: [fp32, int8]}}
    input_bytes: 150000
profiles:
  - {operator: detect, config: {side: 640, precision: int8}, device_class: xeon,
     latency_ms: {mean: 21, p50: 20, p95: 30, p99: 41}, compute_s: {cores: 0.021},
     memory_mb: 180, output_bytes: 2000, samples: 400}
accuracy:
  - {pipeline: read-signs, config: {decode: {scale: 1.0}, detect: {side: 640, precision: int8}},
     mean: 0.91, samples: 500}
queries:
  - {id: gate-3, pipeline: read-signs, source: pi-1, rate_rps: 5, weight: 1, splittable: true,
     count: 1, slo: {latency_ms: 400, percentile: 95, accuracy: 0.85, cost_usd_per_1000: 0.40}}
"""


def refused(old: str, new: str) -> InvalidInput:
    """The error that replacing `old` by `new` in the contract's example gives."""
    assert old in CONTRACT
    with pytest.raises(InvalidInput) as caught:
        decode_scenario(CONTRACT.replace(old, new, 1).encode(), name="f.yaml")
    assert caught.value.file == "f.yaml"
    return caught.value


def test_the_contracts_example_is_read_as_written() -> None:
    scenario = decode_scenario(CONTRACT.encode())
    query = scenario.queries[0]
    assert query.source == {"decode": "pi-1"}
    assert query.slo.accuracy == 0.85
    assert scenario.pipelines["read-signs"].input_bytes == {"decode": 150000}
    assert scenario.profiles[0].latency_ms.p95 == 30
    assert scenario.max_utilisation == 0.8
    assert scenario.queueing


@pytest.mark.parametrize("yaml", [True, False])
def test_a_scenario_survives_its_files(tmp_path: Path, yaml: bool) -> None:
    scenario = decode_scenario(CONTRACT.encode())
    path = tmp_path / ("s.yaml" if yaml else "s.json")
    save_scenario(scenario, path)
    assert load_scenario(path) == scenario


def test_a_number_for_latency_is_a_deterministic_profile() -> None:
    text = CONTRACT.replace("{mean: 21, p50: 20, p95: 30, p99: 41}", "21")
    scenario = decode_scenario(text.encode())
    assert scenario.profiles[0].latency_ms.deterministic
    assert decode_scenario(encode_scenario(scenario)) == scenario


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("knobs: {side", "knob: {side", "pipelines.read-signs.operators.detect.knob", "'knobs'"),
        # They would make one config, for Config compares values as Python does.
        ("[320, 640]", "[320, 320.0]", "pipelines.read-signs.operators.detect.knobs.side", "twice"),
        ("rate_rps: 5", "rate_rps: -5", "queries[0].rate_rps", "at least 0"),
        ("rate_rps: 5", "rate_rps: .nan", "queries[0].rate_rps", "nan"),
        ("rate_rps: 5, ", "", "queries[0].rate_rps", "missing"),
        ("cores: 4,", "", "device_classes.pi5.cores", "missing"),
        (
            "decode: {knobs",
            "decode: {needs: [detect], knobs",
            "pipelines.read-signs.operators",
            "cycle",
        ),
        ("needs: [decode]", "needs: [x]", "pipelines.read-signs.operators.detect.needs", "'x'"),
        ("class: pi5", "class: pi6", "devices[0].class", "known: pi5, xeon"),
        ("[device]}", "[moon]}", "pipelines.read-signs.operators.decode.tiers", "moon"),
        ("circinus: 1", "circinus: 2", "circinus", "reads version 1"),
        ("percentile: 95", "percentil: 95", "queries[0].slo.percentil", "'percentile'"),
        ("percentile: 95", "percentile: 100", "queries[0].slo.percentile", "100"),
        ("percentile: 95", "percentile: 0.95", "queries[0].slo.percentile", "did you mean 95?"),
        ("percentile: 95", "percentile: 0", "queries[0].slo.percentile", "write 95"),
        ("input_bytes: 15", "deliver: srce\n    input_bytes: 15",
         "pipelines.read-signs.deliver", "'srce' (did you mean 'source'? one of: last"),
        ("tiers: [device, edge, cloud]", "tiers: {device: 1}", "tiers", "a list, not a map"),
        ("rate_rps: 5", "rate_rps:", "queries[0].rate_rps", "must be a number, not nothing"),
        ("count: 1", "count: 1.5", "queries[0].count", "must be a whole number, not a number"),
        ("splittable: true", "splittable: 1", "queries[0].splittable", "must be true or false"),
        ("weight: 1", "input: {kind: foldr}", "queries[0].input.kind", "http, folder"),
        ("weight: 1", "input: {kind: folder}", "queries[0].input.path", "needs its path"),
        ("weight: 1", "input: {arrivals: even}", "queries[0].input.arrivals", "poisson"),
        ("weight: 1", "output: {kind: fiel}", "queries[0].output.kind", "events, file, mqtt"),
        ("weight: 1", "output: {kind: file}", "queries[0].output.path", "needs its path"),
        ("id: dc-1", "id: pi-1", "devices", "twice"),
        ("1.20}", "much}", "device_classes.xeon.price_usd_hour", "must be a number, not text"),
        ("operator: detect", "operator: detekt", "profiles[0].operator", "detekt"),
        ("config: {side: 640", "config: {sides: 640", "profiles[0].config", "sides"),
        ("compute_s: {cores", "compute_s: {gpu", "profiles[0].compute_s", "gpu"),
        ("p95: 30", "p95: 10", "profiles[0].latency_ms.p95", "quantile"),
        ("mean: 0.91", "mean: 91", "accuracy[0].mean", "between 0 and 1"),
        ("source: pi-1", "source: pi-9", "queries[0].source", "pi-9"),
        ("source: pi-1", "source: {detect: pi-1}", "queries[0].source", "decode"),
        ("pipeline: read-signs, source", "pipeline: read, source", "queries[0].pipeline", "read"),
        ("between: [device, cloud]", "between: [device, moon]", "links[0].between", "moon"),
        ("id: gate-3", "id: 'a/+/#'", "queries[0].id", "not a valid name"),
        ("s: 150000", "s: {detect: 1}", "pipelines.read-signs.input_bytes.detect", "source op"),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_key_and_remedy(old: str, new: str, key: str, words: str) -> None:
    error = refused(old, new)
    assert error.key == key
    assert words in str(error)


def test_a_submission_given_for_a_scenario_is_pointed_out() -> None:
    document = yaml.safe_load(CONTRACT)
    text = yaml.safe_dump({key: document[key] for key in ("circinus", "pipelines", "queries")})
    with pytest.raises(InvalidInput, match="circinus submit --dry-run"):
        decode_scenario(text.encode(), name="f.yaml")


@pytest.mark.parametrize("listed", ["profiles", "accuracy"])
def test_two_rows_for_one_point_are_refused(listed: str) -> None:
    document = yaml.safe_load(CONTRACT)
    document[listed] *= 2
    with pytest.raises(InvalidInput, match="keep one of them") as caught:
        decode_scenario(json.dumps(document).encode())
    assert caught.value.key == f"{listed}[1]"


def test_a_row_for_one_pipeline_may_stand_beside_the_row_for_all() -> None:
    document = yaml.safe_load(CONTRACT)
    general = document["profiles"][0]
    document["profiles"].append({**general, "operator": "read-signs/detect"})
    assert len(decode_scenario(json.dumps(document).encode()).profiles) == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"a: [", "not valid YAML"),
        (b"{", "not valid JSON"),
        (b"\n", "is empty"),
        (b'{"circinus": 1, "circinus": 1}', "twice"),
        (b"circinus: 1\ncircinus: 1\n", "twice"),
        (b"1: 2\n", "not text"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"circinus":' + b"[" * 100_000, "deep"),
    ],
)
def test_what_is_no_document_is_said_in_one_line(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        decode_scenario(data, name="f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_named_by_their_key(value: str) -> None:
    document = '{"circinus": 1, "links": [{"between": ["a", "b"], "rtt_ms": %s}]}'
    with pytest.raises(InvalidInput, match="must be a number") as caught:
        decode_scenario((document % value).encode(), name="f.json")
    assert caught.value.key == "links[0].rtt_ms"


def test_anchors_that_explode_are_refused_before_they_do() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InvalidInput, match="anchors expand"):
        decode_scenario("\n".join(lines).encode(), name="bomb.yaml")


def test_an_anchor_inside_itself_is_refused() -> None:
    with pytest.raises(InvalidInput, match="contains itself"):
        decode_scenario(b"a: &a [*a]\n", name="loop.yaml")


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        load_scenario(tmp_path / "none.yaml")


def test_a_submission_has_no_fleet() -> None:
    with pytest.raises(InvalidInput, match=r"devices: unknown key"):
        decode_submission(CONTRACT.replace("tiers: [device, edge, cloud]\n", "").split(
            "device_classes")[0].encode() + b"devices: []\n")  # fmt: skip


def test_a_submission_survives_its_document() -> None:
    text = (
        "circinus: 1\npipelines:"
        + CONTRACT.split("pipelines:")[1].split("profiles:", maxsplit=1)[0]
    )
    text += "queries:" + CONTRACT.split("queries:")[1]
    submission = decode_submission(text.encode())
    assert decode_submission(encode_submission(submission)) == submission


def test_a_neutral_knob_must_be_a_knob() -> None:
    from circinus.pipeline import OperatorSpec

    with pytest.raises(InvalidInput, match="no knob 'batch'"):
        OperatorSpec(name="detect", knobs={"side": (320,)}, neutral_knobs=("batch",))


def test_a_line_break_few_know_survives_yaml() -> None:
    text = CONTRACT.replace(
        "input_bytes: 150000", 'input_bytes: 150000\n    accuracy: {dataset: d, metric: "\\x85"}'
    )
    scenario = decode_scenario(text.encode())
    assert decode_scenario(encode_scenario(scenario, yaml=True)) == scenario
