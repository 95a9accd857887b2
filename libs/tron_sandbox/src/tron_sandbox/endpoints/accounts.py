"""Accounts and what they have of bandwidth and energy."""

from tron_sandbox import addresses
from tron_sandbox.jsonformat import Json
from tron_sandbox.view import Answer, View, visible_of, without_zeros
from tron_sandbox.world import BANDWIDTH, ENERGY, TOTAL_LIMITS, TOTAL_WEIGHTS, Account, used_at


def get_account(view: View, body: Json) -> Answer:
    """An account; `{}` while it is not activated. Balances are the head's in both APIs but for `solid` money."""
    address = addresses.from_text(body.get("address"))
    account = view.chain.account(address, solid=view.solid)
    if account is None:
        return {}
    shown = addresses.to_text(address, visible=visible_of(body))
    keys = [{"address": shown, "weight": 1}]
    found: Json = {
        "address": shown,
        "balance": account.balance,
        "create_time": account.create_time,
        "net_window_size": 28_800_000,
        "net_window_optimized": True,
        "owner_permission": {"permission_name": "owner", "threshold": 1, "keys": keys},
        "active_permission": [
            {
                "type": "Active",
                "id": 2,
                "permission_name": "active",
                "threshold": 1,
                "operations": "7fff1fc0033ec30f000000000000000000000000000000000000000000000000",
                "keys": keys,
            }
        ],
        **_staked(account, view.chain.clock_ms),
    }
    if not account.balance:
        del found["balance"]
    if account.contract is not None:
        found["type"] = "Contract"
    return found


def _staked(account: Account, now_ms: int) -> Json:
    """Return what java-tron's JSON of an account says about its stakes; zeros are left out."""
    net, energy = account.stakes
    found: Json = {
        "frozenV2": [
            without_zeros({"amount": net.frozen}),
            {"type": "ENERGY", **without_zeros({"amount": energy.frozen})},
            {"type": "TRON_POWER"},
        ],
        "unfrozenV2": [
            {
                **({"type": "ENERGY"} if one.resource == ENERGY else {}),
                "unfreeze_amount": one.sun,
                "unfreeze_expire_time": one.due_ms,
            }
            for one in account.unstaked
        ],
        "delegated_frozenV2_balance_for_bandwidth": net.delegated,
        "acquired_delegated_frozenV2_balance_for_bandwidth": net.acquired,
        "account_resource": without_zeros(
            {
                "energy_usage": used_at(energy.used, energy.used_ms, now_ms),
                "delegated_frozenV2_balance_for_energy": energy.delegated,
                "acquired_delegated_frozenV2_balance_for_energy": energy.acquired,
            }
        ),
    }
    return without_zeros(found)


def get_account_resource(view: View, body: Json) -> Answer:
    """An account's bandwidth and energy."""
    account = view.chain.world.get(addresses.from_text(body.get("address")))
    if account is None:
        return {}
    energy, now = account.stakes[ENERGY], view.chain.clock_ms
    of_energy = {"EnergyUsed": used_at(energy.used, energy.used_ms, now), "EnergyLimit": energy.limit(ENERGY)}
    return {
        **_net(view, account),
        **without_zeros(of_energy),
        "TotalEnergyLimit": TOTAL_LIMITS[ENERGY],
        "TotalEnergyWeight": TOTAL_WEIGHTS[ENERGY],
    }


def get_account_net(view: View, body: Json) -> Answer:
    """An account's bandwidth."""
    account = view.chain.world.get(addresses.from_text(body.get("address")))
    return {} if account is None else _net(view, account)


def _net(view: View, account: Account) -> Json:
    net, now = account.stakes[BANDWIDTH], view.chain.clock_ms
    found = {
        "freeNetUsed": account.bandwidth_used(now),
        "freeNetLimit": view.chain.world.parameters.free_bandwidth,
        "NetUsed": used_at(net.used, net.used_ms, now),
        "NetLimit": net.limit(BANDWIDTH),
        "TotalNetLimit": TOTAL_LIMITS[BANDWIDTH],
        "TotalNetWeight": TOTAL_WEIGHTS[BANDWIDTH],
    }
    return without_zeros(found)


def validate_address(_: View, body: Json) -> Answer:
    """Tell whether an address is one."""
    try:
        addresses.from_text(body.get("address"))
    except addresses.AddressError as error:
        return {"result": False, "message": str(error)}
    return {"result": True, "message": "Base58check format"}
