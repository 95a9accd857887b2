"""The node itself: its parameters, its head, its peers."""

from tron_sandbox import addresses
from tron_sandbox.chain import PRODUCER_ADDRESSES, PRODUCER_NAMES
from tron_sandbox.jsonformat import Json
from tron_sandbox.staking import MOST_LOCK_BLOCKS, UNSTAKE_MS
from tron_sandbox.view import Answer, View, visible_of
from tron_sandbox.world import BANDWIDTH, ENERGY, TOTAL_LIMITS, WINDOW_MS

MAINTENANCE_MS = 6 * 3600 * 1000
SETTABLE = {
    "getEnergyFee": "energy_fee",
    "getTransactionFee": "bandwidth_fee",
    "getCreateAccountFee": "create_account_fee",
    "getCreateNewAccountFeeInSystemContract": "new_account_fee",
    "getMemoFee": "memo_fee",
    "getMaxFeeLimit": "max_fee_limit",
    "getFreeNetLimit": "free_bandwidth",
}
"""The chain parameters that `/admin/parameters` can set, and the names of their fields."""


def get_chain_parameters(view: View, _: Json) -> Answer:
    """What fees are computed from, in sun."""
    fees = view.chain.world.parameters
    values = {
        **{name: getattr(fees, field) for name, field in SETTABLE.items()},
        "getCreateNewAccountBandwidthRate": 1,
        "getTotalEnergyCurrentLimit": TOTAL_LIMITS[ENERGY],
        "getTotalNetLimit": TOTAL_LIMITS[BANDWIDTH],
        "getUnfreezeDelayDays": UNSTAKE_MS // WINDOW_MS,
        "getMaxDelegateLockPeriod": MOST_LOCK_BLOCKS,
        "getAllowDynamicEnergy": 1,
    }
    return {"chainParameter": [{"key": key, "value": value} for key, value in values.items()]}


def get_node_info(view: View, _: Json) -> Answer:
    """The head and the solid block."""
    head, solid = view.chain.head, view.chain.blocks[view.chain.solid_number]
    return {
        "block": f"Num:{head.number},ID:{head.id.hex()}",
        "solidityBlock": f"Num:{solid.number},ID:{solid.id.hex()}",
        "beginSyncNum": 0,
        "currentConnectCount": 0,
        "configNodeInfo": {"codeVersion": "4.8.0", "p2pVersion": "11111"},
    }


def list_nodes(_: View, __: Json) -> Answer:
    """The node's peers: none."""
    return {}


def list_witnesses(view: View, body: Json) -> Answer:
    """The producers: 27, each with a name and a key of its own."""
    witnesses = []
    for place, (address, name) in enumerate(zip(PRODUCER_ADDRESSES, PRODUCER_NAMES, strict=True)):
        found: Json = {
            "address": addresses.to_text(address, visible=visible_of(body)),
            "voteCount": 1_000_000_000 - place,
            "url": f"https://{name}.example",
            "isJobs": True,
        }
        witnesses.append(found)
    return {"witnesses": witnesses}


def get_next_maintenance_time(view: View, _: Json) -> Answer:
    """When votes are counted next: every six hours."""
    return {"num": (view.chain.head.timestamp // MAINTENANCE_MS + 1) * MAINTENANCE_MS}


def get_energy_prices(view: View, _: Json) -> Answer:
    """The energy fee, as the only one there ever was."""
    return {"prices": f"0:{view.chain.world.parameters.energy_fee}"}


def get_bandwidth_prices(view: View, _: Json) -> Answer:
    """The bandwidth fee, as the only one there ever was."""
    return {"prices": f"0:{view.chain.world.parameters.bandwidth_fee}"}


def get_memo_fee(view: View, _: Json) -> Answer:
    """The memo fee, as the only one there ever was."""
    return {"prices": f"0:{view.chain.world.parameters.memo_fee}"}
