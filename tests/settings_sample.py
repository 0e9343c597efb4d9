"""A complete and sound set of settings, as text and as names, for tests to bend."""

from pathlib import Path

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


def write_settings(directory: Path, text: str = SAMPLE) -> Path:
    """Write a settings file that others may not read, and return where it is."""
    file = directory / "settings.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


def write_secrets(directory: Path, secrets: dict[str, str]) -> Path:
    """Write one secret file for each name, as systemd or Docker would, each with a newline."""
    directory.mkdir(exist_ok=True)
    for name, value in secrets.items():
        file = directory / name.lower()
        file.write_text(f"{value}\n", encoding="utf-8")
        file.chmod(0o400)
    return directory
