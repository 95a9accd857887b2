"""`make demo`: the whole story against a running system, with wallets of its own and real signatures.

Exit code 1, with the reason, when anything is not as it must be. It can be run again and again.
"""

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import socketio
from tronpy import AsyncTron
from tronpy.keys import PrivateKey
from tronpy.providers import AsyncHTTPProvider

from garant_local.settings import SettingError, read_settings

USDT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
WAIT_S = 90.0
GREEN, DIM, RESET = "\033[32m", "\033[2m", "\033[0m"


class Wrong(Exception):
    """Something is not as it must be."""


def read_run_env(path: Path) -> dict[str, str]:
    """Read `run.env`.

    Raises:
        Wrong: when it is not there: nothing runs.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise Wrong(f"{path} is not there: start the system with `make run` and wait for `ready`") from error
    return dict(line.split("=", 1) for line in lines if "=" in line)


def expect(found: object, wanted: object, what: str) -> None:
    """Compare.

    Raises:
        Wrong: when they differ.
    """
    if found != wanted:
        raise Wrong(f"{what}: {found!r} instead of {wanted!r}")


@dataclass(slots=True)
class Story:
    """The teller: one line a step, with the time it took."""

    environment: dict[str, str]
    http: httpx.AsyncClient
    started: float = field(default_factory=time.monotonic)

    def tell(self, text: str) -> None:
        """Tell a step."""
        now = time.monotonic()
        took = f"{now - self.started:6.2f} s"
        self.started = now
        coloured = sys.stdout.isatty()
        print(f"{GREEN}✓{RESET} {DIM}{took}{RESET}  {text}" if coloured else f"ok {took}  {text}", flush=True)

    async def call(self, method: str, path: str, body: Any = None, key: str = "API_KEY") -> Any:
        """Call the API and return its answer.

        Raises:
            Wrong: for any status but 200, 202 and 204.
        """
        headers = {"authorization": f"Bearer {self.environment[key]}"}
        answer = await self.http.request(method, f"/api/v1{path}", json=body, headers=headers)
        if answer.status_code not in (200, 202, 204):
            raise Wrong(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    async def until(self, path: str, accept: Callable[[Any], bool], what: str) -> Any:
        """Ask until the answer is accepted.

        Raises:
            Wrong: when it is not in time.
        """
        deadline = time.monotonic() + WAIT_S
        while True:
            found = await self.call("GET", path)
            if accept(found):
                return found
            if time.monotonic() > deadline:
                raise Wrong(f"{what} did not happen in {WAIT_S:.0f} s; last: {found}")
            await asyncio.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Cast:
    """The two users."""

    alice: int
    bob: int


async def play(story: Story) -> None:
    """Play the story from the first user to the ledger's proof."""
    cast = await _users(story)
    deal = await _first_deal(story, cast)
    await _pay(story, cast, deal)
    await _chat(story, cast, deal)
    await _close(story, cast, deal)
    await _dispute(story, cast)
    await _withdraw(story, cast)
    await _prove(story, cast)


async def _users(story: Story) -> Cast:
    ids = []
    for name in ("Alice", "Bob"):
        body = {"name": name, "external_id": secrets.randbelow(2**62) + 1}
        ids.append((await story.call("POST", "/user/", body))["id"])
    story.tell(f"Alice (customer) is user {ids[0]}, Bob (performer) is user {ids[1]}")
    return Cast(*ids)


async def _new_deal(story: Story, cast: Cast, title: str, price: str) -> dict[str, Any]:
    body = {
        "title": title,
        "description": "made by the demo",
        "price": price,
        "customer_id": cast.alice,
        "performer_id": cast.bob,
    }
    deal: dict[str, Any] = await story.call("POST", "/deal/", body)
    expect(deal["status"], "created", "the new deal")
    return deal


async def _first_deal(story: Story, cast: Cast) -> dict[str, Any]:
    deal = await _new_deal(story, cast, "A logo", "25")
    story.tell(f"deal {deal['deal_id']} for 25 USDT is created")
    confirmed = await story.call("POST", f"/deal/{deal['deal_id']}/confirm")
    expect(confirmed["status"], "waiting_for_payment", "the confirmed deal")
    story.tell("Bob confirms; Alice has no money, so the deal waits for payment")
    return deal


async def _pay(story: Story, cast: Cast, deal: dict[str, Any]) -> None:
    body = {"gateway_id": "tron_usdt", "user_id": cast.alice, "amount": "40", "currency": "USDT"}
    payment = await story.call("POST", "/payment", body)
    address = payment["gateway_data"]["address"]
    story.tell(f"payment {payment['payment_id']} of 40 USDT waits at {address}")
    txid = await _send_usdt(story, address, 40_000_000)
    story.tell(f"Alice signs and sends 40 USDT on chain, {txid[:16]}…")
    await story.until(f"/deal/{deal['deal_id']}", lambda d: d["status"] == "confirmed", "the deal's confirmation")
    story.tell("the transfer is solid, Alice is credited, and the deal confirms by itself")
    await _expect_balance(story, cast.alice, "15.000000", "Alice's balance beside the held 25")
    await story.until(
        f"/payment/{payment['payment_id']}", lambda p: p["status"] == "success", "the payment's success"
    )
    story.tell("the wallet is swept to the main wallet and the payment is a success")


