"""Metrics for Prometheus, read from the coordinator when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from circinus_coordinator.daemon import Coordinator

__all__ = ["CONTENT_TYPE", "metrics_page"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_page(coordinator: Coordinator) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(coordinator))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def collect(self) -> Iterator[Metric]:
        yield from self._devices()
        yield from self._queries()
        yield from self._ignored()
        progress = self._coordinator.progress()
        probes = GaugeMetricFamily(
            "circinus_probe_targets", "Probe targets known to be needed.", labels=["state"]
        )
        probes.add_metric(["done"], progress.done)
        probes.add_metric(["open"], progress.total - progress.done)
        yield probes
        yield CounterMetricFamily(
            "circinus_probe_device_seconds",
            "Seconds of devices that probes took since the coordinator started.",
            value=progress.device_s,
        )

    def _devices(self) -> Iterator[Metric]:
        online = GaugeMetricFamily(
            "circinus_device_online", "1 while the device answers.", labels=["device", "tier"]
        )
        cpu = GaugeMetricFamily(
            "circinus_device_cpu_percent",
            "CPU use of the whole device, percent of all its cores together.",
            labels=["device"],
        )
        for device in self._coordinator.devices():
            online.add_metric([device.id, device.tier or ""], float(device.online))
            if device.cpu_percent is not None:
                cpu.add_metric([device.id], device.cpu_percent)
        yield online
        yield cpu

    def _ignored(self) -> Iterator[Metric]:
        malformed = CounterMetricFamily(
            "circinus_malformed_messages",
            "MQTT payloads ignored because they were malformed, by the topic they came on.",
            labels=["device", "leaf"],
        )
        for (device, leaf), count in sorted(self._coordinator.malformed().items()):
            malformed.add_metric([device, leaf], count)
        yield malformed
        ignored = CounterMetricFamily(
            "circinus_ignored_messages",
            "MQTT messages ignored before anybody looked at them.",
            labels=["cause"],
        )
        for cause, count in self._coordinator.ignored().items():
            ignored.add_metric([cause], count)
        yield ignored
        dropped = CounterMetricFamily(
            "circinus_device_dropped",
            "Messages, frames and results an agent ignored or dropped since it started.",
            labels=["device", "cause"],
        )
        for view in self._coordinator.devices():
            for cause, count in sorted(view.dropped.items()):
                dropped.add_metric([view.id, cause], count)
        yield dropped

    def _queries(self) -> Iterator[Metric]:
        share = GaugeMetricFamily(
            "circinus_query_share", "Part of its traffic that is admitted.", labels=["query"]
        )
        for query in self._coordinator.queries():
            share.add_metric([query.id], query.share)
        yield share
        promised = GaugeMetricFamily(
            "circinus_query_promised_latency_seconds",
            "Latency promised at the percentile of the query's SLO.",
            labels=["query"],
        )
        latency = GaugeMetricFamily(
            "circinus_query_latency_seconds",
            "Latency measured in the window.",
            labels=["query", "quantile"],
        )
        goodput = GaugeMetricFamily(
            "circinus_query_goodput_rps",
            "Requests per second that met all their SLOs, in the window.",
            labels=["query"],
        )
        requests = GaugeMetricFamily(
            "circinus_query_requests",
            "Requests in the window by outcome.",
            labels=["query", "outcome"],
        )
        for row in self._coordinator.measurements():
            if row.promised:
                promised.add_metric([row.query], row.promised.latency_ms / 1000)
            measured = row.measured
            for quantile, value in (("0.5", measured.p50_ms), ("0.95", measured.p95_ms)):
                if value is not None:
                    latency.add_metric([row.query, quantile], value / 1000)
            goodput.add_metric([row.query], measured.goodput_rps)
            requests.add_metric([row.query, "completed"], measured.completed)
            requests.add_metric([row.query, "shed"], measured.shed)
            requests.add_metric([row.query, "failed"], sum(measured.failed.values()))
        yield from (promised, latency, goodput, requests)
