"""Named secrets of a host, encrypted at rest.

This protects copies and backups of the store, not a host against its own root: the key lies
beside the values, readable by the owner only.
"""

from chittyops_core.secrets.provider import Command, Providers
from chittyops_core.secrets.store import Reference, SecretStore, make_value

__all__ = ["Command", "Providers", "Reference", "SecretStore", "make_value"]
