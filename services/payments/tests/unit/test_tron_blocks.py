"""Blocks are read transaction by transaction: one that can't be read is set aside with its reason, the rest is read."""

import json
from typing import Any

import pytest

from payments.adapters.tron_blocks import MOST_UNITS, asked_transfers, read_content, slim
from payments.domain.errors import NodeLied
from payments.domain.intents import NATIVE
from payments.domain.model import MOST_RAW

USDT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
USDT_HEX = "41a614f803b6fd780986a42c78ec9c7f77e6ded13c"
TOPIC = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
ALICE, BOB = "11" * 20, "22" * 20


def entry(amount: int = 5, **change: Any) -> dict[str, Any]:
    found = {
        "address": USDT_HEX[2:],
        "topics": [TOPIC, ALICE.rjust(64, "0"), BOB.rjust(64, "0")],
        "data": f"{amount:064x}",
    }
    return found | change


def info(txid: str, *entries: Any, **change: Any) -> dict[str, Any]:
    return {"id": txid, "blockNumber": 9, "log": list(entries)} | change


@pytest.mark.parametrize(
    "poison",
    [
        info("bad", 7),
        info("bad", entry(topics=7)),
        info("bad", entry(data="zz")),
        info("bad", entry(topics=[TOPIC, None, 3])),
        info("bad", entry(address=None)),
        info("bad", entry(MOST_UNITS)),
        info("bad", entry(2**256 - 1)),
        info("bad", entry(), log=5),
        info("bad", entry(), fee="much"),
    ],
)
def test_a_poisonous_transaction_is_set_aside_and_the_others_are_read(poison: dict[str, Any]) -> None:
    content = read_content(9, [info("a", entry(1)), poison, info("b", entry(2), entry(3))], None, [USDT])

    assert [(t.txid, t.log_index, t.amount) for t in content.transfers] == [("a", 0, 1), ("b", 0, 2), ("b", 1, 3)]
    assert [u.txid for u in content.unreadable] == ["bad"]
    assert content.unreadable[0].reason
    assert json.loads(content.unreadable[0].raw) == poison


@pytest.mark.parametrize("poison", [None, 5, "text", [], {"log": []}, {"id": 7, "log": 3}])
def test_a_transaction_without_an_id_is_named_by_its_place(poison: Any) -> None:
    content = read_content(9, [info("a", entry(1)), poison], None, [USDT])

    assert [u.txid for u in content.unreadable] == ["#1"]
    assert [t.txid for t in content.transfers] == ["a"]


def test_the_end_of_a_transaction_is_known_even_where_its_logs_are_not() -> None:
    content = read_content(9, [info("ours", entry(topics=7), fee=11)], None, [USDT])

    assert [(r.txid, r.succeeded, r.fee_sun) for r in content.results] == [("ours", True, 11)]


def test_what_is_kept_of_it_has_a_limit() -> None:
    content = read_content(9, [info("bad", entry(topics=7), resMessage="00" * MOST_RAW)], None, [USDT])

    assert len(content.unreadable[0].raw) == MOST_RAW


@pytest.mark.parametrize("infos", [[], {}, None, "text", [info("a", blockNumber=8)]])
def test_missing_receipts_and_those_of_another_block_are_lies(infos: Any) -> None:
    with pytest.raises(NodeLied):
        read_content(9, infos, None, [USDT])


def asked(data: str, result: str = "SUCCESS", contract: str = USDT_HEX) -> dict[str, Any]:
    value = {"owner_address": "41" + ALICE, "contract_address": contract, "data": data}
    call = {"type": "TriggerSmartContract", "parameter": {"value": value}}
    return {"txID": "a", "ret": [{"contractRet": result}], "raw_data": {"contract": [call]}}


def sent(sun: int) -> dict[str, Any]:
    value = {"owner_address": "41" + ALICE, "to_address": "41" + BOB, "amount": sun}
    call = {"type": "TransferContract", "parameter": {"value": value}}
    return {"txID": "t", "ret": [{"contractRet": "SUCCESS"}], "raw_data": {"contract": [call]}}


def test_the_head_shows_what_transactions_ask_for_by_themselves() -> None:
    to_bob, from_bob = BOB.rjust(64, "0"), ALICE.rjust(64, "0")
    block = {
        "transactions": [
            asked("a9059cbb" + to_bob + f"{5:064x}"),
            asked("23b872dd" + from_bob + to_bob + f"{6:064x}"),
            asked("a9059cbb" + to_bob + f"{7:064x}", "REVERT"),
            asked("a9059cbb" + to_bob + f"{8:064x}", contract="41" + "33" * 20),
            asked("a9059cbb" + to_bob),
            asked("a9059cbb" + to_bob + "f" * 64),
            {"txID": "garbage"},
            sent(9),
        ]
    }

    assert [t.amount for t in asked_transfers(block, [USDT])] == [5, 6]
    assert [(t.asset, t.amount) for t in asked_transfers(block, [USDT, NATIVE])][-1] == (NATIVE, 9)
    assert len({t.to_address for t in asked_transfers(block, [USDT, NATIVE])}) == 1


def test_a_block_that_was_kept_slim_reads_the_same_trx() -> None:
    whole = [sent(9)]
    infos = [{"id": "t", "blockNumber": 9}]

    assert read_content(9, infos, [slim(t) for t in whole], [NATIVE]) == read_content(9, infos, whole, [NATIVE])
