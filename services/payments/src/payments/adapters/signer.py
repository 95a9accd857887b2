"""The signer: takes an intent, builds the transaction itself, and signs that and nothing else.

It knows the one contract, the one recipient of sweeps and the most that a fee may be; there is no way to hand it a
hash or bytes to sign.
"""

import hashlib
from datetime import UTC, datetime, timedelta

from google.protobuf import any_pb2
from google.protobuf.message import Message
from tronpy.keys import PrivateKey, to_raw_address
from tronpy.proto import tron_pb2 as pb

from payments.adapters.keys import DEPOSITS, FUEL, Seed
from payments.domain.model import Header, Signed, Sweep

LIFETIME = timedelta(seconds=120)
"""How long a transaction of ours may wait for a block: longer makes a lost one slower to replace."""
TRANSFER_SELECTOR = bytes.fromhex("a9059cbb")
"""The first four bytes of keccak256("transfer(address,uint256)")."""


class SignerRefused(Exception):
    """An intent that the signer must not sign."""


class LocalSigner:
    """See `payments.domain.ports.Signer`.

    Args:
        seed: the seed.
        token: the token's contract.
        main_address: where sweeps go, and nowhere else.
        fuel_address: where TRX comes from.
        fee_cap_sun: the most that one sweep may burn or be given.
    """

    def __init__(self, seed: Seed, token: str, main_address: str, fuel_address: str, fee_cap_sun: int) -> None:
        self._seed = seed
        self._token = token
        self._main = main_address
        self._fuel = fuel_address
        self._fee_cap_sun = fee_cap_sun

    def sweep(self, sweep: Sweep, amount: int, fee_limit: int, reference: Header, timestamp_ms: int) -> Signed:
        """See the port."""
        if not 0 < fee_limit <= self._fee_cap_sun:
            raise SignerRefused(f"the fee limit {fee_limit} is not within {self._fee_cap_sun} sun")
        key = PrivateKey(self._seed.private_key(DEPOSITS, sweep.derivation_index))
        _check_key(key, sweep.address)
        contract = pb.TriggerSmartContract(
            owner_address=to_raw_address(sweep.address),
            contract_address=to_raw_address(self._token),
            data=TRANSFER_SELECTOR + to_raw_address(self._main)[1:].rjust(32, b"\0") + amount.to_bytes(32, "big"),
        )
        return _sign(key, "TriggerSmartContract", contract, (reference, timestamp_ms), fee_limit)

    def fuel(self, sweep: Sweep, sun: int, reference: Header, timestamp_ms: int) -> Signed:
        """See the port."""
        if not 0 < sun <= self._fee_cap_sun:
            raise SignerRefused(f"{sun} sun of fuel is not within {self._fee_cap_sun} sun")
        key = PrivateKey(self._seed.private_key(FUEL, 0))
        _check_key(key, self._fuel)
        contract = pb.TransferContract(
            owner_address=to_raw_address(self._fuel),
            to_address=to_raw_address(sweep.address),
            amount=sun,
        )
        return _sign(key, "TransferContract", contract, (reference, timestamp_ms), 0)


def _check_key(key: PrivateKey, address: str) -> None:
    if key.public_key.to_base58check_address() != address:
        raise SignerRefused(f"the seed does not hold the key of {address}")


def _sign(key: PrivateKey, kind: str, contract: Message, moment: tuple[Header, int], fee_limit: int) -> Signed:
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
            type=pb.Transaction.Contract.ContractType.Value(kind),
            parameter=any_pb2.Any(
                type_url=f"type.googleapis.com/protocol.{kind}", value=contract.SerializeToString()
            ),
        )
    )
    digest = hashlib.sha256(raw.SerializeToString()).digest()
    signature = bytes.fromhex(key.sign_msg_hash(digest).hex())
    whole = pb.Transaction(raw_data=raw, signature=[signature])
    expires_at = datetime.fromtimestamp(raw.expiration / 1000, UTC)
    return Signed(digest.hex(), whole.SerializeToString(), expires_at)
