"""The net under the allow-list: texts that look like a secret or a person are taken out.

Payment rules section 7: e-mail, IBAN, card number, links, Basic and Bearer credentials, userinfo
in URLs. When in doubt it takes out too much: a log line with a hole can still be read, one with
a payment link in it is a leak. Links are bearer secrets, so only their host and the first 12 hex
digits of their SHA-256 stay, enough to compare two lines.
"""

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

_LINK = re.compile(r"""https?:\\?/\\?/[^\s"'<>]+""", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^\s]*@")
_CREDENTIALS = re.compile(r"\b(basic|bearer)(\s*[:=]\s*|\s+)[^\s\"',;]+", re.IGNORECASE)
_EMAIL = re.compile(r"""[^\s@<>"',;:()\[\]{}=]+(?:@|%40)[^\s@<>"',;:()\[\]{}=]+""", re.IGNORECASE)
_DIGIT_RUN = re.compile(r"\d(?:[ .\u00a0\u202f-]?\d){12,}", re.ASCII)
_IBAN_START = re.compile(r"[A-Z]{2}[ .\u00a0\u202f-]?\d[ .\u00a0\u202f-]?\d", re.IGNORECASE)
_SUSPICIOUS = re.compile(
    rf"@|%40|https?:|basic|bearer|{_DIGIT_RUN.pattern}|{_IBAN_START.pattern}",
    re.IGNORECASE,
)
"""Every pattern needs one of these: most texts have none and are through after one look."""
_SEPARATORS = frozenset(" .-\u00a0\u202f")
_SHORTEST_CARD, _LONGEST_CARD = 13, 19
_NINE = 9

# Characters of an IBAN by country: the registry of ISO 13616, the countries in and near SEPA.
_IBAN_LENGTHS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("NO",), 15),
        **dict.fromkeys(("BE",), 16),
        **dict.fromkeys(("DK", "FI", "FO", "GL", "NL"), 18),
        **dict.fromkeys(("MK", "SI"), 19),
        **dict.fromkeys(("AT", "BA", "EE", "LT", "LU", "XK"), 20),
        **dict.fromkeys(("CH", "HR", "LI", "LV"), 21),
        **dict.fromkeys(("BG", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
        **dict.fromkeys(("AE", "GI", "IL"), 23),
        **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN"), 24),
        **dict.fromkeys(("PT",), 25),
        **dict.fromkeys(("IS", "TR"), 26),
        **dict.fromkeys(("FR", "GR", "IT", "MC", "SM"), 27),
        **dict.fromkeys(("AL", "AZ", "CY", "DO", "GT", "HU", "LB", "MA", "PL"), 28),
        **dict.fromkeys(("BR", "PS", "QA", "UA"), 29),
        **dict.fromkeys(("JO", "KW", "MU"), 30),
        **dict.fromkeys(("MT",), 31),
    }
)


def redact(text: str) -> str:
    """Return a text without what must not be logged; what is taken out is named in brackets."""
    return text if _SUSPICIOUS.search(text) is None else redact_thoroughly(text)


def redact_thoroughly(text: str) -> str:
    """The same without the first look, which only saves time."""
    text = _LINK.sub(lambda match: link_mark(match[0].replace("\\", "")), text)
    text = _USERINFO.sub("[userinfo]@", text)
    text = _CREDENTIALS.sub(r"\1 [credentials]", text)
    text = _EMAIL.sub("[e-mail]", text)
    text = _without_ibans(text)
    return _DIGIT_RUN.sub(_card_mark, text)


def link_mark(link: str) -> str:
    """What may be logged of a link: its host and the first 12 hex digits of its SHA-256."""
    try:
        host = urlsplit(link).hostname or ""
    except ValueError:
        host = ""
    digest = hashlib.sha256(link.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"[link {host if re.fullmatch('[a-z0-9.-]+', host) else '?'} {digest}]"


def _card_mark(match: re.Match[str]) -> str:
    digits = [int(digit) for digit in match[0] if digit not in _SEPARATORS]
    for start in range(len(digits) - _SHORTEST_CARD + 1):
        for length in range(_SHORTEST_CARD, min(_LONGEST_CARD, len(digits) - start) + 1):
            if _passes_luhn(digits[start : start + length]):
                return "[card]"
    return match[0]


def _passes_luhn(digits: list[int]) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - _NINE if doubled > _NINE else doubled
    return total % 10 == 0


def _without_ibans(text: str) -> str:
    kept, done = [], 0
    for match in _IBAN_START.finditer(text):
        end = _end_of_iban(text, match.start()) if match.start() >= done else None
        if end is not None:
            kept += [text[done : match.start()], "[iban]"]
            done = end
    return "".join([*kept, text[done:]])


def _end_of_iban(text: str, start: int) -> int | None:
    """Where the IBAN that starts here ends, if one does: country, length and check digits agree."""
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    letters = ""
    for place in range(start, len(text)):
        letter = text[place]
        if length is None or len(letters) == length:
            break
        if letter in _SEPARATORS:
            continue
        if not (letter.isascii() and letter.isalnum()):
            return None
        letters += letter
        if len(letters) == length:
            number = "".join(str(int(each, 36)) for each in letters[4:] + letters[:4])
            return place + 1 if int(number) % 97 == 1 else None
    return None
