"""Amounts as people read them."""

_CENTS = 100


def euros(cents: int) -> str:
    """Write cents as euros by integer arithmetic: 1250 is ``12.50 EUR``."""
    return f"{cents // _CENTS}.{cents % _CENTS:02d} EUR"
