"""What marketplaces call: deals, their actions and their disputes."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response

from common.auth import Principal, require
from common.idempotency import KeyInFlight, Once, Retry, keep_final
from common.ids import MAX_ID, new_uuid
from common.money import AmountError, Currencies
from common.web import Configured, Id, answers, router
from deals.api.schemas import ChatTokenIn, ChatTokenOut, DealIn, DealOut, DealsOut, DisputeIn
from deals.db.deals import Filter
from deals.domain.errors import ActionPending, DealNotFound, InvalidDeal, UnknownParty
from deals.domain.model import Action, Command, Deal, NewDeal, Status
from deals.use_cases import read_deals
from deals.use_cases.create_deal import create_deal
from deals.use_cases.issue_chat_token import issue_chat_token
from deals.use_cases.perform_action import Performed, perform_action
from deals.use_cases.read_missing import read_missing
from deals.use_cases.settle_commands import Money

routes = router(prefix="/api/v1/deal", tags=["deals"])

Reader = Annotated[Principal, Depends(require("default", "arbiter"))]
Writer = Annotated[Principal, Depends(require("default"))]
Arbiter = Annotated[Principal, Depends(require("arbiter"))]

ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": DealOut, "description": "The ledger has not answered yet; ask again"}
}


async def _money(request: Request) -> Money:
    money: Money = request.app.state.money
    return money


Moving = Annotated[Money, Depends(_money)]


def show(deal: Deal, pending: Command | None, currencies: Currencies, missing: int | None = 0) -> DealOut:
    """Show a deal."""
    currency = currencies.get(deal.currency)
    assert currency is not None, f"{deal.currency} was configured once and must stay (CURRENCIES)"
    return DealOut.of(deal, pending, currency, missing)


async def _show_whole(money: Money, deal: Deal, pending: Command | None, currencies: Currencies) -> DealOut:
    """Show a deal with what it lacks, which the ledger knows."""
    missing = await read_missing(money.accounts, deal.tenant_id, [deal])
    return show(deal, pending, currencies, missing[deal.id])


@routes.post("", responses=answers(UnknownParty, KeyInFlight))
async def create_a_deal(body: DealIn, who: Writer, money: Moving, currencies: Configured, once: Once) -> DealOut:
    """Create a deal between two of your users."""
    currency = currencies.get(body.currency)
    if currency is None:
        raise InvalidDeal(f"the currency {body.currency} is not one of the configured ones")
    try:
        price = currency.to_units(body.price)
    except AmountError as error:
        raise InvalidDeal(f"price: {error}") from error
    new = NewDeal(
        tenant_id=who.tenant_id,
        chat_id=new_uuid(),
        title=body.title,
        description=body.description,
        price=price,
        currency=currency.code,
        customer_id=body.customer_id,
        performer_id=body.performer_id,
        deadline_at=body.deadline_at,
    )
    deal = await create_deal(money, new, once, lambda deal: show(deal, None, currencies))
    return show(deal, None, currencies)


@routes.get("", responses=answers())
async def list_deals(
    who: Reader,
    money: Moving,
    currencies: Configured,
    status: Status | None = None,
    customer_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    performer_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    cursor: Annotated[str | None, Query(pattern="^[1-9][0-9]{0,17}$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DealsOut:
    """List deals, newest first."""
    before = MAX_ID if cursor is None else int(cursor)
    wanted = Filter(status, customer_id, performer_id, before, limit)
    page = await read_deals.list_deals(money.database, who.tenant_id, wanted)
    missing = await read_missing(money.accounts, who.tenant_id, [deal for deal, _ in page])
    return DealsOut(
        items=[show(deal, pending, currencies, missing[deal.id]) for deal, pending in page],
        next_cursor=str(page[-1][0].id) if len(page) == limit else None,
    )


@routes.get("/{deal_id}", responses=answers(DealNotFound))
async def read_a_deal(deal_id: Id, who: Reader, money: Moving, currencies: Configured) -> DealOut:
    """Read a deal."""
    deal, pending = await read_deals.read_deal(money.database, who.tenant_id, deal_id)
    return await _show_whole(money, deal, pending, currencies)


@routes.post("/{deal_id}/chat_token", responses=answers(DealNotFound), tags=["chat"])
async def issue_a_chat_token(
    deal_id: Id, body: ChatTokenIn, who: Reader, money: Moving, request: Request, once: Once
) -> ChatTokenOut:
    """Issue a token with which a party, or the arbiter while a dispute is open, enters the deal's chat."""
    token = await issue_chat_token(
        money.database,
        money.clock,
        request.app.state.signer,
        who,
        deal_id,
        body.user_id,
        once,
    )
    return ChatTokenOut(token=token.token, expires_at=token.expires_at)


