"""The broker as a machine knows it that only publishes or subscribes."""

from worker.cli.broker import quieten_client
from worker.cli.context import CommandContext
from worker.model import Environment
from worker.rules import BrokerAddress
from worker.settings import Role
from worker.topology import Topology


def client_of(context: CommandContext, role: Role) -> tuple[BrokerAddress, Topology]:
    """Address and object names from the broker settings alone; raises ``SettingsError``.

    The environment matters only to the mark of the broker, which a client neither sees nor
    checks: that is the worker's business.
    """
    quieten_client()
    address, prefix = context.broker(role)
    return address, Topology(environment=Environment.PRODUCTION, prefix=prefix)
