"""An AMQP URL, split at once into its parts, so that its password is never carried or shown."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from worker.model import Secret
from worker.rules import BrokerAddress
from worker.settings.sources import variables_of

URL_VARIABLE = "AMQP_URL"
"""Read by the demonstration alone; a deployment sets the parts."""

_SHAPE = "A broker URL looks like amqp://user:password@host:5672/virtual-host."
_OPTIONS = "Options of a broker URL: heartbeat, cafile, certfile, keyfile; once each."
_HEARTBEAT = "The heartbeat of a broker URL is a number of seconds, 1 to 60."
_PORTS = {"amqp": 5672, "amqps": 5671}
_FILES = {"cafile": "ca_file", "certfile": "certificate_file", "keyfile": "key_file"}


class BrokerUrlError(ValueError):
    """A broker URL that cannot be used; the text says what one looks like, never what it was."""


def split_broker_url(url: str, *, connection_name: str = "payment-worker") -> BrokerAddress:
    """Read ``amqp[s]://user:password@host:port/virtual-host``; raises ``BrokerUrlError`` in words.

    No sentence repeats any part of the URL. An option that switches verification off is refused
    like every unknown one.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BrokerUrlError(_SHAPE) from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise BrokerUrlError(_SHAPE)
    options = parse_qs(parts.query, keep_blank_values=True)
    if options.keys() - {"heartbeat", *_FILES} or any(len(each) > 1 for each in options.values()):
        raise BrokerUrlError(_OPTIONS)
    heartbeat = options.get("heartbeat", [str(BrokerAddress().heartbeat)])[0]
    if re.fullmatch("[1-9]|[1-5][0-9]|60", heartbeat) is None:
        raise BrokerUrlError(_HEARTBEAT)
    files = {name: options[option][0] for option, name in _FILES.items() if option in options}
    return BrokerAddress(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        # "amqp://host" and "amqp://host/" both mean the broker's default virtual host.
        virtual_host=unquote(parts.path.removeprefix("/")) or "/",
        user=unquote(parts.username or "guest"),
        password=Secret(unquote(parts.password or "guest")),
        tls=parts.scheme == "amqps",
        ca_file=files.get("ca_file"),
        certificate_file=files.get("certificate_file"),
        key_file=files.get("key_file"),
        heartbeat=int(heartbeat),
        connection_name=connection_name,
    )


def broker_url_from_environment(
    environment: Mapping[str, str] | None = None,
) -> BrokerAddress | None:
    """Broker the demonstration is told to use, if any; raises ``BrokerUrlError``."""
    url = variables_of(environment).get(URL_VARIABLE, "").strip()
    return split_broker_url(url) if url else None
