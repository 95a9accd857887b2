"""The rows of the table: each load with its callers, its door, and what it must reach beside the yardstick."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `least` and `aim` are multiples of TPC-B's transactions per second."""

    load: str
    title: str
    door: str
    caller: str
    callers: int
    least: float
    aim: float
    ledger: bool = True
    """Whether it is measured with pasts of every length."""


ROWS = (
    Row("batch_of_deposits", "deposits, 100 a request, 10,000 users", "accounts", "payments", 8, 1.5, 3),
    Row("batch_of_holds", "holds, 100 a request, 10,000 users", "accounts", "deals", 8, 1.5, 3),
    Row("batch_on_one_account", "deposits, 100 a request, one account", "accounts", "payments", 8, 1.5, 3),
    Row("single_posting", "deposits, one a request, 64 callers", "accounts", "payments", 64, 0.4, 0.8),
    Row("deal_cycle", "deal: create, confirm, close; gateway", "gateway", "", 32, 0.03, 0.08, ledger=False),
    Row("balance_read", "balance read; gateway", "gateway", "", 32, 0.35, 0.6),
)
