"""Payment-initiation worker: a request in, one answer out, whatever crashes in between."""

__version__ = "0.1.0"
