"""Who an operator is, and what one may do: the words that all of the parent's pages share."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

__all__ = ["Operator", "Role"]


class Role(StrEnum):
    """What an operator may do; each but the auditor may all that those before it may."""

    VIEWER = "viewer"
    """See the fleet."""
    AUDITOR = "auditor"
    """See the fleet and every activity; change nothing."""
    OPERATOR = "operator"
    """Accept and reject children, make enrolment tokens, label."""
    APPROVER = "approver"
    """Revoke children, and approve what others prepared."""
    ADMIN = "admin"
    """Manage operators, roles and settings."""

    def includes(self, other: Role) -> bool:
        """Whether this role may do what *other* may."""
        if self is Role.AUDITOR or other is Role.AUDITOR:
            return other in (self, Role.VIEWER) or self is Role.ADMIN
        order = [Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN]
        return order.index(self) >= order.index(other)


@frozen
class Operator:
    """Who is signed in.

    Attributes:
        id: Its id.
        name: Its name, as activities tell it.
        role: What it may do in this session, or by this token.
    """

    id: str
    name: str
    role: Role
