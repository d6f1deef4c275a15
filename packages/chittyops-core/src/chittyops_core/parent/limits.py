"""How often somebody may try: token buckets, by address and in total."""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict

from attrs import define

from chittyops_core.bridge.protocol import ProblemType
from chittyops_core.parent.problems import ProblemError

__all__ = ["Attempts"]

MAX_ADDRESSES = 10_000
"""Addresses that are remembered; who tried longest ago is forgotten first."""


@define
class _Bucket:
    left: float
    at: float


class Attempts:
    """Attempts that may fail so often; those that succeed cost nothing.

    Many may be under way at once, as when a fleet enrols from behind one address. Where more of
    them fail than may, the rest is owed: it takes so much longer until one may try again.

    Args:
        by_address: How many an address may fail at once, and then in a minute.
        in_total: How many all together may.
    """

    def __init__(self, by_address: int, in_total: int) -> None:
        self._by_address = by_address
        self._in_total = in_total
        self._total = _Bucket(in_total, 0.0)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def require_left(self, address: str, now: float) -> None:
        """Raise ProblemError unless *address* may try."""
        with self._lock:
            mine = _fill(self._bucket(address, now), self._by_address, now)
            wait_s = max(mine, _fill(self._total, self._in_total, now))
        if wait_s > 0:
            raise ProblemError(
                ProblemType.TOO_MANY, "Too many attempts failed.", retry_after_s=math.ceil(wait_s)
            )

    def failed(self, address: str, now: float) -> None:
        """Count an attempt from *address* that failed."""
        with self._lock:
            self._bucket(address, now).left -= 1
            self._total.left -= 1

    def _bucket(self, address: str, now: float) -> _Bucket:
        name = _network(address)
        bucket = self._buckets.setdefault(name, _Bucket(self._by_address, now))
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket


def _fill(bucket: _Bucket, size: int, now: float) -> float:
    """Add what has come back since; return the seconds until one more may be taken."""
    per_s = size / 60
    bucket.left = min(size, bucket.left + max(0.0, now - bucket.at) * per_s)
    bucket.at = now
    return max(0.0, (1 - bucket.left) / per_s)


def _network(address: str) -> str:
    """Return whom *address* belongs to: of IPv6 a host has a whole /64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address
