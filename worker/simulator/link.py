"""The simulated link provider: ``get_link_payment`` as its page documents it.

Not documented, and chosen here: a wrong login or password is HTTP 200 with AUTH_001 or AUTH_002,
no credentials at all HTTP 401, an invalid field HTTP 200 with SIM_FIELD.
"""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus

from worker.model import Cents, Operation, Secret
from worker.providers.link_fields import LINK_FIELDS, FieldType, LinkField
from worker.simulator.book import Book, RepeatReference, Sale
from worker.simulator.effects import Shape
from worker.simulator.magic import search_of
from worker.simulator.orders import Json, Refused
from worker.simulator.paypage import Links, reshaped
from worker.simulator.search import Found, search

_AMOUNT = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_INTEGER = re.compile(r"[0-9]+", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_BOOLEANS = frozenset({"0", "1", "true", "false"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOrder:
    """A valid ``get_link_payment``; implements ``orders.Order``."""

    reference: str
    email: str
    intent: tuple[str, ...]
    book: Book
    links: Links
    repeat: RepeatReference
    sale: Sale
    operation: Operation = Operation.GET_LINK_PAYMENT

    def obstacle(self) -> Refused | None:
        if self.repeat is RepeatReference.REFUSE and self.book.has_link(self.reference):
            return Refused(HTTPStatus.OK, self.rejection("EXIST_005"))
        return None

    def apply(self) -> str:
        self.book.keep_sale(self.sale)
        return self.book.make_link(self.reference, self.links.make(), repeat=self.repeat)

    def answer(self, applied: str, shape: Shape) -> Json:
        result = "true" if shape is Shape.TEXT_RESULT else True
        link = reshaped(applied, shape)
        return {"result": result} if link is None else {"result": result, "link": link}

    def rejection(self, provider_code: str) -> Json:
        return _no(provider_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkApi:
    """Reads calls: credentials first, then the fields."""

    login: str
    password: Secret
    book: Book
    links: Links
    repeat: RepeatReference

    def search(self, authorization: str | None, asked: Mapping[str, str]) -> Found | Refused:
        """Answer a look-up, the provider's refusal to whoever may not ask."""
        return self._check_credentials(authorization) or search(self.book, asked)

    def read(self, authorization: str | None, body: bytes, today: date) -> LinkOrder | Refused:
        """Return the order of a valid call, the provider's refusal of any other."""
        refused = self._check_credentials(authorization)
        if refused is not None:
            return refused
        try:
            fields: object = json.loads(body)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            return Refused(HTTPStatus.BAD_REQUEST, _no("SIM_JSON"))
        faults = [fault for field in LINK_FIELDS.values() if (fault := _fault(field, fields))]
        if faults:
            return Refused(HTTPStatus.OK, {**_no("SIM_FIELD"), "message": "; ".join(faults)})
        return LinkOrder(
            reference=fields["payment_reference"],
            email=fields["consumer_email"],
            intent=tuple(
                str(fields.get(name, ""))
                for name in ("consumer_email", "consumer_reference", "amount", "basket_id")
            ),
            book=self.book,
            links=self.links,
            repeat=self.repeat,
            sale=Sale(
                reference=fields["payment_reference"],
                beneficiary=fields["beneficiary_reference"],
                amount=Cents(int(fields["amount"])),
                made_on=today,
                search=search_of(fields["consumer_email"]),
            ),
        )

    def _check_credentials(self, authorization: str | None) -> Refused | None:
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            pair = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            pair = b""
        login, colon, password = pair.partition(b":")
        if scheme.lower() != "basic" or not colon:
            challenge = (("WWW-Authenticate", 'Basic realm="simulator", charset="UTF-8"'),)
            return Refused(HTTPStatus.UNAUTHORIZED, _no("AUTH_001"), challenge)
        if not hmac.compare_digest(login, self.login.encode()):
            return Refused(HTTPStatus.OK, _no("AUTH_001"))
        if not hmac.compare_digest(password, self.password.reveal().encode()):
            return Refused(HTTPStatus.OK, _no("AUTH_002"))
        return None


def _no(provider_code: str) -> dict[str, object]:
    return {"result": False, "code": provider_code}


def _fault(field: LinkField, fields: Mapping[str, object]) -> str | None:
    """What is wrong with one field, named without its value."""
    value = fields.get(field.name)
    if value is None:
        return f"{field.name}: missing" if field.required else None
    if not _fits(field, value):
        return f"{field.name}: not valid"
    return None


def _fits(field: LinkField, value: object) -> bool:
    """Samples send everything as text; numbers and booleans are taken where they fit the type."""
    text = json.dumps(value) if isinstance(value, int) else value
    if not isinstance(text, str) or (field.length is not None and len(text) > field.length):
        return False
    if field.name == "amount":
        return isinstance(value, str) and _AMOUNT.fullmatch(text) is not None
    if field.name == "consumer_email":
        return _EMAIL.fullmatch(text) is not None
    match field.type:
        case FieldType.STRING:
            return isinstance(value, str) and bool(text.strip() or not field.required)
        case FieldType.INTEGER:
            return _INTEGER.fullmatch(text) is not None
        case FieldType.BOOLEAN:
            return text in _BOOLEANS
