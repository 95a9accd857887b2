"""Metrics for Prometheus: what every process tells at `/metrics`. Names begin with `garant_`."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_LATEST
_OF_THE_ELECTED: list[Gauge] = []


def of_the_elected(gauge: Gauge) -> Gauge:
    """Return a gauge that only the elected worker tells (`common.election`): the others' is empty, or 0."""
    _OF_THE_ELECTED.append(gauge)
    return gauge


def forget_elected() -> None:
    """Forget what an elected worker told, once it is none any more: nobody there would ever set it right."""
    for gauge in _OF_THE_ELECTED:
        gauge.clear()
        if not gauge._labelnames:
            gauge.set(0)


VIOLATIONS = of_the_elected(
    Gauge(
        "garant_invariant_violations",
        "Objects for which an invariant did not hold in two passes: a person has to look",
        ["invariant"],
        registry=REGISTRY,
    )
)
CHECKED_AT = Gauge(
    "garant_invariants_checked_timestamp_seconds",
    "When the invariants were last checked to the end",
    registry=REGISTRY,
)
DEAD_LETTERS = of_the_elected(
    Gauge("garant_dead_letters", "Events that were set aside and not replayed", ["consumer"], registry=REGISTRY)
)
OUTBOX_WAITING = of_the_elected(
    Gauge("garant_outbox_waiting", "Events that wait to be published", registry=REGISTRY)
)
OUTBOX_AGE = of_the_elected(
    Gauge("garant_outbox_age_seconds", "Age of the oldest event that waits", registry=REGISTRY)
)
REQUESTS = Counter(
    "garant_http_requests", "Requests that were answered", ["method", "route", "status"], registry=REGISTRY
)
REQUEST_S = Histogram(
    "garant_http_request_seconds",
    "How long answers took",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
EVENT_LAG = Gauge(
    "garant_event_lag_seconds",
    "How long ago the fact was that a consumer handled last; 0 where nothing waits",
    ["consumer"],
    registry=REGISTRY,
)
EVENTS_WAITING = Gauge(
    "garant_events_waiting", "Events that a consumer still has to be given", ["consumer"], registry=REGISTRY
)
POOL_USED = Gauge("garant_database_connections_used", "Connections that are at work", registry=REGISTRY)
POOL_SIZE = Gauge("garant_database_connections_most", "The most connections at a time", registry=REGISTRY)


def watch_pool(used: Callable[[], int], most: int) -> None:
    """Tell how much of the process's database pool is used whenever the metrics are read."""
    POOL_USED.set_function(used)
    POOL_SIZE.set(most)


def render() -> bytes:
    """Return all metrics of this process in Prometheus' text format."""
    return generate_latest(REGISTRY)
