"""What runs, with which settings, and in which order it starts."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from common.migrate import upgrade
from common.provision import provision, provision_schema
from garant_local.nats import Nats, binary
from garant_local.postgres import Postgres
from garant_local.secrets import (
    SERVICES,
    bootstrap_keys,
    load_secrets,
    public_key,
    service_callers,
    signer_callers,
    store_secrets,
    write_private,
)
from garant_local.settings import ROOT, LocalSettings
from garant_local.supervisor import Spec, StartError, Supervisor

SERVERS_STOP_LAST = 1
NOTHING: Mapping[str, str] = {}
COMMAND_TIMEOUT_S = 60
DRAIN_S = "4"
"""Less than the supervisor waits before it kills: a person at Ctrl-C waits, too."""
CONNECTIONS_PER_ADDRESS = "20000"
"""As many as a process of the chat takes: here all its clients have one address."""
FUEL_PER_HOUR_SUN = str(10**12)
"""All that the faucet gives the fuel wallet: here TRX costs nothing."""


@dataclass(slots=True)
class Stack:
    """Everything one run needs to know."""

    settings: LocalSettings
    secrets: dict[str, Any]
    postgres: Postgres
    nats: Nats

    @classmethod
    def prepare(cls, settings: LocalSettings) -> "Stack":
        """Make secrets and the PostgreSQL cluster where there are none."""
        secrets = load_secrets(settings.data)
        postgres = Postgres.prepare(settings.data, settings.ports["postgres"], secrets["postgres"])
        return cls(
            settings,
            secrets,
            postgres,
            Nats(settings.data, settings.ports["nats"], secrets["nats"]),
        )

    @classmethod
    def elsewhere(cls, settings: LocalSettings, secrets: dict[str, Any]) -> "Stack":
        """Return the stack that containers run, with these secrets, on the same ports."""
        nowhere = Path(os.devnull)
        return cls(
            settings,
            secrets,
            Postgres(nowhere, settings.ports["postgres"], secrets["postgres"], None, nowhere),
            Nats(nowhere, settings.ports["nats"], secrets["nats"]),
        )

    async def start(self, supervisor: Supervisor, tell: Callable[[str], None]) -> None:
        """Start everything, telling each step; return when all of it is ready."""
        await asyncio.gather(*(supervisor.start(spec) for spec in self._servers()))
        owner = self.postgres.url("postgres")
        for service in SERVICES:
            await provision(owner, self._service_database(service))
        await provision_schema(owner, self._signer_environment()["SIGNER_DATABASE_URL"], "signer")
        for service in SERVICES:
            tell(f"migrating the database of {service}")
            await asyncio.to_thread(
                upgrade,
                ROOT / "services" / service / "migrations",
                self.postgres.url(database(service)),
            )
        tell("making the API keys of two tenants known")
        await self._command("accounts", "bootstrap", more={"BOOTSTRAP_KEYS": bootstrap_keys(self.secrets)})
        if "wallets" not in self.secrets:
            tell("creating the wallets' seed and funding the fuel wallet")
            await self.create_wallets()
        tell("starting the services and the gateway")
        await asyncio.gather(
            *(supervisor.start(self._service(s)) for s in SERVICES),
            supervisor.start(self._signer()),
            supervisor.start(self._gateway()),
        )

    def _servers(self) -> list[Spec]:
        return [
            Spec(
                "postgres",
                self.postgres.argv(),
                self.postgres.answers,
                user=self.postgres.user,
                stop_signal=signal.SIGINT,
                stop_order=SERVERS_STOP_LAST,
            ),
            Spec("nats", self.nats.argv(), self.nats.answers, stop_order=SERVERS_STOP_LAST),
            Spec(
                "tron",
                [sys.executable, "-m", "tron_sandbox", *self._sandbox_arguments()],
                answers(self.base_url("tron") + "/wallet/getnowblock"),
                stop_order=SERVERS_STOP_LAST,
            ),
        ]

    def _sandbox_arguments(self) -> list[str]:
        port, chain = str(self.settings.ports["tron"]), str(self.settings.data / "tron" / "chain.jsonl")
        return ["--port", port, "--block-interval", "1", "--solid", "3", "--state", chain]

    def _service(self, name: str) -> Spec:
        return Spec(
            name,
            [sys.executable, "-m", name, "serve"],
            answers(self.base_url(name) + "/readyz"),
            self._environment(name),
        )

    def _signer(self) -> Spec:
        return Spec(
            "signer",
            [sys.executable, "-m", "payments", "signer"],
            answers(self.base_url("signer") + "/readyz"),
            self._signer_environment(),
        )

    def _gateway(self) -> Spec:
        gateway = ROOT / "deploy" / "gateway"
        home = str(self.settings.data / "caddy")
        return Spec(
            "gateway",
            [
                binary("caddy"),
                "run",
                "--config",
                str(gateway / "Caddyfile"),
                "--adapter",
                "caddyfile",
            ],
            answers(f"{self.base_url('gateway')}/docs"),
            {
                "HOME": home,
                "XDG_DATA_HOME": home,
                "XDG_CONFIG_HOME": home,
                "GATEWAY_SITE": str(gateway / "site"),
                "GATEWAY_ADDRESS": f"http://:{self.settings.ports['gateway']}",
                **{f"{s.upper()}_UPSTREAM": f"127.0.0.1 {self.settings.ports[s]}" for s in SERVICES},
            },
        )

    def base_url(self, process: str) -> str:
        """Return the URL of a process on loopback."""
        return f"http://127.0.0.1:{self.settings.ports[process]}"

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PYTHONUNBUFFERED": "1",
            "DRAIN_S": DRAIN_S,
            "NATS_URL": self.nats.url,
            "SERVICE_CREDENTIAL": self.secrets[name],
            "SERVICE_CALLERS": service_callers(self.secrets),
            f"{name.upper()}_DATABASE_URL": self._service_database(name),
            "CHAT_TOKEN_PRIVATE_KEY": self.secrets["chat_token_private_key"],
            "CHAT_TOKEN_PUBLIC_KEY": public_key(self.secrets["chat_token_private_key"]),
            "CHAT_ACCEPT_PLAIN_CHAT_ID": os.environ.get("CHAT_ACCEPT_PLAIN_CHAT_ID", "true"),
            "CHAT_CONNECTIONS_PER_ADDRESS": os.environ.get(
                "CHAT_CONNECTIONS_PER_ADDRESS", CONNECTIONS_PER_ADDRESS
            ),
            "TRON_NODE_URL": self.base_url("tron"),
            **(self._signer_access() if name == "payments" else {}),
            "TRON_SCAN_INTERVAL_S": "0.5",
            "TRON_NODE_CALLS_PER_S": "1000",  # our own sandbox node has no limit
            "PAYMENTS_CHECK_INTERVAL_S": "5",
            **{f"{s.upper()}_PORT": str(self.settings.ports[s]) for s in SERVICES},
            **{f"{s.upper()}_URL": self.base_url(s) for s in SERVICES},
        }

    def _service_database(self, name: str) -> str:
        return self.postgres.url(database(name), database(name), self.secrets[name])

    def _signer_access(self) -> dict[str, str]:
        """Return what payments alone is told: how to reach the signer."""
        return {"SIGNER_URL": self.base_url("signer"), "SIGNER_CREDENTIAL": self.secrets["signer_credential"]}

    def _signer_environment(self) -> dict[str, str]:
        """Return what the signer and the commands of the seed are told; no other process has the key file."""
        own = self.postgres.url(database("payments"), database("signer"), self.secrets["signer"])
        return {
            "PYTHONUNBUFFERED": "1",
            "DRAIN_S": DRAIN_S,
            "SERVICE_CALLERS": signer_callers(self.secrets),
            "SIGNER_DATABASE_URL": own,
            "SIGNER_PORT": str(self.settings.ports["signer"]),
            "PAYMENTS_SEED_KEY_FILE": str(self.settings.data / "seed.key"),
            "SIGNER_FUEL_PER_HOUR_SUN": os.environ.get("SIGNER_FUEL_PER_HOUR_SUN", FUEL_PER_HOUR_SUN),
        }

    async def create_wallets(self) -> None:
        """Make the seed where there is none, and give its fuel wallet TRX and its main wallet USDT, once."""
        write_private(self.settings.data / "seed.key", self.secrets["seed_key"] + "\n")
        made = json.loads(await self._command("payments", "create-seed", more=self._signer_environment()))
        wallets = {name: made[name] for name in ("main_wallet", "fuel_wallet")}
        if self.secrets.get("wallets") == wallets:
            return
        url = self.base_url("tron") + "/admin/faucet"
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            for address, money in (
                (made["fuel_wallet"], {"trx": "1000000"}),
                (made["main_wallet"], {"trx": "100000", "usdt": "1"}),
            ):
                (await client.post(url, json={"address": address, **money})).raise_for_status()
        self.secrets["wallets"] = wallets
        store_secrets(self.settings.data, self.secrets)

    async def _command(self, service: str, *arguments: str, more: Mapping[str, str] = NOTHING) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            service,
            *arguments,
            env={**os.environ, **self._environment(service), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise StartError(f"python -m {service} {' '.join(arguments)}: {err.decode().strip()}")
        return out.decode()

    def run_env(self) -> dict[str, str]:
        """Return what clients are told, and operators: the owner's databases and the internal endpoints."""
        return {
            "GATEWAY_URL": self.base_url("gateway"),
            **self.secrets["keys"],
            "TRON_NODE_URL": self.base_url("tron"),
            "TRON_MAIN_WALLET": os.environ.get("TRON_MAIN_WALLET") or self.secrets["wallets"]["main_wallet"],
            "NATS_URL": self.nats.url,
            **{f"{s.upper()}_DATABASE_URL": self.postgres.url(database(s)) for s in SERVICES},
            **{f"{s.upper()}_URL": self.base_url(s) for s in SERVICES},
            "OPERATOR_CREDENTIAL": self.secrets["operator"],
            **{
                name: self._signer_environment()[name]
                for name in ("SIGNER_DATABASE_URL", "PAYMENTS_SEED_KEY_FILE")
            },
        }


def database(service: str) -> str:
    """Return the name of a service's database, and of its role."""
    return f"garant_{service}"


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Return a check that asks `url` for a 200."""

    async def check() -> bool:
        try:
            async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
                return (await client.get(url)).status_code == 200
        except httpx.HTTPError:
            return False

    return check
