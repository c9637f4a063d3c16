"""What fails in a probe ends it with a cause, costs no samples, and stops nobody for ever."""

import sys
from pathlib import Path

from circinus.messages import CommandResult, ProbeAccuracy, ProbeOperators, ProbeSamples

sys.path.insert(0, str(Path(__file__).parent))
from lab import CLASSES, Lab, query

ASKED = query(latency_ms=9000, accuracy=0.8)


def begun(kind: type) -> tuple[Lab, object]:
    """A lab at its first probe of a kind."""
    lab = Lab()
    lab.want(ASKED)
    while not any(isinstance(order.command, kind) for order in lab.pending):
        lab.answer(lab.pending.pop(0))
    order = next(o for o in lab.pending if isinstance(o.command, kind))
    lab.pending.remove(order)
    return lab, order


def test_a_sample_stream_that_stops_ends_with_what_it_has_and_is_taken_up_again() -> None:
    lab, order = begun(ProbeOperators)
    probe = lab.profiler._running.get(order.command.request_id, order.device)
    assert probe is not None
    stopped = probe.keys[0]
    lab.hear(
        lab.profiler.on_samples(
            ProbeSamples(
                device=order.device, request_id=order.command.request_id, seq=0, target=0,
                latency_ms=[600.0] * 2, compute_s=[0.6] * 2, output_bytes=[1.0] * 2,
            ),
            lab.now,
        )
    )  # fmt: skip
    lab.now += order.command.budget_s + 60
    lab.hear(lab.profiler.on_tick(lab.now))
    lab.run()
    assert lab.profiler.ready("q")
    row = lab.profiler._ledger.rows[stopped]
    assert row.latency_ms[:2] == [600.0, 600.0]
    assert len(row.latency_ms) > 2
    assert row.cause is None


def test_a_metric_that_raises_is_given_up_with_its_cause_and_holds_up_nobody() -> None:
    lab, order = begun(ProbeAccuracy)
    for _ in range(50):
        cause = "metric: ZeroDivisionError: division by zero"
        for target in range(len(order.command.targets)):
            message = ProbeSamples(
                device=order.device, request_id=order.command.request_id, seq=0, target=target,
                done=True, cause=cause,
            )  # fmt: skip
            lab.hear(lab.profiler.on_samples(message, lab.now))
        result = CommandResult(
            device=order.device, request_id=order.command.request_id, ok=False, error=cause
        )
        lab.hear(lab.profiler.on_result(result, lab.now))
        while lab.pending and not isinstance(lab.pending[0].command, ProbeAccuracy):
            lab.answer(lab.pending.pop(0))
        if not lab.pending:
            break
        order = lab.pending.pop(0)
    assert lab.profiler.ready("q")  # to be refused: no vector can be scored
    causes = {row.cause for row in lab.profiler.results().values() if row.cause}
    assert causes == {"metric: ZeroDivisionError: division by zero"}


def test_a_device_that_restarts_at_every_measuring_is_given_up_and_others_serve() -> None:
    """Attempts count for operators, too: nothing is measured for ever."""
    lab = Lab()
    boots = 0
    lab.want(ASKED)
    for _ in range(300):
        if not lab.pending:
            lab.now += 1
            lab.hear(lab.profiler.on_tick(lab.now))
            if not lab.pending:
                break
        order = lab.pending.pop(0)
        if isinstance(order.command, ProbeOperators) and order.device == "pi1":
            boots += 1
            lab.boot["pi1"] = f"boot-{boots}"
            devices = lab.devices()
            del devices["pi1"]
            lab.hear(lab.profiler.on_devices(devices, lab.now))
            lab.hear(lab.profiler.on_devices(lab.devices(), lab.now))
        else:
            lab.answer(order)
    else:
        raise AssertionError("it is measured for ever")
    assert lab.profiler.ready("q")
    assert {device_class for *_, device_class in lab.told() if device_class in CLASSES} >= {"dc"}


def test_where_a_device_is_lost_amid_a_probe_another_of_its_class_goes_on() -> None:
    lab, order = begun(ProbeOperators)
    name = order.device
    assert name != ASKED.source["a"]  # nobody could go on for the source
    lab.names.append(f"{name[:2]}9")
    lab.names.remove(name)
    lab.hear(lab.profiler.on_devices(lab.devices(), lab.now))
    lab.want(ASKED)
    lab.run()
    assert lab.profiler.ready("q")


def test_devices_that_serve_are_probed_for_their_share_of_the_time_only() -> None:
    lab = Lab(waiting_share=0.5)
    lab.busy = set(lab.names)
    lab.hear(lab.profiler.on_devices(lab.devices(), lab.now))
    lab.want(ASKED)
    order = next(o for o in lab.pending)
    lab.now += 10  # it takes ten seconds
    lab.pending.remove(order)
    lab.answer(order)
    again = [o for o in lab.pending if o.device == order.device]
    assert not again
    lab.now += 9
    lab.hear(lab.profiler.on_tick(lab.now))
    assert not [o for o in lab.pending if o.device == order.device]
    lab.now += 2
    lab.run()
    assert lab.profiler.ready("q")


def test_what_is_told_is_told_still_when_a_probe_for_more_of_it_fails() -> None:
    lab = Lab()
    lab.want(*(query(f"q{n}", latency_ms=ms) for n, ms in enumerate((900, 1500, 2400, 3000))))
    failed = 0
    while lab.pending:
        order = lab.pending.pop(0)
        told = {key: row for key, row in lab.rows_of(order).items() if lab.profiler.summary(key)}
        if not told or failed:
            lab.answer(order)
            continue
        failed += 1
        result = CommandResult(
            device=order.device, request_id=order.command.request_id, ok=False, error="no process"
        )
        lab.hear(lab.profiler.on_result(result, lab.now))
        for key, samples in told.items():
            row = lab.profiler.summary(key)
            assert row is not None
            assert (row.samples, row.cause, row.done) == (samples, None, True)
    assert failed
