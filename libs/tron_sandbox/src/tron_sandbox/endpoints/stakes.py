"""Stake 2.0: what is lent, and what could be lent, unstaked and withdrawn."""

from tron_sandbox import addresses
from tron_sandbox.endpoints.building import unsigned
from tron_sandbox.jsonformat import Json
from tron_sandbox.staking import MOST_UNSTAKED, NAMES, lendable
from tron_sandbox.view import Answer, Endpoint, View, visible_of, whole, without_zeros


def staking(kind: str) -> Endpoint:
    """Return the endpoint that makes an unsigned contract of Stake 2.0; its fields are the body's."""

    def endpoint(view: View, body: Json) -> Answer:
        return unsigned(view, body, kind, body)

    return endpoint


def get_delegated_resource(view: View, body: Json) -> Answer:
    """What one account has lent to another."""
    giver, taker = addresses.from_text(body.get("fromAddress")), addresses.from_text(body.get("toAddress"))
    account = view.chain.account(giver, solid=view.solid)
    found: list[Json] = []
    for loan in account.loans if account else ():
        if loan.receiver == taker:
            name = NAMES[loan.resource].lower()
            times = {f"expire_time_for_{name}": loan.locked_until_ms}
            found.append(
                {
                    "from": addresses.to_text(giver, visible=visible_of(body)),
                    "to": addresses.to_text(taker, visible=visible_of(body)),
                    f"frozen_balance_for_{name}": loan.sun,
                    **without_zeros(times),
                }
            )
    return without_zeros({"delegatedResource": found})


def get_delegated_resource_index(view: View, body: Json) -> Answer:
    """To whom an account lends, and who lends to it."""
    address, visible = addresses.from_text(body.get("value")), visible_of(body)
    account = view.chain.account(address, solid=view.solid)
    if account is None:
        return {}
    to = dict.fromkeys(addresses.to_text(loan.receiver, visible=visible) for loan in account.loans)
    givers = [addresses.to_text(giver, visible=visible) for giver in account.lenders]
    shown = addresses.to_text(address, visible=visible)
    return {"account": shown, **without_zeros({"toAccounts": list(to), "fromAccounts": givers})}


def get_can_delegate(view: View, body: Json) -> Answer:
    """How much of a stake an account could lend now."""
    account = view.chain.account(addresses.from_text(body.get("owner_address")), solid=view.solid)
    resource = whole(body.get("type", 0))
    if account is None or resource not in NAMES:
        return {}
    return without_zeros({"max_size": lendable(account, resource, view.chain.clock_ms)})


def get_can_withdraw(view: View, body: Json) -> Answer:
    """How much unstaked TRX an account could withdraw at a time."""
    account = view.chain.account(addresses.from_text(body.get("owner_address")), solid=view.solid)
    at_ms = whole(body.get("timestamp", view.chain.clock_ms))
    due = sum(one.sun for one in account.unstaked if one.due_ms <= at_ms) if account else 0
    return without_zeros({"amount": due})


def get_unfreezes_left(view: View, body: Json) -> Answer:
    """How many more times an account could unstake now."""
    account = view.chain.account(addresses.from_text(body.get("owner_address")), solid=view.solid)
    now = view.chain.clock_ms
    waiting = sum(one.due_ms > now for one in account.unstaked) if account else 0
    return without_zeros({"count": MOST_UNSTAKED - waiting})
