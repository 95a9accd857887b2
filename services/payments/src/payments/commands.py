"""The commands on wallets and the chain: rescan, reconcile, wallets, sweeps, sweep, stake.

Exit codes: 0 all is well, 1 something does not agree or is not at its end, 2 an argument or a setting is bad, or
what a setting names does not answer.
"""

import argparse
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from common.db import away
from common.errors import InvalidInput, ServiceError, Unavailable
from common.logging import only_warnings
from common.money import AmountError, Currencies, Currency
from payments.db import overview
from payments.domain.errors import ContractRefuses, NodeUnavailable
from payments.domain.model import TransferClass, TxState
from payments.domain.ports import Gateway
from payments.main import command_currencies, command_parts
from payments.terminal import Progress, table, verdict
from payments.use_cases.context import Payments
from payments.use_cases.reconcile import Reconciled, reconcile
from payments.use_cases.rescan_blocks import rescan_blocks
from payments.use_cases.stake_for_energy import stake_for_energy
from payments.use_cases.sweep_now import sweep_now

BAD = 2
MOST_ROWS = 1_000
TRX = Currency("TRX", 6)
TIMEOUT_S = 600

Shown = Callable[[Payments, argparse.Namespace, Currencies], Awaitable[int]]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add these commands to a service's."""
    rescan = commands.add_parser("rescan", help="read solid blocks again and store what is missing")
    rescan.add_argument("--from", dest="first", type=int, required=True, metavar="BLOCK")
    rescan.add_argument("--to", dest="last", type=int, metavar="BLOCK", help="the cursor's where it is not given")
    rescan.add_argument("--network", default="tron")
    compare = commands.add_parser("reconcile", help="compare the chain with the books and the ledger")
    compare.add_argument("--all", action="store_true", help="also wallets that never received anything")
    wallets = commands.add_parser("wallets", help="list deposit wallets and what went through them")
    wallets.add_argument("--user", type=int)
    wallets.add_argument("--nonzero", action="store_true", help="those that hold something")
    wallets.add_argument("--limit", type=int, default=50)
    commands.add_parser("sweeps", help="list sweeps that are not at their end, and lent energy")
    sweep = commands.add_parser("sweep", help="sweep at once, and follow it to the end")
    sweep.add_argument("words", nargs="*", metavar="NOW [ADDRESS]", help=argparse.SUPPRESS)
    sweep.add_argument("--now", nargs="?", const="", metavar="ADDRESS", help="all, or one wallet with its dust")
    stake = commands.add_parser("stake", help="stake TRX of the fuel wallet for energy")
    stake.add_argument("trx", metavar="TRX")
    for parser in (sweep, stake):
        parser.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS")


async def run_command(options: argparse.Namespace) -> int:
    """Run one of the commands; return the exit code."""
    only_warnings()
    try:
        currencies = command_currencies()
        async with command_parts() as parts:
            return await SHOWN[options.command](parts, options, currencies)
    except ServiceError as error:
        print(f"error: {error.detail}{_setting(error)}", file=sys.stderr)
        return BAD
    except Exception as error:
        if not away(error):
            raise
        print(f"error: the database of PAYMENTS_DATABASE_URL: {error or type(error).__name__}", file=sys.stderr)
        return BAD


def _setting(error: ServiceError) -> str:
    """Name the setting that says where the part is that does not answer."""
    if isinstance(error, NodeUnavailable | ContractRefuses):
        return " (the node of TRON_NODE_URL)"
    if isinstance(error, Unavailable):
        return " (SIGNER_URL)" if "/sign " in error.detail else " (ACCOUNTS_URL)"
    return ""


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    progress = Progress()
    try:
        yield progress
    finally:
        progress.end()


def _text(currencies: Currencies, code: str, units: int) -> str:
    currency = currencies.get(code)
    return f"{units} units" if currency is None else currency.to_text(units)


