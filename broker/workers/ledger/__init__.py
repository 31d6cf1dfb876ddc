"""Who has which item: queues, credit, leases, attempts, poison. Pure policy, no sockets, no clock."""

from broker.workers.ledger.entry import Entry, Fallout, Job, Worker
from broker.workers.ledger.ledger import REFUSED, Ledger

__all__ = ["REFUSED", "Entry", "Fallout", "Job", "Ledger", "Worker"]
