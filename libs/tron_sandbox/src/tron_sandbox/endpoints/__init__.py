"""java-tron's HTTP API over a chain: the same paths, the same JSON, the same errors."""

from tron_sandbox.endpoints import accounts, blocks, building, calls, contracts, network, stakes, transactions
from tron_sandbox.view import Endpoint

_SOLIDITY: dict[str, Endpoint] = {
    "getnowblock": blocks.get_now_block,
    "getblockbynum": blocks.get_block_by_num,
    "getblockbyid": blocks.get_block_by_id,
    "getblock": blocks.get_block,
    "getblockbylimitnext": blocks.get_block_by_limit_next,
    "getblockbylatestnum": blocks.get_block_by_latest_num,
    "gettransactionbyid": transactions.get_transaction_by_id,
    "gettransactioninfobyid": transactions.get_transaction_info_by_id,
    "gettransactioninfobyblocknum": transactions.get_transaction_info_by_block_num,
    "getaccount": accounts.get_account,
    "triggerconstantcontract": calls.trigger_constant_contract,
    "estimateenergy": calls.estimate_energy,
    "getnodeinfo": network.get_node_info,
    "getdelegatedresourcev2": stakes.get_delegated_resource,
    "getdelegatedresourceaccountindexv2": stakes.get_delegated_resource_index,
    "getcandelegatedmaxsize": stakes.get_can_delegate,
    "getcanwithdrawunfreezeamount": stakes.get_can_withdraw,
    "getavailableunfreezecount": stakes.get_unfreezes_left,
}
ENDPOINTS: dict[str, dict[str, Endpoint]] = {
    "walletsolidity": _SOLIDITY,
    "wallet": {
        **_SOLIDITY,
        "getaccountresource": accounts.get_account_resource,
        "getaccountnet": accounts.get_account_net,
        "getchainparameters": network.get_chain_parameters,
        "createtransaction": building.create_transaction,
        "freezebalancev2": stakes.staking("FreezeBalanceV2Contract"),
        "unfreezebalancev2": stakes.staking("UnfreezeBalanceV2Contract"),
        "withdrawexpireunfreeze": stakes.staking("WithdrawExpireUnfreezeContract"),
        "cancelallunfreezev2": stakes.staking("CancelAllUnfreezeV2Contract"),
        "delegateresource": stakes.staking("DelegateResourceContract"),
        "undelegateresource": stakes.staking("UnDelegateResourceContract"),
        "triggersmartcontract": calls.trigger_smart_contract,
        "deploycontract": contracts.deploy_contract,
        "getcontractinfo": contracts.get_contract_info,
        "getcontract": contracts.get_contract,
        "getsignweight": transactions.get_sign_weight,
        "broadcasttransaction": transactions.broadcast_transaction,
        "broadcasthex": transactions.broadcast_hex,
        "validateaddress": accounts.validate_address,
        "listnodes": network.list_nodes,
    },
}
