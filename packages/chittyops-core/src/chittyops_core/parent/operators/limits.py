"""How often somebody may try: token buckets by key, in memory and bounded."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict

from attrs import define

__all__ = ["Limiter", "network_of"]

MAX_KEYS = 10_000
"""Keys that are remembered; the one that tried longest ago is forgotten first."""


@define
class _Bucket:
    left: float
    at: float


class Limiter:
    """Admits *burst* attempts of a key at once, then one every *refill_s*; safe for any thread."""

    def __init__(self, burst: int, refill_s: float) -> None:
        self._burst = burst
        self._refill_s = refill_s
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Count an attempt; return 0, or the seconds after which to come again.

        An attempt counts before it is looked at, so that a thousand at once are no more than a
        thousand in a row.
        """
        with self._lock:
            bucket = self._bucket(key, now)
            if bucket.left < 1:
                return (1 - bucket.left) * self._refill_s
            bucket.left -= 1
            return 0.0

    def give_back(self, key: str) -> None:
        """Uncount an attempt that was right."""
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is not None:
                bucket.left = min(self._burst, bucket.left + 1)

    def _bucket(self, key: str, now: float) -> _Bucket:
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        bucket.left = min(self._burst, bucket.left + max(0.0, now - bucket.at) / self._refill_s)
        bucket.at = now
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return bucket


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv6 customer has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
