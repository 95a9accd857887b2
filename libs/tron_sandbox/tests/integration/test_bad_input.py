"""Whatever is sent to whatever endpoint: java-tron's own kind of answer, never a traceback and never another status."""

import json
import random
from typing import Any

import httpx
import pytest

from support.chain import USDT, SandboxNode, address_of, new_key
from tron_sandbox.endpoints import ENDPOINTS

PATHS = [f"{api}/{name}" for api, endpoints in ENDPOINTS.items() for name in endpoints]
TOLD_IN_RESULT = {
    f"{api}/{name}"
    for api in ENDPOINTS
    for name in ("triggersmartcontract", "triggerconstantcontract", "estimateenergy")
}
FIELDS = [
    "address",
    "owner_address",
    "to_address",
    "receiver_address",
    "contract_address",
    "fromAddress",
    "toAddress",
    "value",
    "num",
    "id_or_num",
    "startNum",
    "endNum",
    "amount",
    "balance",
    "frozen_balance",
    "unfreeze_balance",
    "resource",
    "lock",
    "lock_period",
    "type",
    "timestamp",
    "function_selector",
    "parameter",
    "data",
    "call_value",
    "fee_limit",
    "bytecode",
    "abi",
    "name",
    "origin_energy_limit",
    "token_id",
    "consume_user_resource_percent",
    "raw_data",
    "signature",
    "transaction",
    "visible",
    "detail",
    "Permission_id",
]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**63,
        -(2**63) - 1,
        10**30,
        1.5,
        1e400,
        "",
        "0",
        "-1",
        "x",
        "zz",
        "0x",
        "TRUE",
    ),
    *(
        "00" * 32,
        "41" + "00" * 20,
        "41" + "00" * 19,
        USDT,
        USDT[:-1] + "k",
        "T" + "0" * 33,
        "ff" * 5000,
        "ÿ",
        "\x00",
    ),
    *([], [1], [[]], {}, {"contract": []}, {"contract": [{}]}, {"contract": [{"type": "TransferContract"}]}),
]
NO_JSON = [b"{", b"[]", b"null", b'"text"', b"5", b"\xff\xfe", b'{"num": NaN}', b"[" * 100_000, b"not json"]


def _check(path: str, sent: object, answer: httpx.Response) -> None:
    told = f"{path} of {str(sent)[:300]}: {answer.text[:300]}"
    assert answer.status_code == 200, told
    found = answer.json()
    assert "Traceback" not in answer.text, told
    if isinstance(found, dict) and "Error" in found:
        assert found["Error"].startswith("class "), told
        assert "\n" not in found["Error"], told


@pytest.mark.parametrize("path", PATHS)
async def test_any_field_may_hold_anything(tron_node: SandboxNode, path: str) -> None:
    dice = random.Random(path)
    async with httpx.AsyncClient(base_url=tron_node.url) as http:
        for size in [0] + [1] * 40 + [12] * 40:
            body = {field: dice.choice(VALUES) for field in dice.sample(FIELDS, size)}
            _check(path, body, await http.post(path, content=json.dumps(body)))
        _check(path, "a query", await http.get(path, params={"value": "ÿ", "num": "1e3", "address": "T"}))


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_no_json_is_told(tron_node: SandboxNode, path: str) -> None:
    async with httpx.AsyncClient(base_url=tron_node.url) as http:
        for content in NO_JSON:
            answer = await http.post(path, content=content)
            _check(path, content, answer)
            assert (
                "Error" in answer.json()
                or path in TOLD_IN_RESULT
                or path.endswith(("getnowblock", "getchainparameters"))
            )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"owner_address": "T", "contract_address": USDT}, "invalid address"),
        ({}, "owner_address isn't set."),
        ({"owner_address": USDT, "function_selector": "x()"}, "contract_address isn't set."),
        ({"owner_address": USDT, "contract_address": USDT, "data": "xyz"}, "INVALID hex String"),
        ({"owner_address": USDT, "contract_address": USDT, "data": "00", "call_value": "x"}, "parse integer"),
    ],
)
@pytest.mark.parametrize("path", sorted(TOLD_IN_RESULT - {"walletsolidity/triggersmartcontract"}))
async def test_bad_calls_are_told_in_their_result(
    tron_node: SandboxNode, path: str, body: dict[str, Any], text: str
) -> None:
    answer = await tron_node.ask(path, **body, visible=True)

    assert answer["result"]["code"] == "OTHER_ERROR"
    assert answer["result"]["message"].startswith("class ")
    assert text in answer["result"]["message"]


async def test_a_contract_that_is_not_there_is_told(tron_node: SandboxNode) -> None:
    nowhere = address_of(new_key())
    body = {"owner_address": nowhere, "contract_address": nowhere, "function_selector": "x()", "visible": True}
    to_sign = await tron_node.ask("wallet/triggersmartcontract", **body)
    to_forget = await tron_node.ask("wallet/triggerconstantcontract", **body)

    assert to_sign["result"] == {
        "code": "CONTRACT_VALIDATE_ERROR",
        "message": "No contract or not a valid smart contract",
    }
    assert to_forget["result"] == {"code": "CONTRACT_VALIDATE_ERROR", "message": "Smart contract is not exist."}


async def test_a_constant_function_is_run_at_once(tron_node: SandboxNode) -> None:
    _, holder = new_key(), address_of(new_key())
    body = {"owner_address": holder, "contract_address": USDT, "visible": True}
    ran = await tron_node.ask("wallet/triggersmartcontract", **body, function_selector="decimals()")
    built = await tron_node.ask("wallet/triggersmartcontract", **body, function_selector="pause()")

    assert int(ran["constant_result"][0], 16) == 6
    assert "constant_result" not in built
    assert built["transaction"]["raw_data"]["contract"][0]["type"] == "TriggerSmartContract"


async def test_too_long_a_body_is_refused(tron_node: SandboxNode) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{tron_node.url}/wallet/broadcasthex", content=b" " * 4_200_000)
    assert "body size is too big" in answer.json()["Error"]
