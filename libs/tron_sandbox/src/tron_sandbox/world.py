"""Accounts in TRX and their bandwidth, with an undo log per block so that forks can take blocks back."""

from dataclasses import dataclass, replace

FREE_BANDWIDTH = 600
WINDOW_MS = 24 * 3600 * 1000
"""Used bandwidth comes back evenly over a day (java-tron, ResourceProcessor)."""


@dataclass(frozen=True, slots=True)
class Account:
    """An activated account; amounts in sun."""

    balance: int = 0
    create_time: int = 0
    net_used: int = 0
    net_time: int = 0
    unlimited: bool = False
    """The faucet pays no fees."""

    def bandwidth_used(self, now_ms: int) -> int:
        """Return how much free bandwidth is used at this time."""
        gone = now_ms - self.net_time
        return 0 if gone >= WINDOW_MS else self.net_used * (WINDOW_MS - gone) // WINDOW_MS


class World:
    """All accounts by address."""

    def __init__(self) -> None:
        self.accounts: dict[bytes, Account] = {}
        self._undo: list[dict[bytes, Account | None]] = []

    def begin_block(self) -> None:
        """Start to remember what the block changes."""
        self._undo.append({})

    def undo_block(self) -> None:
        """Take the newest block's changes back."""
        for address, before in self._undo.pop().items():
            if before is None:
                del self.accounts[address]
            else:
                self.accounts[address] = before

    def forget_undo(self, keep: int) -> None:
        """Drop what only blocks that are solid by now would need."""
        del self._undo[: max(0, len(self._undo) - keep)]

    def get(self, address: bytes) -> Account | None:
        """Return the account, or None while it is not activated."""
        return self.accounts.get(address)

    def before(self, address: bytes, blocks: int) -> Account | None:
        """Return the account as it was before the newest `blocks` blocks."""
        for undo in self._undo[-blocks:]:
            if address in undo:
                return undo[address]
        return self.accounts.get(address)

    def put(self, address: bytes, account: Account) -> None:
        """Store an account."""
        if self._undo:
            self._undo[-1].setdefault(address, self.accounts.get(address))
        self.accounts[address] = account

    def add(self, address: bytes, sun: int, now_ms: int) -> None:
        """Add to a balance; an account is created where there is none."""
        account = self.get(address) or Account(create_time=now_ms)
        self.put(address, replace(account, balance=account.balance + sun))
