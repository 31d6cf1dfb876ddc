"""What each connection of the control socket makes the broker hold, and who has to go when it is too much. Pure.

Held are three things: a message that has begun to come and is not whole, replies that the client does not take,
and what has to come back with replies that are not made yet.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

UNFINISHED_BYTES = 72 << 20
"""Of one connection: the largest message that is answered at all, 64 MiB, and what the kernel holds before it."""
TOTAL_BYTES = 128 << 20
"""Of all connections; beyond it those that hold most are ended."""
NOISE_BYTES = 1 << 20
"""Handshakes, heartbeats and the marks of frames are no messages: a difference below this is forgotten."""


class Bucket:
    """So many requests in a second, and as many again at once; times are microseconds."""

    __slots__ = ("_at", "_filled")

    def __init__(self) -> None:
        self._filled = -1.0
        self._at = 0

    def take(self, per_s: int, now: int) -> int:
        """Take one; 0, or the milliseconds until there is one."""
        if self._filled < 0:
            self._filled, self._at = float(per_s), now
        self._filled = min(float(per_s), self._filled + (now - self._at) * per_s / 1_000_000)
        self._at = now
        if self._filled < 1:
            return 1 + int((1 - self._filled) * 1000 / per_s)
        self._filled -= 1
        return 0


class Quota:
    """What one client asks, over all of its connections: those with its key, else the one."""

    __slots__ = ("accounts", "bucket")

    def __init__(self) -> None:
        self.bucket = Bucket()
        self.accounts: set[Account] = set()

    @property
    def waiting(self) -> int:
        """Requests that have no reply yet."""
        return sum(account.waiting for account in self.accounts)

    @property
    def unread(self) -> int:
        """Bytes of replies that the client has not taken, as of the last count."""
        return sum(account.unread for account in self.accounts)


class Account:
    """One connection. ``fd`` is None for what belongs to none that is known: nothing of it is counted."""

    __slots__ = (
        "_acknowledged", "_asked", "_received", "_whole", "ended", "fd", "key", "parked", "quota", "shared",
        "told", "waiting",
    )  # fmt: skip

    def __init__(self, fd: int | None) -> None:
        self.fd = fd
        self.key: str | None = None
        """Public key of who asks, once it has; None where there are no keys."""
        self.shared = False
        """Whether many programs have this key, so that each connection is a client of its own."""
        self.quota = Quota()
        self.quota.accounts.add(self)
        self.ended = False
        """It was ended for what it holds, and libzmq has not let go of it yet."""
        self.waiting = 0
        """Requests that have no reply yet."""
        self.parked = 0
        """Bytes that come back with their replies."""
        self.told = 0
        """Bytes of replies."""
        self._asked = 0
        self._received = 0
        self._acknowledged = 0
        self._whole = False

    def asked(self, nbytes: int) -> None:
        """A whole message has come."""
        self._asked += nbytes
        self._whole = True

    def count_with(self, quota: Quota) -> None:
        """It is one of a client's several connections."""
        self.quota.accounts.discard(self)
        self.quota = quota
        quota.accounts.add(self)

    def counted(self, received: int | None, acknowledged: int | None, *, idle: bool = True) -> None:
        """The kernel has counted so many bytes in either direction, all whole messages being read."""
        if received is not None:
            self._received = received
            if self._asked > received or (self._whole and received - self._asked < NOISE_BYTES):
                self._asked = received
            self._whole = False
        if acknowledged is not None:
            self._acknowledged = acknowledged
        elif idle:
            self._acknowledged = self.told
        self.told = max(self.told, self._acknowledged)

    @property
    def unfinished(self) -> int:
        """Bytes of a message that is not whole, as of the last count."""
        return max(0, self._received - self._asked)

    @property
    def unread(self) -> int:
        """Bytes of replies that the client has not taken, as of the last count."""
        return self.told - self._acknowledged

    @property
    def held(self) -> int:
        """Bytes of memory that this connection costs."""
        return self.unfinished + self.unread + self.parked


class Accounts:
    """All connections, by descriptor."""

    def __init__(self) -> None:
        self._accounts: dict[int, Account] = {}
        self._quotas: dict[str, Quota] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def came(self, fd: int) -> None:
        """The number stands for a new connection from here on."""
        self._accounts[fd] = Account(fd)

    def went(self, fd: int) -> Account | None:
        """The connection is gone; its account, if it had one."""
        account = self._accounts.pop(fd, None)
        if account is not None:
            account.quota.accounts.discard(account)
        return account

    def of(self, fd: int | None) -> Account:
        """Of this connection."""
        return Account(None) if fd is None else self._accounts.get(fd) or Account(None)

    def know(self, account: Account, key: str, *, shared: bool) -> None:
        """Whose connection it is.

        Args:
            shared: many programs have this key, so that each connection counts for itself.
        """
        account.key, account.shared = key, shared
        if account.fd is not None:
            account.count_with(Quota() if shared else self._quotas.setdefault(key, Quota()))

    def forget(self, keys: Container[str]) -> list[Account]:
        """The connections whose key is not among these any more; what was counted of such keys is forgotten."""
        self._quotas = {key: quota for key, quota in self._quotas.items() if key in keys}
        return [account for account in self if account.key is not None and account.key not in keys]

    def too_much(self) -> list[Account]:
        """Whose connection has to end, from the one that holds most."""
        found = []
        total = sum(account.held for account in self)
        for account in sorted(self, key=lambda one: one.held, reverse=True):
            if account.unfinished <= UNFINISHED_BYTES and total <= TOTAL_BYTES:
                break
            found.append(account)
            total -= account.held
        return found
