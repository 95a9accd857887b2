"""Whatever fits or does not fit the OpenAPI descriptions, there is never a 5xx."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case

from garant_local.settings import ROOT
from support.system import System

CONTRACTS = ROOT / "contracts" / "openapi"

accounts = schemathesis.openapi.from_path(CONTRACTS / "accounts.json")
deals = schemathesis.openapi.from_path(CONTRACTS / "deals.json")
chat = schemathesis.openapi.from_path(CONTRACTS / "chat.json")
payments = schemathesis.openapi.from_path(CONTRACTS / "payments.json")

fuzz = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def check(system: System, case: "Case[Any]") -> None:
    """Call the gateway and look at the answer."""
    headers = {"Authorization": f"Bearer {system.environment['ARBITER_API_KEY']}"}
    answer = case.call(base_url=system.environment["GATEWAY_URL"], headers=headers, timeout=30)
    assert answer.status_code < 500, f"{case.as_curl_command()} → {answer.status_code} {answer.text}"
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == ["application/problem+json"]


@accounts.parametrize()
@fuzz
def test_accounts(case: "Case[Any]", system: System) -> None:
    check(system, case)


@deals.parametrize()
@fuzz
def test_deals(case: "Case[Any]", system: System) -> None:
    check(system, case)


@payments.parametrize()
@fuzz
def test_payments(case: "Case[Any]", system: System) -> None:
    check(system, case)


@chat.parametrize()
@fuzz
def test_chat(case: "Case[Any]", system: System) -> None:
    check(system, case)