async def _send_usdt(story: Story, address: str, units: int) -> str:
    """Send USDT from a new wallet of Alice's own, signed here."""
    node = story.environment["TRON_NODE_URL"]
    key = PrivateKey.random()
    sender = key.public_key.to_base58check_address()
    async with httpx.AsyncClient(timeout=60, trust_env=False) as faucet:
        body = {"address": sender, "trx": "50", "usdt": "40"}
        (await faucet.post(f"{node}/admin/faucet", json=body)).raise_for_status()
    async with AsyncTron(AsyncHTTPProvider(node)) as tron:
        contract = await tron.get_contract(USDT)
        call = await contract.functions.transfer(address, units)
        tx = await call.with_owner(sender).fee_limit(30_000_000).build()
        sent = await tx.sign(key).broadcast()
        info = await sent.wait(interval=0.3)
        expect(info["receipt"]["result"], "SUCCESS", "the transfer on chain")
        return str(sent.txid)


async def _expect_balance(story: Story, user: int, wanted: str, what: str) -> None:
    found = await story.call("GET", f"/user/{user}/balance")
    expect({b["currency"]: b["balance"] for b in found}["USDT"], wanted, what)


async def _withdraw(story: Story, cast: Cast) -> None:
    """Bob takes a part of what he earned out, to an address of his own."""
    to = PrivateKey.random().public_key.to_base58check_address()
    body = {"gateway_id": "tron_usdt", "user_id": cast.bob, "amount": "5", "currency": "USDT", "address": to}
    asked = await story.call("POST", "/payment/withdrawal", body, key="WITHDRAW_API_KEY")
    await _expect_balance(story, cast.bob, "20.000000", "Bob's balance beside the 5 on their way")
    path = f"/payment/withdrawal/{asked['withdrawal_id']}"
    done = await story.until(path, lambda w: w["status"] == "success", "the withdrawal's success")
    story.tell(f"Bob withdraws 5 USDT to {to}: {done['txid'][:16]}… is solid and booked")


@asynccontextmanager
async def _entered(story: Story, token: str, heard: Callable[[str], None]) -> AsyncIterator[socketio.AsyncClient]:
    """Enter a chat; `heard` is called with each message."""
    client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
    client.on("message", lambda message: heard(message["message"]))
    url = story.environment["GATEWAY_URL"]
    await client.connect(url, auth={"token": token}, transports=["websocket"], wait_timeout=10)
    try:
        yield client
    finally:
        await client.disconnect()


async def _chat(story: Story, cast: Cast, deal: dict[str, Any]) -> None:
    path = f"/deal/{deal['deal_id']}/chat_token"
    tokens = [(await story.call("POST", path, {"user_id": u}))["token"] for u in (cast.alice, cast.bob)]
    said = ["Hello Bob, how is the logo?", "Nearly done!", "Lovely, thank you."]
    heard, complete = list[str](), asyncio.Event()

    def alice_hears(text: str) -> None:
        heard.append(text)
        if len(heard) == len(said):
            complete.set()

    async with (
        _entered(story, tokens[0], alice_hears) as alice,
        _entered(story, tokens[1], lambda _: None) as bob,
    ):
        speakers = ((alice, cast.alice), (bob, cast.bob), (alice, cast.alice))
        for (client, user), text in zip(speakers, said, strict=True):
            ack = await client.call("message", {"user_id": user, "message": text}, timeout=10)
            if "seq" not in ack:
                raise Wrong(f"the chat refused a message: {ack}")
        async with asyncio.timeout(10):
            await complete.wait()
        expect(heard, said, "what Alice heard in the chat")
    story.tell(f"Alice and Bob exchange {len(said)} messages in the deal's chat")


async def _close(story: Story, cast: Cast, deal: dict[str, Any]) -> None:
    closed = await story.call("POST", f"/deal/{deal['deal_id']}/close")
    expect(closed["status"], "close", "the closed deal")
    await _expect_balance(story, cast.bob, "25.000000", "Bob's balance")
    story.tell("Alice accepts the work: the deal is closed and Bob has 25 USDT")


async def _dispute(story: Story, cast: Cast) -> None:
    deal = await _new_deal(story, cast, "A banner", "10")
    path = f"/deal/{deal['deal_id']}"
    confirmed = await story.call("POST", f"{path}/confirm")
    expect(confirmed["status"], "confirm_performer", "the second deal")
    story.tell(f"deal {deal['deal_id']} for 10 USDT is paid from Alice's balance at once")
    about = {"title": "Never delivered", "description": "Bob is gone"}
    disputed = await story.call("POST", f"{path}/dispute/", about)
    expect(disputed["status"], "dispute", "the disputed deal")
    decided = await story.call("POST", f"{path}/dispute/close_customer", key="ARBITER_API_KEY")
    expect(decided["status"], "arb_close_customer", "the decided dispute")
    await _expect_balance(story, cast.alice, "15.000000", "Alice's balance after the refund")
    story.tell("Alice opens a dispute, and the arbiter gives her the money back")


async def _prove(story: Story, cast: Cast) -> None:
    await _expect_balance(story, cast.alice, "15.000000", "Alice's balance")
    await _expect_balance(story, cast.bob, "20.000000", "Bob's balance")
    story.tell("balances: Alice 15.000000 USDT, Bob 20.000000 USDT; 40 came in, 5 went out, 35 are there")
    proof = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "accounts", "verify"],
        env={**os.environ, **story.environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if proof.returncode != 0:
        raise Wrong(f"the ledger does not hold:\n{proof.stdout}{proof.stderr}")
    story.tell("every balance is the sum of its adjustments, and every operation sums to zero")


async def _run(environment: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=environment["GATEWAY_URL"], timeout=30, trust_env=False) as http:
        await play(Story(environment, http))


def demo() -> int:
    """Play the story; return the exit code."""
    started = time.monotonic()
    try:
        environment = read_run_env(read_settings(os.environ).run_env)
        asyncio.run(_run(environment))
    except (Wrong, SettingError, httpx.HTTPError, TimeoutError) as error:
        print(f"error: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(f"the whole story in {time.monotonic() - started:.1f} s")
    return 0
