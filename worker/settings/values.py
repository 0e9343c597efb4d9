"""The types a setting may have beyond pydantic's own: read from text or TOML, refused in words.

Every sentence raised here may be shown to anybody: it never repeats the value.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_PORTS = 65536
_ENDPOINT = re.compile(r"(?P<host>[a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\])(:(?P<port>[0-9]{1,5}))?")
_KEY_BYTES = 32

Listed = TypeVar("Listed")


class Section(BaseModel):
    """A table of the settings: closed, frozen, and silent about what was put into it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        str_min_length=1,
        allow_inf_nan=False,
        validate_default=False,
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address never leaves this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def split_address(text: str) -> SplitResult:
    """Split a URL that may be called or handed out; raises pydantic's error in words.

    TLS is a must outside this machine, and credentials never stand in a URL, where every log
    and every proxy would keep them.
    """
    try:
        parts = urlsplit(text)
        port_is_sound = parts.port is None or 0 < parts.port < _PORTS
    except ValueError as error:
        raise PydanticCustomError("url", "This is not a URL.") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_sound:
        raise PydanticCustomError(
            "url", "Give a whole URL: https, a host, and a path if there is one."
        )
    if "@" in parts.netloc:
        raise PydanticCustomError(
            "url_credentials", "Credentials do not belong into a URL: use login and password."
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise PydanticCustomError(
            "url_tls", "Use https: only a loopback address may be called without TLS."
        )
    if any(letter.isspace() or not letter.isprintable() for letter in text):
        raise PydanticCustomError("url_letters", "A URL holds no spaces and no control characters.")
    return parts


def _base_url(text: str) -> str:
    parts = split_address(text)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise PydanticCustomError("base_url", "A base URL has neither a query nor a fragment.")
    return text.rstrip("/")


def _page_url(text: str) -> str:
    split_address(text)
    return text


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    duration = read_duration(value)
    if duration is None:
        raise PydanticCustomError(
            "duration", 'Give a duration as a number with its unit: "30s", "15m", "24h", "90d".'
        )
    return duration


def read_duration(text: str) -> timedelta | None:
    """Read a number with its unit, e.g. ``15m``; ``None`` for anything else."""
    match = _DURATION.fullmatch(text.strip())
    return None if match is None else timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        # pydantic reads true as 1: measured, 2.14.3
        raise PydanticCustomError("number", "Give a number, not true or false.")
    return value


def _listed(value: object) -> object:
    """A list from the environment or a secret file: JSON, else words apart by commas or lines."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise PydanticCustomError(
                "list", "This begins like a JSON list and is none."
            ) from error
    return [word for word in re.split(r"[,\s]+", value) if word]


def _unique(values: tuple[Listed, ...]) -> tuple[Listed, ...]:
    if len(set(values)) != len(values):
        raise PydanticCustomError("list_unique", "The list names something twice.")
    return values


def _key(secret: SecretStr) -> SecretStr:
    try:
        length = len(base64.b64decode(secret.get_secret_value(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if length != _KEY_BYTES:
        raise PydanticCustomError(
            "key", "A key is 32 random bytes in URL-safe base64 (44 characters)."
        )
    return secret


def _login(text: str) -> str:
    if ":" in text:
        raise PydanticCustomError(
            "login", "A Basic login holds no colon (RFC 7617): the rest would be password."
        )
    return text


def _host(text: str) -> str:
    if re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", text.lower()) is None:
        raise PydanticCustomError("host", "Give a bare host name, without scheme, port or path.")
    return text.lower()


def split_endpoint(text: str, port: int) -> tuple[str, int]:
    """Read ``host`` or ``host:port``, an IPv6 address in brackets; ``port`` where none is given.

    Raises pydantic's error in words.
    """
    match = _ENDPOINT.fullmatch(text)
    own_port = int(match["port"] or port) if match is not None else 0
    if match is None or not 0 < own_port < _PORTS:
        raise PydanticCustomError(
            "endpoint", "Give each endpoint as host or host:port, without scheme or path."
        )
    return match["host"].strip("[]"), own_port


def _endpoint(text: str) -> str:
    split_endpoint(text, 1)
    return text


NOT_BOOL: Callable[[object], object] = _not_bool

Whole = Annotated[int, BeforeValidator(NOT_BOOL)]
"""An integer; ``true`` is none."""

Seconds = Annotated[float, BeforeValidator(NOT_BOOL), Field(gt=0, le=86400)]
"""A time in seconds, more than none and at most a day."""

Duration = Annotated[timedelta, BeforeValidator(NOT_BOOL), BeforeValidator(_duration)]
"""A time given as ``"15m"`` or as a number of seconds."""

Password = Annotated[SecretStr, Field(min_length=1)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
PageUrl = Annotated[str, AfterValidator(_page_url)]
Login = Annotated[str, AfterValidator(_login)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$", max_length=32)]
"""A name of ours: lower case, because names from the environment are, no double underscore."""

OriginName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
"""A normalised origin, as it stands in routing keys (contract section 3)."""

HostName = Annotated[str, AfterValidator(_host)]
Key = Annotated[SecretStr, AfterValidator(_key)]

Hosts = Annotated[tuple[HostName, ...], BeforeValidator(_listed), AfterValidator(_unique)]
Origins = Annotated[
    tuple[OriginName, ...], BeforeValidator(_listed), AfterValidator(_unique), Field(min_length=1)
]
Keys = Annotated[tuple[Key, ...], BeforeValidator(_listed), Field(min_length=1, max_length=8)]
BrokerEndpoints = Annotated[
    tuple[Annotated[str, AfterValidator(_endpoint)], ...],
    BeforeValidator(_listed),
    AfterValidator(_unique),
]
"""Nodes of one broker, each ``host`` or ``host:port``."""

AS_LIST = BeforeValidator(_listed)