async def show_rescan(parts: Payments, options: argparse.Namespace, currencies: Currencies) -> int:
    """Rescan, and show what was missing."""
    gateway = _on_network(parts, options.network)
    with _progress() as tell:
        done = await rescan_blocks(parts, gateway, options.first, options.last, tell)
    if done.found:
        rows = [
            (
                t.height,
                t.txid,
                t.log_index,
                t.kind.value,
                t.to_address,
                _text(currencies, t.currency, t.units),
                t.currency,
            )
            for t in done.found[:MOST_ROWS]
        ]
        print(table(("block", "txid", "log", "class", "to", "amount", ""), rows, "rlrllrl"))
    if done.aside:
        aside = [(height, item.txid, item.reason) for height, item in done.aside[:MOST_ROWS]]
        print(table(("block", "set aside", "why"), aside, "rll"))
    deposits = done.classes[TransferClass.DEPOSIT]
    verdict(
        not done.found and not done.aside,
        f"{done.blocks:,} blocks read again: {len(done.found)} transfers were missing and are stored now, "
        f"{deposits} of them deposits, which the worker credits; {done.settled} transactions settled, "
        f"{len(done.aside)} set aside (replay-quarantined)",
    )
    return 0


def _on_network(parts: Payments, network: str) -> Gateway:
    for gateway in parts.gateways.values():
        if gateway.info.network == network:
            return gateway
    raise InvalidInput(f"--network: no gateway is on {network!r}")


async def show_reconciliation(parts: Payments, options: argparse.Namespace, currencies: Currencies) -> int:
    """Reconcile, and show differences and totals."""
    with _progress() as tell:
        found = await reconcile(parts, tell, everyone=options.all)
    _show_differences(found, currencies)
    rows = []
    for total in found.totals:
        code, flight = total.currency, total.in_flight
        sums = (total.wallets, total.staked, total.ledger, flight["deposit"], flight["funding"])
        out = (flight["payout"], flight["fee"], total.difference)
        rows.append((code, *(_text(currencies, code, units) for units in sums + out)))
    heads = ("", "wallets", "staked", "ledger", "+ deposits", "+ funding", "+ payouts", "+ fees", "difference")
    print(table(heads, rows, "lrrrrrrrr"))
    verdict(
        found.agrees,
        f"{found.compared:,} wallets compared: " + ("all agrees" if found.agrees else "NOT ALL AGREES"),
    )
    return 0 if found.agrees else 1


def _show_differences(found: Reconciled, currencies: Currencies) -> None:
    if found.wallets:
        rows = [
            (
                d.wallet.address,
                d.wallet.index if d.wallet.index is not None else "own",
                d.wallet.user_id,
                d.currency,
                d.height,
                *(
                    _text(currencies, d.currency, n)
                    for n in (d.chain_units, d.book_units, d.chain_units - d.book_units)
                ),
            )
            for d in found.wallets[:MOST_ROWS]
        ]
        heads = ("wallet", "index", "user", "", "block", "chain", "books", "difference")
        print(table(heads, rows, "lrrlrrrr") + "\n")
    if found.keys:
        rows = [
            (
                d.key,
                d.kind,
                d.currency,
                *(_text(currencies, d.currency, n) for n in (d.ledger_units, d.stored_units)),
            )
            for d in found.keys[:MOST_ROWS]
        ]
        print(table(("key", "kind", "", "ledger", "books"), rows, "lllrr") + "\n")


async def show_wallets(parts: Payments, options: argparse.Namespace, currencies: Currencies) -> int:
    """List wallets."""
    if not 1 <= options.limit <= MOST_ROWS:
        raise InvalidInput(f"--limit must be from 1 to {MOST_ROWS}")
    codes = [gateway.info.currency for gateway in parts.gateways.values()]
    async with parts.database.transaction() as connection:
        found = await overview.wallets(connection, codes, options.user, options.limit, nonzero=options.nonzero)
    rows = [
        (
            w.address,
            w.index,
            f"{w.tenant_id}/{w.user_id}",
            w.status,
            w.currency,
            *(_text(currencies, w.currency, n) for n in (w.arrived, w.swept, w.arrived - w.swept)),
            None if w.step is None else w.step.value,
            w.error,
        )
        for w in found
    ]
    heads = (
        "address",
        "index",
        "tenant/user",
        "status",
        "",
        "arrived",
        "swept",
        "left",
        "last sweep",
        "its error",
    )
    print(table(heads, rows, "lrrllrrrll"))
    return 0


