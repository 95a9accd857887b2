"""Logs are events with keys. One line each: logfmt for people, JSON for machines. Errors go to Sentry as well."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import sentry_sdk
import structlog

from common.ids import request_id

_render: structlog.typing.Processor | None = None
"""How `configure` wants a line to look."""


def _add_request_id(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    current = request_id()
    if current is not None:
        event.setdefault("request_id", current)
    return event


def configure(service: str, *, json: bool, sentry_dsn: str | None) -> None:
    """Set up logs on standard output, and Sentry where a DSN is given.

    Args:
        service: the name that every line and every Sentry event carries.
        json: one JSON object a line instead of logfmt.
        sentry_dsn: where errors are reported; None reports nothing.
    """
    global _render
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    _render = renderer
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    # These two tell each request; ours tells it with the request id.
    for name in ("httpx", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A bug is told by our own handler, once.
    logging.getLogger("uvicorn.error").addFilter(lambda r: "Exception in ASGI" not in r.getMessage())
    if sentry_dsn:
        sentry_sdk.init(
            dsn=sentry_dsn,
            max_request_body_size="never",
            include_local_variables=False,  # a frame of the signer holds a key, one of `run` all settings
            before_breadcrumb=_without_calls,
        )
        sentry_sdk.set_tag("service", service)


def _without_calls(crumb: dict[str, Any], _: dict[str, Any]) -> dict[str, Any] | None:
    """Leave out which URLs were called before an error: some providers of Tron nodes have the key in them."""
    return None if crumb.get("type") == "http" else crumb


def tell_request(**keys: Any) -> None:
    """Log `http.request`: a line for each request, so it is written without the way through `logging`."""
    if _render is None:
        get_logger().info("http.request", **keys)
        return
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event = {"timestamp": now, "level": "info", "event": "http.request", **keys, "request_id": request_id()}
    line = str(_render(None, "info", event)).encode("ascii", "backslashreplace").decode()
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def get_logger() -> structlog.stdlib.BoundLogger:
    """Return a logger: `log.info("order.shipped", order_id=7)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()
    return logger


def report(error: BaseException) -> None:
    """Send an error to Sentry, where one is configured."""
    sentry_sdk.capture_exception(error)


def only_warnings() -> None:
    """Let a command's log tell warnings alone, on standard error: standard output is its result."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
