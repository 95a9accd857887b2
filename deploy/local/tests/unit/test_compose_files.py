"""docker-compose.yml and what explains it."""

import re
from pathlib import Path

from chat.settings import ChatSettings
from garant_local.secret_files import write_secret_files
from garant_local.settings import PORTS, ROOT
from garant_local.stack import CONNECTIONS_PER_ADDRESS

COMPOSE = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::?[-?]([^}]*))?\}")


def test_every_setting_is_explained_with_its_default() -> None:
    used = {
        name: "" if default.startswith("is not set") else default for name, default in VARIABLE.findall(COMPOSE)
    }
    explained = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / "deploy" / ".env.example").read_text(), re.M))

    used["DOMAIN"] = ""  # its default is the gateway's address without one
    assert explained == used


def test_the_sandbox_sets_only_what_is_a_setting() -> None:
    both = COMPOSE + (ROOT / "deploy" / "compose.sandbox.yml").read_text()
    known = {name for name, _ in VARIABLE.findall(both)} | {"COMPOSE_FILE", "COMPOSE_PROFILES"}
    chosen = re.findall(r"^([A-Z_]+)=", (ROOT / "deploy" / "sandbox.env").read_text(), re.M)

    assert set(chosen) <= known
    assert {variable for variable, _ in PORTS.values()} - {"GATEWAY_PORT"} <= known


def test_for_development_one_address_may_have_all_connections_of_the_chat() -> None:
    most = str(ChatSettings.model_fields["chat_connections"].default)
    sandbox = (ROOT / "deploy" / "compose.sandbox.yml").read_text()

    assert most == CONNECTIONS_PER_ADDRESS
    assert dict(VARIABLE.findall(sandbox))["CHAT_CONNECTIONS_PER_ADDRESS"] == most


def test_the_sandbox_has_a_project_of_its_own() -> None:
    (real,) = re.findall(r"^name: \$\{COMPOSE_PROJECT_NAME:-([a-z-]+)\}$", COMPOSE, re.M)
    sandbox = (ROOT / "deploy" / "sandbox.env").read_text()

    (own,) = re.findall(r"^COMPOSE_PROJECT_NAME=([a-z-]+)$", sandbox, re.M)
    assert own != real


def test_every_secret_is_a_file_that_is_made_and_no_value_is_in_the_composition(tmp_path: Path) -> None:
    named = re.findall(r"^  (\w+): \{file: \"\$\{GARANT_SECRETS:-\./deploy/secrets\}/(\w+)\"\}$", COMPOSE, re.M)
    secrets = write_secret_files(tmp_path)

    assert len(named) > 15
    assert all(name == file and (tmp_path / file).read_text().strip() for name, file in named)
    assert not re.search(r"(PASSWORD|CREDENTIAL|PRIVATE_KEY|DATABASE_URL): *[^$ ]", COMPOSE)
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert "other" not in (tmp_path / "bootstrap_keys").read_text()
    assert secrets["keys"]["API_KEY"] in (tmp_path / "bootstrap_keys").read_text()


def test_secrets_are_made_once_and_what_a_person_wrote_is_kept(tmp_path: Path) -> None:
    first = write_secret_files(tmp_path)
    (tmp_path / "tron_node_keys").write_text('{"https://node": "key"}')

    assert write_secret_files(tmp_path) == first
    assert (tmp_path / "tron_node_keys").read_text() == '{"https://node": "key"}'
