"""The key of every lock, journal row, pointer, route and state directory."""

from __future__ import annotations

from attrs import field, frozen

from chittyops_core.model.names import DEFAULT_ENVIRONMENT, require_name

__all__ = ["DEFAULT_ENVIRONMENT", "LOCAL_DOMAIN", "Service"]

LOCAL_DOMAIN = "localhost"
"""Resolves to the loopback address everywhere (RFC 6761 6.3)."""


@frozen
class Service:
    """One app in one environment, for one client or for all. Raises ValueError on a bad name."""

    app: str = field()
    environment: str = field(default=DEFAULT_ENVIRONMENT)
    client: str | None = field(default=None)

    def __attrs_post_init__(self) -> None:
        require_name("app", self.app)
        require_name("environment", self.environment)
        if self.client is not None:
            require_name("client", self.client)

    @property
    def slug(self) -> str:
        """A file name: `app.environment` or `app.environment.client`."""
        return ".".join(part for part in (self.app, self.environment, self.client) if part)

    @classmethod
    def from_slug(cls, slug: str) -> Service:
        """Rebuild a service from its slug. Raises ValueError."""
        app, environment, *client = slug.split(".")
        return cls(app, environment, client[0] if client else None)

    @property
    def local_host(self) -> str:
        """The name under which the edge reaches it on its own machine.

        No name contains `--` and no two services share this host.
        """
        label = self.app
        if self.environment != DEFAULT_ENVIRONMENT:
            label += f"--{self.environment}"
        if self.client:
            label = f"{self.client}.{label}"
        return f"{label}.{LOCAL_DOMAIN}"

    @property
    def stage_host(self) -> str:
        """The name under which its staged release is reached, from this machine only."""
        return f"stage--{self.local_host}"

    def __str__(self) -> str:
        text = self.app
        if self.environment != DEFAULT_ENVIRONMENT:
            text += f" ({self.environment})"
        if self.client:
            text += f" for {self.client}"
        return text
