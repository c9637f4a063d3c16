"""JellyBean's visual question answering, medium infrastructure, as a scenario.

Figures: github.com/libertyeagle/JellyBean, VQA/examples/optimizer_inputs, revision 65a1d67:
execution_profile.csv (ms), workers_specs.csv (USD per hour), message_sizes.csv (KB), workers_
partition.json (tiers), the link files (1 USD per GB between tiers, none within) and config.yaml
(of which a tenth is counted). Accuracies are assumed but for three; see `benchmarks/renting.py`.
"""

from __future__ import annotations

from circinus.fleet import Billing, Device, DeviceClass, Link
from circinus.pipeline import Config, OperatorSpec, Pipeline
from circinus.profile import AccuracyProfile, LatencyStats, OperatorProfile
from circinus.query import Query, Slo
from circinus.scenario import Scenario

__all__ = ["FLOORS", "PUBLISHED_USD_HOUR", "RATES", "SOURCE", "scenario"]

RATES = (20.0, 40.0)
FLOORS = (54.0, 55.0, 56.0, 57.0, 58.0)
# README.md there: computation 6.242 and communication 1.267, rate 40, floor 56.
PUBLISHED_USD_HOUR = 6.242 + 1.2667783071018048
SOURCE = "source"

_PRICE = {"cpu-1": 0.096, "cpu-2": 0.192, "cpu-3": 0.384, "cpu-4": 0.384, "cpu-5": 0.768,
          "cpu-6": 2.305, "gpu-1": 2.497, "gpu-2": 2.497, "gpu-3": 2.497}  # fmt: skip
_NEAR = ("cpu-1", "cpu-2", "cpu-3", "cpu-4", "cpu-5")
_SPEECH = {
    "base": (264.529, 186.056, 107.505, 107.827, 57.933, 70.584, 14.733, 14.733, 14.934),
    "large": (773.537, 527.466, 299.652, 283.152, 166.469, 162.994, 26.895, 28.276, 27.535),
}
_IMAGE = {
    18: (135.084, 100.296, 59.006, 55.692, 36.695, 36.294, 16.143, 17.300, 15.027),
    34: (230.155, 169.128, 94.417, 89.583, 53.729, 50.518, 19.262, 17.647, 17.111),
    50: (307.950, 246.477, 133.793, 147.047, 76.228, 86.870, 18.116, 17.339, 17.062),
    101: (465.552, 423.475, 229.553, 214.638, 122.636, 125.168, 23.704, 23.384, 23.222),
    152: (648.849, 569.488, 320.233, 307.662, 168.165, 173.252, 31.073, 30.659, 30.556),
}
_ANSWER = (45.851, 29.277, 18.515, 17.213, 11.337, 11.137, 4.586, 4.586, 4.586)
_KB = 1024.0
_FEATURES_KB = {18: 2.00390625, 34: 2.00390625, 50: 8.00390625, 101: 8.00390625, 152: 8.00390625}
# 0.1 USD per 2**30 bytes.
_USD_GB = 0.1 * 1e9 / 2**30


def scenario(*, rate_rps: float, accuracy: float) -> Scenario:
    """The problem at a rate and an accuracy floor; machines may be busy all the time."""
    classes = {
        name: DeviceClass(
            name=name, cores=1, memory_mb=1e6, price_usd_hour=price, billing=Billing.MACHINE
        )
        for name, price in _PRICE.items()
    }
    classes[SOURCE] = DeviceClass(name=SOURCE, cores=0, memory_mb=0)
    devices = [Device(id=SOURCE, device_class=SOURCE, tier="near")]
    devices += [
        Device(id=name, device_class=name, tier="near" if name in _NEAR else "far")
        for name in _PRICE
    ]
    pipeline = Pipeline(
        name="answer-questions",
        operators={
            "speech": OperatorSpec(name="speech", knobs={"model": tuple(_SPEECH)}),
            "image": OperatorSpec(name="image", knobs={"layers": tuple(_IMAGE)}),
            "answer": OperatorSpec(name="answer", needs=("speech", "image")),
        },
        input_bytes={"speech": 97.07174682617188 * _KB, "image": 794.0348300933838 * _KB},
    )
    query = Query(
        id="q", pipeline=pipeline.name, source={"speech": SOURCE, "image": SOURCE},
        rate_rps=rate_rps, slo=Slo(accuracy=accuracy / 100),
    )  # fmt: skip
    return Scenario(
        tiers=("near", "far"),
        device_classes=classes,
        devices=tuple(devices),
        links=tuple(
            Link(between=ends, rtt_ms=0, bandwidth_mbps=1e6, price_usd_gb=price)
            for ends, price in (
                (("near", "near"), 0.0), (("far", "far"), 0.0), (("near", "far"), _USD_GB)
            )
        ),
        pipelines={pipeline.name: pipeline},
        profiles=tuple(_profiles()),
        accuracy=tuple(_accuracies(pipeline.name)),
        queries=(query,),
        max_utilisation=1.0,
        queueing=False,
    )  # fmt: skip


def _profiles() -> list[OperatorProfile]:
    rows = []
    for model, times in _SPEECH.items():
        rows += _rows("speech", Config({"model": model}), times, 0.10)
    for layers, times in _IMAGE.items():
        rows += _rows("image", Config({"layers": layers}), times, _FEATURES_KB[layers])
    return rows + _rows("answer", Config(), _ANSWER, 0.0)


def _rows(
    operator: str, config: Config, times: tuple[float, ...], size_kb: float
) -> list[OperatorProfile]:
    return [
        OperatorProfile(
            operator=operator, config=config, device_class=name, output_bytes=size_kb * _KB,
            latency_ms=LatencyStats(mean=ms), compute_s={"cores": ms / 1e3}, memory_mb=1,
        )
        for name, ms in zip(_PRICE, times, strict=True)
    ]  # fmt: skip


def _accuracies(pipeline: str) -> list[AccuracyProfile]:
    """Evenly between the public 54 (base, 18), 56.59 (large, 18) and 58.3 (large, 152)."""
    found = []
    for model, lowest in (("base", 54.0), ("large", 56.59)):
        for k, layers in enumerate(_IMAGE):
            config = {"speech": Config({"model": model}), "image": Config({"layers": layers})}
            mean = (lowest + (58.3 - 56.59) * k / (len(_IMAGE) - 1)) / 100
            found.append(AccuracyProfile(pipeline=pipeline, config=config, mean=mean))
    return found