async def show_sweeps(parts: Payments, _: argparse.Namespace, currencies: Currencies) -> int:
    """List sweeps that are under way; exit code 1 when one of them is stuck."""
    async with parts.database.transaction() as connection:
        found = await overview.unfinished(connection, MOST_ROWS)
    _show_sweeps(found, currencies)
    stuck, lent = sum(s.stuck for s in found), sum(s.lent_sun for s in found)
    verdict(not stuck, f"{len(found)} sweeps under way, {stuck} of them stuck; {TRX.to_text(lent)} TRX lent")
    return 1 if stuck else 0


def _show_sweeps(found: list[overview.SweepState], currencies: Currencies) -> None:
    rows = [
        (
            s.id,
            s.address,
            _text(currencies, s.currency, s.units),
            s.currency,
            s.step.value,
            s.tries,
            f"{s.created_at:%Y-%m-%d %H:%M:%S}",
            f"{s.due_at:%H:%M:%S}",
            TRX.to_text(s.lent_sun),
            TRX.to_text(s.spent_sun),
            s.error,
        )
        for s in found[:MOST_ROWS]
    ]
    heads = (
        "sweep",
        "wallet",
        "amount",
        "",
        "step",
        "failures",
        "since",
        "next",
        "lent TRX",
        "spent TRX",
        "error",
    )
    print(table(heads, rows, "rlrllrllrrl"))


async def show_sweep(parts: Payments, options: argparse.Namespace, currencies: Currencies) -> int:
    """Sweep now; exit code 1 when something is not at its end in time."""
    words = [word for word in options.words if word.upper() != "NOW"]
    if (options.now is None and len(words) == len(options.words)) or len(words) > 1 or (options.now and words):
        raise InvalidInput("sweep: write `sweep --now`, or `sweep --now ADDRESS`")
    address = options.now or (words[0] if words else None)
    with _progress() as tell:
        states = await sweep_now(parts, address, _timeout(options), tell)
    _show_sweeps(states, currencies)
    left = sum(not state.done for state in states)
    verdict(not left, f"{len(states) - left} sweeps done, {left} not at their end" + _hint(left))
    return 1 if left else 0


def _hint(left: int) -> str:
    return "; the worker goes on with them, and without it no end is seen" if left else ""


async def show_stake(parts: Payments, options: argparse.Namespace, _: Currencies) -> int:
    """Stake, and show what can be lent."""
    try:
        sun = TRX.to_units(Decimal(options.trx))
    except (InvalidOperation, AmountError) as error:
        raise InvalidInput(f"TRX: {options.trx} is no amount") from error
    with _progress() as tell:
        staked = await stake_for_energy(parts, _on_network(parts, "tron"), sun, _timeout(options), tell)
    rows = [(staked.txid, staked.state.value, TRX.to_text(staked.lendable_sun), f"{staked.lendable_energy:,}")]
    print(table(("stake", "state", "TRX that can be lent", "its energy"), rows, "llrr"))
    return 0 if staked.state is TxState.SUCCEEDED else 1


def _timeout(options: argparse.Namespace) -> timedelta:
    if not 0 < options.timeout <= 86_400:
        raise InvalidInput("--timeout must be above 0 and at most 86400")
    return timedelta(seconds=options.timeout)


SHOWN: dict[str, Shown] = {
    "rescan": show_rescan,
    "reconcile": show_reconciliation,
    "wallets": show_wallets,
    "sweeps": show_sweeps,
    "sweep": show_sweep,
    "stake": show_stake,
}
