"""The page at `/`, and what it asks for."""

import httpx

from support.chain import USDT, SandboxNode, address_of, new_key


async def test_the_page_asks_nobody_but_the_node(tron_node: SandboxNode) -> None:
    async with httpx.AsyncClient() as http:
        page = await http.get(tron_node.url)

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text


async def test_an_overview_tells_what_happened(tron_node: SandboxNode) -> None:
    address = address_of(new_key())
    await tron_node.admin("faucet", address=address, trx="12.5", usdt="3")
    await tron_node.admin("faults", endpoint="getnowblock", kind="429", count=5)
    found = await tron_node.admin("overview")

    assert found["head"] == found["blocks"][0]["number"] == found["solid"] + 3
    assert (found["blocks"][0]["transactions"], found["blocks"][0]["producer"] != "") == (2, True)
    paid, activated = found["transactions"][:2]
    assert (paid["kind"], paid["to"], paid["amount"], paid["unit"]) == (
        "USDT transfer",
        address,
        "3000000",
        "USDT",
    )
    assert (activated["kind"], activated["to"], activated["amount"]) == ("Transfer", address, "12500000")
    assert {paid["result"], activated["result"]} == {"SUCCESS"}
    (account,) = [one for one in found["accounts"] if one["address"] == address]
    assert (account["balance"], account["usdt"], account["bandwidth"]) == (12_500_000, "3000000", 600)
    assert found["accounts_total"] >= len(found["accounts"])
    assert found["faults"] == [{"endpoint": "getnowblock", "kind": "429", "count": 5}]


async def test_an_overview_names_contracts_and_the_faucet(tron_node: SandboxNode) -> None:
    await tron_node.admin("faucet", address=USDT, usdt="1")
    notes = {one["note"] for one in (await tron_node.admin("overview"))["accounts"]}

    assert "the faucet" in notes
