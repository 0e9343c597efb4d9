"""The simulated basket provider: ``add-basket-item`` and ``remove-basket-item``.

Its real answers to bad input are not documented. Chosen here: 403 for a signature, 400 for
everything else, both with the family's ``err`` and ``err_desc``. It shows only that the worker
matches this reading of the page.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from worker.model import Operation
from worker.simulator.book import Book
from worker.simulator.effects import Shape
from worker.simulator.orders import Json, Refused
from worker.simulator.paypage import Links, reshaped
from worker.simulator.signature import SignatureCheck, SignatureRefusedError

_AMOUNT = re.compile(r"(?:0|[1-9][0-9]*)\.[0-9]{2}", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOrder:
    """A valid ``add-basket-item``; implements ``orders.Order``."""

    url: str
    user: str
    email: str
    book: Book
    links: Links
    operation: Operation = Operation.ADD_BASKET_ITEM

    @property
    def intent(self) -> tuple[str, ...]:
        return (self.user, self.url)

    def obstacle(self) -> Refused | None:
        return None  # nothing deduplicates: the same call twice is two debts

    def apply(self) -> str:
        return self.book.add_item(self.url, self.user)

    def answer(self, applied: str, shape: Shape) -> Json:
        misspelt = shape is Shape.MISSPELT
        body: dict[str, object] = {"result": "succes" if misspelt else "success"}
        if shape is Shape.TEXT_RESULT:
            body["result"] = "true"
        if shape is not Shape.NO_ID:
            body["id"] = int(applied)
        link = reshaped(self.links.make(), shape)
        if link is not None:
            body["payement_url" if misspelt else "payment_url"] = link
        return body

    def rejection(self, provider_code: str) -> Json:
        return _error(f"refused: {provider_code}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOrder:
    """A valid ``remove-basket-item``; implements ``orders.Order``."""

    item_id: str
    user: str
    email: str
    book: Book
    operation: Operation = Operation.REMOVE_BASKET_ITEM

    @property
    def intent(self) -> tuple[str, ...]:
        return (self.user, "remove", self.item_id)

    def obstacle(self) -> Refused | None:
        if self.book.can_remove(self.item_id, self.user):
            return None
        return Refused(HTTPStatus.BAD_REQUEST, _error("unknown item"))

    def apply(self) -> str:
        self.book.remove_item(self.item_id)
        return self.item_id

    def answer(self, applied: str, shape: Shape) -> Json:  # noqa: ARG002  the item is gone
        return {"result": "succes" if shape is Shape.MISSPELT else "success"}

    def rejection(self, provider_code: str) -> Json:
        return _error(f"refused: {provider_code}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketApi:
    """Reads calls: the signature first, then user and body."""

    check: SignatureCheck
    book: Book
    links: Links

    def read_add(self, raw_query: str, body: bytes, now: datetime) -> AddOrder | Refused:
        """Return the order of a valid call, the provider's refusal of any other."""
        read = self._read(raw_query, body, now)
        if isinstance(read, Refused):
            return read
        parameters, members = read
        amount, date = members.get("amount"), members.get("capture_date")
        url, name = members.get("url", ""), members.get("display_name", "")
        if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount) or not float(amount):
            return _bad("amount: not valid")
        if date is not None and not (isinstance(date, str) and _DATE.fullmatch(date)):
            return _bad("capture_date: not valid")
        if not isinstance(url, str) or not isinstance(name, str):
            return _bad("url or display_name: not a text")
        return AddOrder(
            url=url,
            user=_user(parameters),
            email=parameters.get("email", ""),
            book=self.book,
            links=self.links,
        )

    def read_remove(self, raw_query: str, body: bytes, now: datetime) -> RemoveOrder | Refused:
        """Return the order of a valid call, the provider's refusal of any other."""
        read = self._read(raw_query, body, now)
        if isinstance(read, Refused):
            return read
        parameters, members = read
        item_id = members.get("basket_item_id")
        if isinstance(item_id, bool) or not isinstance(item_id, int | str) or item_id == "":
            return _bad("basket_item_id: missing or not valid")
        if not isinstance(members.get("notify", False), bool):
            return _bad("notify: not valid")
        return RemoveOrder(
            item_id=str(item_id),
            user=_user(parameters),
            email=parameters.get("email", ""),
            book=self.book,
        )

    def _read(
        self, raw_query: str, body: bytes, now: datetime
    ) -> tuple[Mapping[str, str], Mapping[str, object]] | Refused:
        try:
            parameters = self.check.verify(raw_query, now)
        except SignatureRefusedError as error:
            return Refused(HTTPStatus.FORBIDDEN, _error(str(error)))
        if ("email" in parameters) == ("NameId" in parameters) or not _user(parameters):
            return _bad("exactly one of NameId and email is needed")
        try:
            members: object = json.loads(body)
        except ValueError:
            members = None
        if not isinstance(members, dict):
            return _bad("the body is not a JSON object")
        return parameters, members


def _user(parameters: Mapping[str, str]) -> str:
    return parameters.get("NameId") or parameters.get("email", "").lower()


def _error(description: str) -> dict[str, object]:
    return {"err": 1, "err_class": "simulated", "err_desc": description}


def _bad(description: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, _error(description))
