"""Metrics for Prometheus: what every process tells at `/metrics`. Names begin with `garant_`."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_LATEST

VIOLATIONS = Gauge(
    "garant_invariant_violations",
    "Objects for which an invariant did not hold in two passes: a person has to look",
    ["invariant"],
    registry=REGISTRY,
)
CHECKED_AT = Gauge(
    "garant_invariants_checked_timestamp_seconds",
    "When the invariants were last checked to the end",
    registry=REGISTRY,
)
DEAD_LETTERS = Gauge(
    "garant_dead_letters", "Events that were set aside and not replayed", ["consumer"], registry=REGISTRY
)
OUTBOX_WAITING = Gauge("garant_outbox_waiting", "Events that wait to be published", registry=REGISTRY)
OUTBOX_AGE = Gauge("garant_outbox_age_seconds", "Age of the oldest event that waits", registry=REGISTRY)


def render() -> bytes:
    """Return all metrics of this process in Prometheus' text format."""
    return generate_latest(REGISTRY)
