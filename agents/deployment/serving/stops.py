"""Stops that outlive the connection on which they came: whoever reconnects is still stopped.

A client is known by the name it gives (`ws://HOST:PORT/?client=NAME`); those without a name are
one client for each address, so that leaving the name out does not leave the stop behind. A name
belongs to the connection that first claimed it, which is given a key; who shows it (`&key=KEY`) is
the same client. It is free again when nobody of that name is connected, or stopped. Imports no jax.
"""

import hmac
import re
import secrets
from collections import Counter
from urllib.parse import parse_qs, urlsplit

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_STOPS = 1000
"""Stops kept; at so many no more clients are let in, as none may be forgotten."""


def client_of(path: str, address: str) -> str:
    """The client that asks for `path` from `address`. Raises ValueError for a bad name."""
    name = query(path, "client")
    if not name:
        return f"@{address}"  # no name begins so
    if not NAME.fullmatch(name):
        raise ValueError("client must be 1 to 64 letters, digits, dots, dashes or underscores")
    return name


def query(path: str, key: str) -> str:
    """The value of a key in what follows the question mark; "" without one."""
    try:
        return parse_qs(urlsplit(path).query, max_num_fields=8).get(key, [""])[-1]
    except ValueError:
        return ""


class EStops:
    """The registry of who is stopped until re-armed, and of whose names are whose."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._connected: Counter[str] = Counter()

    def enter(self, client: str, shown: str) -> bool:
        """A connection of a client that shows a key; whether the name is its own."""
        self._connected[client] += 1
        first = client not in self._keys
        if first:
            self._keys[client] = secrets.token_urlsafe(16)
        return first or self.owned(client, shown)

    def leave(self, client: str) -> None:
        """A connection is over."""
        self._connected[client] -= 1
        self._forget(client)

    def key(self, client: str) -> str:
        """The key of a client that is connected or stopped; empty for others."""
        return self._keys.get(client, "")

    def owned(self, client: str, shown: str) -> bool:
        """Whether the key shown is the client's."""
        key = self.key(client)
        return bool(key) and hmac.compare_digest(key.encode(), shown.encode("utf-8", "replace"))

    def stop(self, client: str, reason: str) -> bool:
        """Stop a client until `rearm`; whether it was not stopped before."""
        new = client not in self._reasons
        self._reasons.setdefault(client, " ".join(reason.split())[:200])
        return new

    def rearm(self, client: str) -> bool:
        """Undo it: a person's decision. Whether there was anything to undo."""
        found = self._reasons.pop(client, None) is not None
        self._forget(client)
        return found

    def reason(self, client: str) -> str:
        """Why a client is stopped; empty when it is not."""
        return self._reasons.get(client, "")

    def reasons(self) -> dict[str, str]:
        """Every client that is stopped, with the reason."""
        return dict(self._reasons)

    @property
    def full(self) -> bool:
        """Whether there is no room for the next stop."""
        return len(self._reasons) >= MAX_STOPS

    def _forget(self, client: str) -> None:
        if self._connected[client] <= 0 and client not in self._reasons:
            self._keys.pop(client, None)
            del self._connected[client]
