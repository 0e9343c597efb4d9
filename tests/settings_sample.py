"""A complete and sound set of settings, as text and as names, for tests to bend."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType

from worker.settings import Loaded, SettingsError, SettingsFault, load

TODAY = date(2026, 11, 21)

KEY = "c3VjaCBhIGdvb2Qga2V5LCAzMiBieXRlcyBvZiBpdCE="

SAMPLE = """
environment = "staging"

[broker]
user = "payworker"

[results.subscribers]
dcp = ["dcp", "web"]

[accounts.safedebit]
provider = "link"

[accounts.safedebit.test]
base_url = "https://link.test.example/ssp"
login = "merchant-test"
link_hosts = ["pay.test.example"]

[accounts.safedebit.test.companies.1]
beneficiary_reference = "395000000000001"
phone_number = "0600000000"
url_callback = "https://back.test.example/cb/{reference}"

[accounts.combo]
provider = "basket"

[accounts.combo.test]
base_url = "https://combo.test.example"
login = "pay.test.example"

[accounts.combo.test.companies.1]
regie_id = "cantine"
item_url = "https://back.test.example/i/{reference}/"
display_name = "Commande {id_commande}"
"""

SECRETS = {
    "PAYMENT_WORKER_BROKER__PASSWORD": "broker-password",
    "PAYMENT_WORKER_LEDGER__KEYS": KEY,
    "PAYMENT_WORKER_ACCOUNTS__SAFEDEBIT__TEST__PASSWORD": "link-password",
    "PAYMENT_WORKER_ACCOUNTS__COMBO__TEST__PASSWORD": "basket-password",
}
"""The secrets the sample needs, as environment variables."""

LIVE = """
[accounts.safedebit.live]
base_url = "https://link.example/ssp"
login = "merchant-live"
link_hosts = ["pay.example"]

[accounts.safedebit.live.companies.1]
beneficiary_reference = "395000000000001"
phone_number = "0600000000"
url_callback = "https://back.example/cb/{reference}"

[accounts.combo.live]
base_url = "https://combo.example"
login = "pay.example"

[accounts.combo.live.companies.1]
regie_id = "cantine"
item_url = "https://back.example/i/{reference}/"
display_name = "Commande {id_commande}"
"""

LIVE_SECRETS = {
    "PAYMENT_WORKER_ACCOUNTS__SAFEDEBIT__LIVE__PASSWORD": "link-password-live",
    "PAYMENT_WORKER_ACCOUNTS__COMBO__LIVE__PASSWORD": "basket-password-live",
}

NOWHERE = Path("/nonexistent/secrets")


def write_settings(directory: Path, text: str = SAMPLE) -> Path:
    """Write a settings file that others may not read, and return where it is."""
    file = directory / "settings.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


def write_secrets(directory: Path, secrets: Mapping[str, str]) -> Path:
    """Write one secret file for each name, as systemd or Docker would, each with a newline."""
    directory.mkdir(exist_ok=True)
    for name, value in secrets.items():
        file = directory / name.lower()
        file.write_text(f"{value}\n", encoding="utf-8")
        file.chmod(0o400)
    return directory


def load_sample(
    directory: Path,
    text: str = SAMPLE,
    *,
    today: date = TODAY,
    without: tuple[str, ...] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Loaded:
    """Load a settings text with the sample's secrets and further ``PAYMENT_WORKER_`` variables."""
    environment = {name: each for name, each in SECRETS.items() if name not in without}
    environment |= {f"PAYMENT_WORKER_{name}": value for name, value in variables.items()}
    return load(
        today=today,
        config=write_settings(directory, text),
        environment=environment,
        container_secrets=NOWHERE,
    )


def faults_in(
    directory: Path,
    text: str = SAMPLE,
    *,
    today: date = TODAY,
    without: tuple[str, ...] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, SettingsFault]:
    """Faults of a settings text by name; empty when it is sound."""
    try:
        load_sample(directory, text, today=today, without=without, variables=variables)
    except SettingsError as error:
        return {fault.name: fault for fault in error.faults}
    return {}
