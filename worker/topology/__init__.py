"""The broker's objects as values: what is declared, verified, shown and imported."""

from worker.topology.declarations import Binding, ExchangeDeclaration, QueueDeclaration
from worker.topology.objects import Topology

__all__ = ["Binding", "ExchangeDeclaration", "QueueDeclaration", "Topology"]
