"""Whom the agent tells: channels by name, each an Apprise address that is kept as a secret.

An address holds tokens, so it is encrypted at rest like every secret and named `notify-NAME`;
which names there are stands in `monitor/channels.json`.
"""

from __future__ import annotations

import json

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock, pause
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import NotFoundError, UsageError
from chittyops_core.model.names import require_name
from chittyops_core.monitor.deliver import is_understood
from chittyops_core.secrets import SecretStore

__all__ = ["Channels"]


class Channels:
    """The channels of one host."""

    def __init__(self, layout: Layout, secrets: SecretStore) -> None:
        self._layout = layout
        self._secrets = secrets
        self._file = layout.monitor / "channels.json"

    def names(self) -> list[str]:
        """Return them, sorted."""
        try:
            return sorted(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return []

    def addresses(self) -> dict[str, str]:
        """Return name -> address. Raises SecretError when one cannot be read."""
        return {name: self._secrets.get(_secret(name)) for name in self.names()}

    def set(self, name: str, address: str) -> None:
        """Keep a channel, or change it.

        Raises:
            UsageError: The name cannot be one, or Apprise does not understand the address.
        """
        try:
            require_name("channel", name)
        except ValueError as error:
            raise UsageError(str(error)) from error
        if not address.strip():
            raise UsageError("the address is empty", remedy="Type or pipe it.")
        if not is_understood(address):
            raise UsageError(
                "Apprise does not understand this address",
                remedy="Its forms: https://appriseit.com/services/, such as "
                "mailto://user:password@example.org or json://host/path.",
            )
        self._secrets.set(_secret(name), address)
        with self._locked():
            self._write([*self.names(), name])

    def unset(self, name: str) -> None:
        """Forget a channel. Raises NotFoundError."""
        with self._locked():
            names = self.names()
            if name not in names:
                raise NotFoundError(
                    f"there is no channel {name!r}",
                    remedy=f"There is: {', '.join(names)}." if names else "There is none.",
                )
            self._write([each for each in names if each != name])
        self._secrets.unset(_secret(name))

    def _write(self, names: list[str]) -> None:
        files.ensure_private_dir(self._layout.monitor)
        files.write_durably(self._file, json.dumps(sorted(set(names))))

    def _locked(self) -> FileLock:
        lock = FileLock(self._layout.locks / "channels.lock")
        return lock.acquire("channels", wait=pause)


def _secret(name: str) -> str:
    return f"notify-{name}"
