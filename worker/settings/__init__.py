"""Settings: read from TOML, secret files, environment and flags, and checked as a whole."""

from worker.settings.broker_url import (
    BrokerUrlError,
    broker_url_from_environment,
    split_broker_url,
)
from worker.settings.explanation import Explained, explain, known_names, nearest_name, reference
from worker.settings.faults import SettingsError, SettingsFault
from worker.settings.loading import Loaded, load, load_broker
from worker.settings.root import Role, Settings
from worker.settings.sources import environment_without_settings

__all__ = [
    "BrokerUrlError",
    "Explained",
    "Loaded",
    "Role",
    "Settings",
    "SettingsError",
    "SettingsFault",
    "broker_url_from_environment",
    "environment_without_settings",
    "explain",
    "known_names",
    "load",
    "load_broker",
    "nearest_name",
    "reference",
    "split_broker_url",
]
