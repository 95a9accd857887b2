"""Read deals."""

from uuid import UUID

from common.db import Database
from deals.db import commands, deals
from deals.db.deals import Filter
from deals.domain.errors import DealNotFound
from deals.domain.model import Command, Deal


async def read_deal(database: Database, tenant_id: int, deal_id: int) -> tuple[Deal, Command | None]:
    """Return a deal of the tenant and its command in flight.

    Raises:
        DealNotFound: when the tenant has none with this id.
    """
    async with database.reading() as connection:
        deal = await deals.read(connection, tenant_id, deal_id)
        if deal is None:
            raise DealNotFound(f"there is no deal {deal_id}")
        return deal, (await commands.pending(connection, [deal_id])).get(deal_id)


async def list_deals(database: Database, tenant_id: int, wanted: Filter) -> list[tuple[Deal, Command | None]]:
    """Return a page of the tenant's deals, newest first, each with its command in flight."""
    async with database.reading() as connection:
        page = await deals.page(connection, tenant_id, wanted)
        pending = await commands.pending(connection, [deal.id for deal in page])
    return [(deal, pending.get(deal.id)) for deal in page]


async def read_chat(database: Database, chat_id: UUID) -> Deal:
    """Return the deal with this chat.

    Raises:
        DealNotFound: when there is none.
    """
    async with database.reading() as connection:
        deal = await deals.by_chat(connection, chat_id)
    if deal is None:
        raise DealNotFound("there is no deal with this chat")
    return deal
