from typing import Any

from circinus_coordinator.demo.report import config_text, placement_text, placements, report
from circinus_coordinator.demo.view import QueryTable, query_lines


def step(device: str, **config: Any) -> dict[str, Any]:
    return {"device": device, "config": config}


def served(id_: str, plan: dict[str, Any], finished: int, attainment: float) -> dict[str, Any]:
    promised = {"latency_ms": 100.0, "accuracy": 0.9, "cost_usd_per_1000": 0.1}
    return {
        "id": id_,
        "state": "serving",
        "query": {"slo": {"latency_ms": 120}},
        "share": 1.0,
        "assignments": [{"plan_id": "p", "share": 1.0, "plan": plan, "promised": promised}],
        "promised": promised,
        "measured": {"finished": finished, "attainment": attainment, "goodput_rps": 2.0},
        "reason": None,
    }


REFUSED: dict[str, Any] = {
    "id": "never",
    "state": "rejected",
    "query": {"slo": {}},
    "share": 0.0,
    "assignments": [],
    "promised": None,
    "measured": None,
    "reason": "too fast",
    "binding": "latency",
    "relaxation": "needs 12 ms more latency",
}
FIRST = {"a": step("cam", side=1), "b": step("edge"), "c": step("edge", deep=True)}
SECOND = {"a": step("cam"), "b": step("cam"), "c": step("cam")}


def test_attainment_counts_requests_and_not_queries() -> None:
    found = report([served("x", FIRST, 90, 1.0), served("y", SECOND, 10, 0.5)], 30.0)
    assert found["slo_attainment"] == 0.95
    assert found["goodput_rps"] == 4.0


def test_a_rejected_query_says_why() -> None:
    (query,) = report([REFUSED], 1.0)["queries"]
    assert not query["admitted"]
    assert (query["reason"], query["binding"]) == ("too fast", "latency")
    assert query["plan"] is None


def test_every_query_has_the_keys_of_the_contract() -> None:
    keys = {"id", "admitted", "share", "plan", "slo", "promised", "measured"}
    keys |= {"goodput_rps", "slo_attainment", "reason"}
    for query in report([served("x", FIRST, 1, 1.0), REFUSED], 1.0)["queries"]:
        assert keys <= set(query)


def test_placements_differ_by_device_and_not_by_config() -> None:
    other = {**FIRST, "a": step("cam", side=2)}
    rows = [served("x", FIRST, 1, 1.0), served("y", other, 1, 1.0), served("z", SECOND, 1, 1.0)]
    assert len(placements(rows)) == 2


def test_a_placement_groups_neighbours_on_one_device() -> None:
    assert placement_text(FIRST) == "cam a > edge b..c"
    assert placement_text(SECOND) == "cam"


def test_a_config_names_knobs_in_order_of_the_operators() -> None:
    assert config_text(FIRST) == "a side=1, c deep=on"


def test_lines_give_the_reason_of_what_is_not_served() -> None:
    assert query_lines([REFUSED]) == ["never: rejected: too fast"]


TEN = [
    *(served(f"turnstile{i}"[-9:], FIRST, 9, 1.0) for i in range(8)),
    *({**REFUSED, "id": f"never{i}", "reason": "too fast, " * 9} for i in range(2)),
]


def test_ten_queries_fit_a_terminal_of_80_by_24() -> None:
    lines = QueryTable(TEN, "serving").text(80, 23).plain.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert {row["id"] for row in TEN} <= {line.split()[0] for line in lines}


def test_objectives_and_configs_are_shown_where_there_is_room() -> None:
    text = QueryTable(TEN[:1]).text(80, 23).plain
    assert "wants p95 <= 120 ms" in text
    assert "runs cam a > edge b..c: a 1, c on" in text


def test_what_does_not_fit_a_screen_is_counted() -> None:
    lines = QueryTable(TEN).text(80, 8).plain.splitlines()
    assert len(lines) == 8
    assert lines[-1] == "... and 5 more"


def test_percentiles_that_differ_are_not_all_called_p95() -> None:
    other = {**served("y", FIRST, 1, 1.0), "query": {"slo": {"percentile": 99}}}
    assert "latency ms" in QueryTable([served("x", FIRST, 1, 1.0), other]).text(80).plain
