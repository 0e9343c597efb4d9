"""Settings of the demonstration: a staging worker, two simulated accounts, one company."""

import json
from pathlib import Path

from worker.adapters.encryption import generate_key
from worker.rules import BrokerAddress

_TEXT = """
environment = "staging"
deployment = "demo"

[broker]
host = {host}
port = {port}
virtual_host = {virtual_host}
user = {user}
password = {password}
tls = {tls}
prefix = {prefix}

[topology]
declare = true

[results.subscribers]
demo = ["demo", "unknown"]

[ledger]
path = {ledger}
keys = [{key}]

[probes]
port = 0

[accounts.links]
provider = "link"

[accounts.links.test]
base_url = {link_base_url}
login = "demo"
password = "demo"
link_hosts = ["pay.simulator.example"]

[accounts.links.test.companies."1"]
beneficiary_reference = "395000000000001"
phone_number = "0600000000"
url_callback = "https://pay.example.org/callback/{{reference}}"

[accounts.basket]
provider = "basket"

[accounts.basket.test]
base_url = {basket_base_url}
login = "demo.example"
password = "demo"
link_hosts = ["pay.simulator.example"]

[accounts.basket.test.companies."1"]
regie_id = "demo"
item_url = "https://pay.example.org/item/{{reference}}/"
display_name = "Commande {{id_commande}}"
"""


def demo_settings(
    *,
    address: BrokerAddress,
    prefix: str,
    directory: Path,
    link_base_url: str,
    basket_base_url: str,
) -> str:
    """Text of a settings file for the demonstration; keep it private, it holds a password."""
    values = {
        "host": address.host,
        "port": address.port,
        "virtual_host": address.virtual_host,
        "user": address.user,
        "password": address.password.reveal(),
        "tls": address.tls,
        "prefix": prefix,
        "ledger": str(directory / "ledger.sqlite3"),
        "key": generate_key().reveal(),
        "link_base_url": link_base_url,
        "basket_base_url": basket_base_url,
    }
    # A JSON string, number or truth value is one in TOML too.
    return _TEXT.format(**{name: json.dumps(value) for name, value in values.items()})
