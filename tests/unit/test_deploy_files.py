"""The files under deploy/ keep what they promise; no engine is needed to see that."""

import re
import shutil
import subprocess
import tomllib
from datetime import date
from pathlib import Path
from typing import cast

import pytest
import yaml

from worker.rules import PostgresAddress
from worker.settings import load
from worker.settings.sections import Timing

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = (
    ".ci/run",
    "deploy/bench",
    "deploy/compose-secrets",
    "deploy/demo",
    "deploy/test",
    "deploy/lib/environment.sh",
    "deploy/lib/install-packages",
    "deploy/lib/processes.sh",
    "deploy/requirements/renew",
)
HARDENING = {
    *("LockPersonality", "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateDevices"),
    *("PrivateIPC", "PrivateTmp", "PrivateUsers", "ProtectClock", "ProtectControlGroups"),
    *("ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules"),
    *("ProtectKernelTunables", "RemoveIPC", "RestrictNamespaces", "RestrictRealtime"),
    "RestrictSUIDSGID",
}
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^ ;]+)(?P<marker> ; [^\\]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def pins(group: str) -> dict[str, str]:
    """Versions of a group by package name; refuses any line that is no comment, pin or hash."""
    found: dict[str, str] = {}
    hashes = 0
    for line in (DEPLOY / "requirements" / f"{group}.txt").read_text("utf-8").splitlines():
        if match := PIN.match(line):
            assert not found or hashes, f"a pin without hashes stands before {line}"
            found[match["name"]] = match["version"]
            hashes = 0
        elif HASH.match(line):
            hashes += 1
        else:
            assert line.startswith("#"), line
    assert hashes
    return found


def wanted(group: str) -> set[str]:
    """Package names that a group's sources ask for."""
    if group == "run":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        lines = [*project["dependencies"], *project["optional-dependencies"]["uvloop"]]
    else:
        lines = (DEPLOY / "requirements" / f"{group}.in").read_text("utf-8").splitlines()
    return {re.split(r"[<>=!~\[ ;]", line)[0] for line in lines if not line.startswith("#")}


def directives(section: str) -> dict[str, list[str]]:
    """Settings of one section of the unit file; a name may occur more than once."""
    text = (DEPLOY / "systemd" / "payment-worker.service").read_text("utf-8")
    body = text.split(f"[{section}]\n", 1)[1].split("\n[", 1)[0]
    found: dict[str, list[str]] = {}
    for line in body.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_posix_sh(script: str) -> None:
    subprocess.run(["/bin/sh", "-n", ROOT / script], check=True)  # noqa: S603 - our own files
    text = (ROOT / script).read_text("utf-8")
    assert not re.search(r"\[\[|\bfunction \w|\blocal \w|<<<|\bpipefail\b", text)


@pytest.mark.parametrize("script", [name for name in SCRIPTS if not name.endswith(".sh")])
def test_every_command_is_executable_and_stops_at_a_fault(script: str) -> None:
    lines = (ROOT / script).read_text("utf-8").splitlines()
    assert lines[0] == "#!/bin/sh"
    assert "set -eu" in lines
    assert (ROOT / script).stat().st_mode & 0o111 == 0o111


@pytest.mark.parametrize("group", ["run", "build", "test", "bench"])
def test_requirements_are_pins_with_hashes_and_nothing_else(group: str) -> None:
    assert wanted(group) <= set(pins(group))


def test_tests_run_on_the_versions_that_are_shipped() -> None:
    shipped = pins("run") | pins("build")
    assert shipped.items() <= pins("test").items()


def test_what_the_bench_compares_with_runs_on_the_versions_that_are_shipped() -> None:
    shipped, compared = pins("run"), pins("bench")
    assert shipped.items() >= {(name, compared[name]) for name in shipped.keys() & compared.keys()}
    group = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    assert {name.partition("[")[0] for name in group["bench"]} == wanted("bench")


def test_the_image_installs_by_hash_and_runs_as_a_numbered_user() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    instructions = text.replace("\\\n", " ").splitlines()
    stages = [line for line in instructions if line.startswith("FROM ")]
    assert stages == ["FROM ${PYTHON_IMAGE} AS build", "FROM ${PYTHON_IMAGE}"]
    for line in instructions:
        if "--requirement" in line:
            assert line.count("--requirement") == line.count("--require-hashes")
    assert "USER 10001:10001" in instructions
    assert any(line.split() == ["HEALTHCHECK", *line.split()[1:]] for line in instructions)
    assert '["payment-worker", "healthcheck"]' in text
    assert [line for line in instructions if line.startswith("ARG")] == [
        "ARG PYTHON_IMAGE=python:3.11-slim"
    ]
    copied = [
        line.split()[1:-1] for line in instructions if line.startswith("COPY ") and "--" not in line
    ]
    for source in [name for names in copied for name in names]:
        assert (ROOT / source).exists() or source == "README.md", source


def test_the_build_context_is_a_list_of_what_may_enter_it() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    assert {line[1:] for line in rules if line.startswith("!")} == {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "worker",
        "deploy/requirements",
    }


def compose_services() -> dict[str, dict[str, object]]:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    return cast("dict[str, dict[str, object]]", yaml.safe_load(text)["services"])


@pytest.mark.parametrize("name", ["worker", "simulator"])
def test_our_containers_may_do_as_little_as_possible(name: str) -> None:
    service = compose_services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - a name in a file, not a file of ours
    assert "privileged" not in service


def test_no_secret_stands_in_the_compose_file() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    document = yaml.safe_load(text)
    assert all(set(secret) == {"file"} for secret in document["secrets"].values())
    worker = cast("dict[str, str]", document["services"]["worker"]["environment"])
    for name in worker:
        assert not re.search(r"PASSWORD|KEY|SECRET|TOKEN", name), name


def test_the_compose_settings_and_secrets_are_what_the_worker_wants(tmp_path: Path) -> None:
    """Each secret file the script makes is declared, mounted and read, and none is missing."""
    made = subprocess.run(  # noqa: S603 - our own script
        [DEPLOY / "compose-secrets", tmp_path], check=True, capture_output=True
    )
    assert made.stdout + made.stderr == b""
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    names = {file.name for file in tmp_path.iterdir()}
    assert names == set(document["secrets"]) == set(document["services"]["worker"]["secrets"])
    loaded = load(
        today=date(2026, 11, 21),
        config=DEPLOY / "compose.settings.toml",
        environment=document["services"]["worker"]["environment"],
        container_secrets=tmp_path,
    )
    settings = loaded.settings
    assert settings.broker.password.get_secret_value() not in {"", "demo"}
    broker = document["services"]["rabbitmq"]["environment"]
    assert settings.broker.user == broker["RABBITMQ_DEFAULT_USER"]
    assert settings.broker.virtual_host == broker["RABBITMQ_DEFAULT_VHOST"]
    port = document["services"]["simulator"]["command"][-1]
    for account in settings.accounts.values():
        assert account.test is not None
        assert account.test.base_url.startswith(f"http://127.0.0.1:{port}")
    volume = document["services"]["worker"]["volumes"][0]
    assert settings.ledger.path.parent == Path(volume.partition(":")[2])


def test_the_compose_variant_puts_the_ledger_into_a_database_that_is_there(tmp_path: Path) -> None:
    """The base file with the variant over it, as an engine merges the two."""
    subprocess.run([DEPLOY / "compose-secrets", "--postgres", tmp_path], check=True)  # noqa: S603
    variant = yaml.safe_load((DEPLOY / "compose.postgres.yaml").read_text("utf-8"))
    base = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    worker, database = variant["services"]["worker"], variant["services"]["postgres"]
    assert {file.name for file in tmp_path.iterdir()} == {*base["secrets"], *variant["secrets"]}
    assert worker["secrets"] == database["secrets"] == list(variant["secrets"])
    assert all(set(secret) == {"file"} for secret in variant["secrets"].values())
    place = load(
        today=date(2026, 11, 21),
        config=DEPLOY / "compose.settings.toml",
        environment=base["services"]["worker"]["environment"] | worker["environment"],
        container_secrets=tmp_path,
    ).settings.ledger_place()
    assert isinstance(place, PostgresAddress)
    assert place.host in variant["services"]
    assert place.user == database["environment"]["POSTGRES_USER"]
    assert place.database == database["environment"]["POSTGRES_DB"]
    made = Path(database["environment"]["POSTGRES_PASSWORD_FILE"]).name
    assert place.password is not None
    assert place.password.reveal() == (tmp_path / made).read_text("utf-8").rstrip()


def test_secrets_that_exist_are_kept(tmp_path: Path) -> None:
    """A new ledger key would make every link in the ledger unreadable."""
    found: list[str] = []
    for _ in range(2):
        subprocess.run([DEPLOY / "compose-secrets", tmp_path], check=True)  # noqa: S603 - ours
        found.append((tmp_path / "payment_worker_ledger__keys").read_text("utf-8"))
    assert found[0] == found[1]


def seconds(text: object) -> int:
    match = re.fullmatch(r"(\d+)s?", str(text))
    assert match is not None, text
    return int(match[1])


def test_supervisors_wait_longer_than_the_drain() -> None:
    """Killed earlier, a worker leaves calls under way: their payments would end in doubt."""
    timing = Timing()
    grace = timing.stop_grace_seconds
    assert timing.delivery_seconds < timing.drain_seconds < grace
    assert seconds(directives("Service")["TimeoutStopSec"][0]) >= grace
    assert seconds(compose_services()["worker"]["stop_grace_period"]) >= grace


def test_the_unit_runs_as_a_fixed_user_with_secrets_from_files() -> None:
    service = directives("Service")
    assert service["User"] == ["payment-worker"]
    assert "DynamicUser" not in service
    assert "Environment" not in service
    assert service["StateDirectoryMode"] == ["0700"]
    assert service["RestartPreventExitStatus"] == ["78"]


def test_the_unit_brings_the_secrets_that_the_example_settings_need(tmp_path: Path) -> None:
    """Secrets of the compose file serve: only the names matter here."""
    subprocess.run([DEPLOY / "compose-secrets", tmp_path / "made"], check=True)  # noqa: S603 - ours
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for value in directives("Service")["LoadCredential"]:
        name, _, source = value.partition(":")
        assert Path(source).name == name
        (credentials / name).write_bytes((tmp_path / "made" / name).read_bytes())
        (credentials / name).chmod(0o400)
    loaded = load(
        today=date(2026, 11, 21),
        config=DEPLOY / "settings.example.toml",
        environment={"CREDENTIALS_DIRECTORY": str(credentials)},
        container_secrets=tmp_path / "none",
    )
    state = Path("/var/lib") / directives("Service")["StateDirectory"][0]
    assert loaded.settings.ledger.path.parent == state
    assert loaded.settings.heartbeat_file().parent == state


def test_the_unit_waits_for_a_readiness_message_only_if_one_is_sent() -> None:
    """Type=notify with a program that says nothing is killed after the start time-out."""
    sources = (file.read_text("utf-8") for file in (ROOT / "worker").rglob("*.py"))
    speaks = any("NOTIFY_SOCKET" in text for text in sources)
    assert directives("Service")["Type"] == ["notify" if speaks else "exec"]


def test_the_unit_is_hardened_to_exposure_1_2() -> None:
    """Measured with systemd 252; where the tool is missing the directives behind it must do."""
    service = directives("Service")
    switches = {name for name, values in service.items() if values == ["yes"]}
    assert switches >= HARDENING
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == [""]
    if tool := shutil.which("systemd-analyze"):
        subprocess.run(  # noqa: S603 - a tool of the system, on our own file
            [
                tool,
                "security",
                "--offline=true",
                "--threshold=12",
                "--no-pager",
                DEPLOY / "systemd" / "payment-worker.service",
            ],
            check=True,
            capture_output=True,
        )
