"""TRX from one account to another, and accounts made without any (TransferActuator, CreateAccountActuator)."""

from dataclasses import replace
from typing import Any

from tron_sandbox.errors import ContractError
from tron_sandbox.world import Account, Change, Context


def transfer(context: Context, owner: Account, contract: Any) -> Change:
    """Return the accounts after a transfer, which activates its recipient where that is needed."""
    if contract.amount <= 0:
        raise ContractError("Amount must be greater than 0.")
    if contract.to_address == contract.owner_address:
        raise ContractError("Cannot transfer TRX to yourself.")
    recipient = context.world.get(contract.to_address)
    if recipient is not None and recipient.contract is not None:
        raise ContractError("Cannot transfer TRX to a smartContract.")
    cost = contract.amount + (0 if recipient else _activation(context, owner))
    if owner.balance < cost:
        raise ContractError("Validate TransferContract error, balance is not sufficient.")
    there = recipient or Account(create_time=context.now_ms)
    return {
        contract.owner_address: replace(owner, balance=owner.balance - cost),
        contract.to_address: replace(there, balance=there.balance + contract.amount),
    }


def create_account(context: Context, owner: Account, contract: Any) -> Change:
    """Return the accounts after one is activated."""
    if context.world.get(contract.account_address) is not None:
        raise ContractError("Account has existed")
    cost = _activation(context, owner)
    if owner.balance < cost:
        raise ContractError("Validate CreateAccountActuator error, insufficient fee.")
    return {
        contract.owner_address: replace(owner, balance=owner.balance - cost),
        contract.account_address: Account(create_time=context.now_ms),
    }


def _activation(context: Context, owner: Account) -> int:
    return 0 if owner.unlimited else context.world.parameters.new_account_fee
