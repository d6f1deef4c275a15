"""Other proxies, and how each is switched from one upstream to another: siblings of one shape.

Each listens on this machine only, passes requests on to one upstream, and has a way of its own
to be told of another one. Upstreams are TCP ports, because HAProxy's runtime API knows no other.
"""

from peers.base import Peer
from peers.caddy import Caddy
from peers.haproxy import HAProxy
from peers.nginx import Nginx

__all__ = ["PEERS", "Caddy", "HAProxy", "Nginx", "Peer"]

PEERS: tuple[type[Peer], ...] = (Caddy, Nginx, HAProxy)
