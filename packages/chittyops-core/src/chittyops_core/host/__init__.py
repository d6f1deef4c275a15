"""The host runtime: what runs on a host for its operator.

The caller (`lite`, `cli`) and the host are two processes that speak `protocol` over a pipe, and
later over SSH. `client` is the caller's end, `server` the host's; `runtime` is the environment
that the host's end lives in, so that nothing that runs depends on the caller's. `boot` has the
machine start it.
"""

from chittyops_core.host.client import HostClient
from chittyops_core.host.home import default_home

__all__ = ["HostClient", "default_home"]
