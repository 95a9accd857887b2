"""The signer: takes an intent, builds the transaction itself, and signs that and nothing else.

It knows the contracts of the assets, the one recipient of sweeps and the most that a fee may be; there is no way
to hand it a hash or bytes to sign.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from google.protobuf import any_pb2
from tronpy.keys import PrivateKey, to_raw_address
from tronpy.proto import tron_pb2 as pb

from payments.adapters.keys import DEPOSITS, FUEL, MAIN, Seed
from payments.adapters.tron_address import is_tron_address
from payments.domain.errors import SignerRefused
from payments.domain.intents import NATIVE, Collect, Delegate, DepositKey, Fuel, Intent, Payout, Reclaim, Stake
from payments.domain.model import Header, Signed

LIFETIME = timedelta(seconds=120)
"""How long a transaction of ours may wait for a block: longer makes a lost one slower to replace."""
TRANSFER_SELECTOR = bytes.fromhex("a9059cbb")
"""The first four bytes of keccak256("transfer(address,uint256)")."""
ENERGY = 1
"""Its number among the resources."""
CONTRACT_TYPES: Mapping[str, Any] = {
    "TransferContract": 1,
    "TriggerSmartContract": 31,
    "FreezeBalanceV2Contract": 54,
    "DelegateResourceContract": 57,
    "UnDelegateResourceContract": 58,
}
"""Numbers of java-tron's ContractType; tronpy's messages end before Stake 2.0."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the signer never leaves.

    Attributes:
        assets: the contracts of the assets that may be moved, beside TRX.
        main_address: where sweeps go, and nowhere else; where payouts come from.
        fuel_address: where TRX and energy for sweeps come from.
        fee_cap_sun: the most that one transaction may burn or be given.
    """

    assets: Collection[str]
    main_address: str
    fuel_address: str
    fee_cap_sun: int


class LocalSigner:
    """See `payments.domain.ports.Signer`."""

    def __init__(self, seed: Seed, bounds: Bounds) -> None:
        self._seed = seed
        self._bounds = bounds

    async def sign(self, intent: Intent, reference: Header, timestamp_ms: int) -> Signed:
        """See the port."""
        return self.signed(intent, reference, timestamp_ms)

    def signed(self, intent: Intent, reference: Header, timestamp_ms: int) -> Signed:
        """Sign an intent.

        Raises:
            SignerRefused: when it is out of bounds.
        """
        bounds, moment = self._bounds, (reference, timestamp_ms)
        match intent:
            case Collect(wallet, asset, amount, fee_limit):
                key = self._deposit_key(wallet)
                return self._move(key, asset, (bounds.main_address, amount), fee_limit, moment)
            case Payout(_, asset, to, amount, fee_limit):
                if not is_tron_address(to) or to in (
                    bounds.main_address,
                    bounds.fuel_address,
                    *bounds.assets,
                ):
                    raise SignerRefused(f"{to} is no address that a payout may go to")
                key = self._own_key(MAIN, bounds.main_address)
                return self._move(key, asset, (to, amount), fee_limit, moment)
            case Fuel(wallet, sun):
                self._check_deposit_address(wallet)
                if not 0 < sun <= bounds.fee_cap_sun:
                    raise SignerRefused(
                        f"{sun} sun of fuel is not within {bounds.fee_cap_sun} sun (SWEEP_FEE_CAP_SUN)"
                    )
                key = self._own_key(FUEL, bounds.fuel_address)
                return self._move(key, NATIVE, (wallet.address, sun), 0, moment)
            case Delegate(wallet, sun) | Reclaim(wallet, sun):
                self._check_deposit_address(wallet)
                key = self._own_key(FUEL, bounds.fuel_address)
                kind = "DelegateResourceContract" if isinstance(intent, Delegate) else "UnDelegateResourceContract"
                owner, receiver = to_raw_address(bounds.fuel_address), to_raw_address(wallet.address)
                lent = _wire({1: owner, 2: ENERGY, 3: _sun(sun), 4: receiver})
                return _sign(key, kind, lent, moment, 0)
            case Stake(sun):
                key = self._own_key(FUEL, bounds.fuel_address)
                staked = _wire({1: to_raw_address(bounds.fuel_address), 2: _sun(sun), 3: ENERGY})
                return _sign(key, "FreezeBalanceV2Contract", staked, moment, 0)
            case _:
                assert_never(intent)

    def _move(
        self, key: PrivateKey, asset: str, gift: tuple[str, int], fee_limit: int, moment: tuple[Header, int]
    ) -> Signed:
        """Sign a transfer; `gift` is the recipient and the amount."""
        owner, (to, amount) = key.public_key.to_base58check_address(), gift
        if asset == NATIVE:
            native = pb.TransferContract(
                owner_address=to_raw_address(owner), to_address=to_raw_address(to), amount=_sun(amount)
            )
            return _sign(key, "TransferContract", native.SerializeToString(), moment, 0)
        if asset not in self._bounds.assets:
            raise SignerRefused(f"{asset} is no asset that may be moved (SIGNER_ASSETS)")
        if not 0 < fee_limit <= self._bounds.fee_cap_sun:
            most = self._bounds.fee_cap_sun
            raise SignerRefused(f"the fee limit {fee_limit} is not within {most} sun (SWEEP_FEE_CAP_SUN)")
        token = pb.TriggerSmartContract(
            owner_address=to_raw_address(owner),
            contract_address=to_raw_address(asset),
            data=TRANSFER_SELECTOR
            + to_raw_address(to)[1:].rjust(32, b"\0")
            + _positive(amount).to_bytes(32, "big"),
        )
        return _sign(key, "TriggerSmartContract", token.SerializeToString(), moment, fee_limit)

    def _deposit_key(self, wallet: DepositKey) -> PrivateKey:
        return _checked(PrivateKey(self._seed.private_key(DEPOSITS, wallet.index)), wallet.address)

    def _check_deposit_address(self, wallet: DepositKey) -> None:
        self._deposit_key(wallet)

    def _own_key(self, account: int, address: str) -> PrivateKey:
        return _checked(PrivateKey(self._seed.private_key(account, 0)), address)


def _positive(amount: int) -> int:
    if amount <= 0:
        raise SignerRefused(f"{amount} is no amount to move")
    return amount


def _sun(amount: int) -> int:
    if amount >= 2**63:
        raise SignerRefused(f"{amount} sun are more than there are")
    return _positive(amount)


def _checked(key: PrivateKey, address: str) -> PrivateKey:
    if key.public_key.to_base58check_address() != address:
        raise SignerRefused(f"the seed does not hold the key of {address}")
    return key


def _wire(fields: dict[int, bytes | int]) -> bytes:
    """Encode a protobuf message of byte strings and positive numbers."""
    encoded = b""
    for number, value in fields.items():
        if isinstance(value, bytes):
            encoded += _varint(number << 3 | 2) + _varint(len(value)) + value
        else:
            encoded += _varint(number << 3) + _varint(value)
    return encoded


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _sign(key: PrivateKey, kind: str, contract: bytes, moment: tuple[Header, int], fee_limit: int) -> Signed:
    """Build raw_data around the contract and sign its hash (TAPOS: the reference is a solid block)."""
    reference, timestamp_ms = moment
    block_id = bytes.fromhex(reference.hash)
    expires_at = reference.time + LIFETIME
    raw = pb.Transaction.raw(
        ref_block_bytes=block_id[6:8],
        ref_block_hash=block_id[8:16],
        expiration=int(expires_at.timestamp() * 1000),
        timestamp=timestamp_ms,
        fee_limit=fee_limit,
    )
    raw.contract.append(
        pb.Transaction.Contract(
            type=CONTRACT_TYPES[kind],
            parameter=any_pb2.Any(type_url=f"type.googleapis.com/protocol.{kind}", value=contract),
        )
    )
    digest = hashlib.sha256(raw.SerializeToString()).digest()
    signature = bytes.fromhex(key.sign_msg_hash(digest).hex())
    whole = pb.Transaction(raw_data=raw, signature=[signature])
    expires_at = datetime.fromtimestamp(raw.expiration / 1000, UTC)
    return Signed(digest.hex(), whole.SerializeToString(), expires_at)
