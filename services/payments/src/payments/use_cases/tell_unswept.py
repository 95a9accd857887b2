"""Tell how much users were credited with that has not reached the main wallet."""

from prometheus_client import Gauge

from common.metrics import REGISTRY, of_the_elected
from payments.db import sweeps
from payments.use_cases.context import Payments

UNSWEPT = of_the_elected(
    Gauge(
        "garant_payments_unswept_units",
        "What was credited and is not solid in the main wallet, in smallest units",
        ["currency"],
        registry=REGISTRY,
    )
)


async def tell_unswept(parts: Payments) -> None:
    """Look once."""
    async with parts.database.reading() as connection:
        found = await sweeps.all_unswept(connection)
    for currency in {gateway.info.currency for gateway in parts.gateways.values()} | found.keys():
        UNSWEPT.labels(currency).set(found.get(currency, 0))