@routes.post("/{deal_id}/dispute", responses={**answers(DealNotFound, ActionPending)}, tags=["disputes"])
async def open_a_dispute(
    deal_id: Id,
    body: DisputeIn,
    who: Writer,
    money: Moving,
    currencies: Configured,
    response: Response,
    once: Once,
) -> DealOut:
    """Open a dispute on a funded deal: from now on the arbiter decides."""
    about = (body.title, body.description)
    done = await perform_action(money, who.tenant_id, deal_id, Action.DISPUTE, about, once)
    return await _answer(money, done, response, currencies, once)


async def _answer(
    money: Money, done: Performed, response: Response, currencies: Currencies, once: Retry | None
) -> DealOut:
    """Show the deal; an answer that is final is kept for a retry."""
    shown = await _show_whole(money, done.deal, done.pending, currencies)
    if done.in_flight:
        response.status_code = 202
    else:
        await keep_final(money.database, done.deal.tenant_id, once, shown)
    return shown


def _action(action: Action, who: type[Principal]) -> Callable[..., Awaitable[DealOut]]:
    async def handler(
        deal_id: Id,
        caller: who,  # type: ignore[valid-type]  # the scope differs by action
        money: Moving,
        currencies: Configured,
        response: Response,
        once: Once,
    ) -> DealOut:
        tenant_id: int = caller.tenant_id  # type: ignore[attr-defined]  # it is a Principal
        done = await perform_action(money, tenant_id, deal_id, action, retry=once)
        return await _answer(money, done, response, currencies, once)

    return handler


async def _deny(deal_id: Id, who: Writer, money: Moving, once: Once) -> Response:
    await perform_action(money, who.tenant_id, deal_id, Action.DENY, retry=once)
    await keep_final(money.database, who.tenant_id, once, None, 204)
    return Response(status_code=204)


def _add(path: str, action: Action, who: object, text: str, *, listed: bool = True) -> None:
    """Serve an action as POST, which is recommended, and as GET, which the contract names."""
    denies = action is Action.DENY
    handler = _deny if denies else _action(action, who)  # type: ignore[arg-type]
    for method in ("POST", "GET"):
        routes.add_api_route(
            f"/{{deal_id}}/{path}",
            handler,
            methods=[method],
            name=f"{action.value}_{method.lower()}",
            summary=text + (" (POST is recommended)" if method == "GET" else ""),
            status_code=204 if denies else 200,
            response_model=None if denies else DealOut,
            responses=answers(DealNotFound, ActionPending) | ({} if denies else ACCEPTED),
            include_in_schema=listed,
            tags=["disputes" if "dispute" in path else "deals"],
        )


_add("confirm", Action.CONFIRM, Writer, "The performer agrees; the customer's money is held")
_add("deny", Action.DENY, Writer, "The performer does not agree; final")
_add("cancel", Action.CANCEL, Writer, "Give up a deal that nobody has paid; final")
_add("close", Action.CLOSE, Writer, "The work is accepted: the performer is paid")
_add("dispute/close_preformer", Action.CLOSE_PERFORMER, Arbiter, "Arbiter: the performer is paid")
_add(
    "dispute/close_performer",
    Action.CLOSE_PERFORMER,
    Arbiter,
    "Arbiter: the performer is paid",
    listed=False,
)
_add(
    "dispute/close_customer",
    Action.CLOSE_CUSTOMER,
    Arbiter,
    "Arbiter: the customer gets the money back",
)
