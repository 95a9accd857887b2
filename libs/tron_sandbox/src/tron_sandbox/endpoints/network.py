"""The node itself: its parameters, its head, its peers."""

from tron_sandbox.jsonformat import Json
from tron_sandbox.staking import MOST_LOCK_BLOCKS, UNSTAKE_MS
from tron_sandbox.view import Answer, View
from tron_sandbox.world import BANDWIDTH, ENERGY, TOTAL_LIMITS, WINDOW_MS

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
        "getAllowDynamicEnergy": 0,
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
