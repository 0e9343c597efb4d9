"""The simulated look-up: ``search_payment`` as far as its page documents it.

Not documented, and chosen here: a record carries the amount in cents and the link under ``link``,
links that nobody has paid are listed, and nothing found is an empty list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from http import HTTPStatus

from worker.model import Cents
from worker.simulator.book import Book, Sale
from worker.simulator.effects import Search
from worker.simulator.orders import Json, Refused

EMPTY_TIMES = 2
SLOW_SECONDS = 20.0
_DAY = "%d/%m/%Y"


@dataclass(frozen=True, slots=True)
class Found:
    """What is answered, ``after`` that many seconds."""

    body: Json
    after: float = 0.0


def search(book: Book, asked: Mapping[str, str]) -> Found | Refused:
    """Answer one look-up of a reference; counted, and changes nothing else."""
    reference = asked.get("payment_reference", "")
    days = [asked.get(f"creation_date_{end}") for end in ("min", "max")]
    if not reference or not all(day is None or _is_day(day) for day in days):
        return Refused(HTTPStatus.OK, {"result": False, "code": "SIM_FIELD"})
    book.count_search(reference)
    sale = book.sale(reference)
    if sale is None or not _is_within(sale.made_on, *days):
        return Found(_listed())
    match sale.search:
        case Search.FAILING:
            return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, {})
        case Search.EMPTY_TWICE if book.fails_again(("search", reference), EMPTY_TIMES):
            return Found(_listed())
        case Search.OTHER_AMOUNT:
            return Found(_listed(_record(book, sale, amount=Cents(sale.amount + 1))))
        case Search.WITHOUT_LINK:
            return Found(_listed(_record(book, sale, has_link=False)))
        case Search.SLOW:
            return Found(_listed(_record(book, sale)), after=SLOW_SECONDS)
        case _:
            return Found(_listed(_record(book, sale)))


def _listed(*records: Json) -> Json:
    return {"result": True, "datas": list(records)}


def _record(
    book: Book, sale: Sale, *, amount: Cents | None = None, has_link: bool = True
) -> dict[str, object]:
    record: dict[str, object] = {
        "payment_reference": sale.reference,
        "beneficiary_reference": sale.beneficiary,
        "consumer_store": None,
        "umr": None,
        "amount": str(amount or sale.amount),
        "creation_date": f"{sale.made_on:{_DAY}}",
    }
    if has_link:
        record["link"] = book.links[sale.reference][-1]
    return record


def _is_day(text: str) -> bool:
    try:
        datetime.strptime(text, _DAY)  # noqa: DTZ007 - a day in a zone that nobody documents
    except ValueError:
        return False
    return True


def _is_within(made_on: date, since: str | None, until: str | None) -> bool:
    return (since is None or _day(since) <= made_on) and (until is None or made_on <= _day(until))


def _day(text: str) -> date:
    return datetime.strptime(text, _DAY).date()  # noqa: DTZ007 - as above
