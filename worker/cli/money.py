"""Amounts and counts as people read them."""

_CENTS = 100


def euros(cents: int) -> str:
    """Write cents as euros by integer arithmetic: 1250 is ``12.50 EUR``."""
    return f"{cents // _CENTS}.{cents % _CENTS:02d} EUR"


def counted(count: int, noun: str) -> str:
    """Write how many there are: ``1 letter``, ``2 letters``; the noun makes its plural with s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
