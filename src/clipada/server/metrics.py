"""Metrics for Prometheus, in a registry of each application's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipada.inspection.record import DISTRIBUTIONS
from clipada.types import Verdict

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SHARES = tuple(round(0.05 * step, 2) for step in range(1, 20))
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 32)


class ServerMetrics:
    """Counts, latencies and distributions of scores."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        model = ["model"]
        self._images = Counter("clipada_images", "Images by what became of them.", ["model", "result"], registry=None)
        self._distributions = {
            name: Histogram(f"clipada_{name}", distribution.help, model, buckets=_SHARES, registry=None)
            for name, distribution in DISTRIBUTIONS.items()
        }
        self._sizes = Histogram("clipada_batch_images", "Images in a batch.", model, buckets=_SIZES, registry=None)
        self._inspecting = _seconds("clipada_inspect_seconds", "Inspecting a batch.")
        self._storing = _seconds("clipada_store_seconds", "Storing a batch's verdicts.")
        self._answering = _seconds("clipada_answer_seconds", "From accepting an image to its answer.")
        self._responses = Counter("clipada_responses", "Answers by route, status.", ["route", "status"], registry=None)
        for own in (
            *(self._images, *self._distributions.values(), self._sizes, self._inspecting),
            *(self._storing, self._answering, self._responses),
        ):
            self.registry.register(own)

    def batch(self, model: str, images: int, inspecting: float, storing: float) -> None:
        """Record a batch and the seconds of its inspection and storage."""
        self._sizes.labels(model).observe(images)
        self._inspecting.labels(model).observe(inspecting)
        self._storing.labels(model).observe(storing)

    def verdict(self, model: str, verdict: Verdict) -> None:
        """Count a stored verdict; the score of an image that is not inspectable says nothing on a part."""
        self._images.labels(model, verdict.decision or "uncalibrated").inc()
        if verdict.decision == "not_inspectable":
            return
        for name, histogram in self._distributions.items():
            if (value := getattr(verdict, name)) is not None:
                histogram.labels(model).observe(value)

    def unreadable(self, model: str) -> None:
        """Count an image that could not be decoded."""
        self._images.labels(model, "unreadable").inc()

    def answered(self, model: str, seconds: float) -> None:
        """Record the seconds from accepting an image to its answer."""
        self._answering.labels(model).observe(seconds)

    def response(self, route: str, status: int) -> None:
        """Count a response."""
        self._responses.labels(route, str(status)).inc()

    def gauge(
        self, name: str, text: str, labels: list[str], read: Callable[[], Iterable[tuple[list[str], float]]]
    ) -> None:
        """Add a gauge; ``read`` returns its label values and values each time the metrics are requested."""
        self.registry.register(_Gauge(name, text, labels, read))


def _seconds(name: str, text: str) -> Histogram:
    return Histogram(name, text, ["model"], buckets=_SECONDS, registry=None)


class _Gauge(Collector):
    def __init__(
        self, name: str, text: str, labels: list[str], read: Callable[[], Iterable[tuple[list[str], float]]]
    ) -> None:
        self._about = (name, text)
        self._labels = labels
        self._read = read

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(*self._about, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(*self._about, labels=self._labels)
        for labels, value in self._read():
            family.add_metric(labels, value)
        yield family


class ResponseCounter:
    """Counts every response of an application by route and status.

    Args:
        app: The application to count for.
        metrics: Holds the counter.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its response."""
        status = 500

        async def seen(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, seen)
        finally:
            if scope["type"] == "http":
                self.metrics.response(getattr(scope.get("route"), "path", "none"), status)
