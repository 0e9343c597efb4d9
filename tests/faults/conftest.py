"""The shared site of the acceptance tests serves the fault suite as well."""

from tests.acceptance.conftest import change, site

__all__ = ["change", "site"]
