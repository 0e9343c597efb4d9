"""The worker's login at the broker, as its files say it now.

A password that was changed on the broker and in the secret file is used by the next connection,
without a restart (rabbitmq failure case 37). Nothing else is read again: a settings file that
somebody is editing must not change a running worker.
"""

from collections.abc import Callable
from dataclasses import replace

from worker.model import Secret
from worker.rules import BrokerAddress
from worker.settings.sources import Sources


class FreshLogin:
    """An address whose user and password are read again; implements ``ports.BrokerDirectory``.

    What cannot be read, or is empty, stays as it was: a file may be in the middle of its change.
    """

    def __init__(self, address: BrokerAddress, read: Callable[[], Sources]) -> None:
        self._address = address
        self._read = read

    def addresses(self) -> tuple[BrokerAddress, ...]:
        """One address for each endpoint; a few small files are read."""
        broker = self._read().merged()[0].get("broker")
        table = broker if isinstance(broker, dict) else {}
        user, password = table.get("user"), table.get("password")
        if isinstance(user, str):
            self._address = replace(self._address, user=user)
        if isinstance(password, str):
            self._address = replace(self._address, password=Secret(password))
        return self._address.addresses()
