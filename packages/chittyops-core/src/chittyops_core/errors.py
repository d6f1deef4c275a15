"""One tree of errors, drawn here. Each branch says what the caller can do about it.

ChittyOpsError
├── UsageError                  the call itself is wrong: fix the arguments (CLI exit 2)
├── ManifestError               chittyops.toml or the app folder is wrong: fix the file
├── MonitorError                what is to be watched is described wrongly: fix the monitor
│   └── ConditionError          a condition such as `status < 300` cannot be read
├── ObjectiveError              a file of objectives (SLO) is wrong: fix the file
├── NotFoundError               no such service, release, secret or client
├── RefusedError                a rule said no, nothing was changed
│   ├── GateClosedError         a finding blocks the release; read its remedy
│   ├── PlanStaleError          the world moved since the plan was made: plan again
│   ├── KindMismatchError       the service belongs to another kind
│   ├── ServiceLockedError      another deploy of this service is under way
│   └── NotAnOperatorError      deploy verbs were called from inside a release
├── DeployError                 the attempt failed and was undone; what served still serves
│   ├── BuildError              the artifact could not be built
│   ├── HookError               a command of the manifest failed
│   └── UnhealthyError          the release did not become, or stay, healthy
├── SecretError                 a secret is missing or cannot be read
├── BridgeError                 child and parent did not come together; nothing is lost
│   ├── ParentRefusedError      the parent answered, and refused
│   └── SignatureError          it cannot be proven who spoke
├── DocumentError               a document cannot be opened: wrong key, changed, cut off
├── TrailError                  the audit log was changed, is damaged or cannot be written
├── ParentError                 the parent server, its data or its settings: fix what it names
├── DeployInterruptedError      the operator interrupted (CLI exit 130)
└── HostError                   the machine or its runtime
    ├── PortInUseError          another program listens on the edge's port
    ├── HostDiedError           the host process ended in the middle of a step
    ├── StoreError              what was observed cannot be read or written
    └── ProtocolError           caller and host do not understand each other
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

__all__ = [
    "BridgeError",
    "BuildError",
    "ChittyOpsError",
    "ConditionError",
    "DeployError",
    "DeployInterruptedError",
    "DocumentError",
    "GateClosedError",
    "HookError",
    "HostDiedError",
    "HostError",
    "KindMismatchError",
    "ManifestError",
    "MonitorError",
    "NotAnOperatorError",
    "NotFoundError",
    "ObjectiveError",
    "ParentError",
    "ParentRefusedError",
    "PlanStaleError",
    "PortInUseError",
    "ProtocolError",
    "RefusedError",
    "SecretError",
    "ServiceLockedError",
    "SignatureError",
    "TrailError",
    "UnhealthyError",
    "UsageError",
]


class ChittyOpsError(Exception):
    """Something failed; the message says what, `remedy` what to do next.

    Args:
        message: What failed and what was expected, for a person.
        remedy: What to do next; empty when there is nothing to add.
        detail: Lines of evidence, such as the last log lines; oldest first.
        facts: The same facts for a program. JSON-serialisable, never a secret.
    """

    def __init__(
        self, message: str, *, remedy: str = "", detail: tuple[str, ...] = (), **facts: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.detail = tuple(detail)
        self.facts: Mapping[str, Any] = facts

    def __str__(self) -> str:
        return self.message

    def to_wire(self) -> dict[str, Any]:
        """Return the error as JSON-serialisable values; `from_wire` is its inverse."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "remedy": self.remedy,
            "detail": list(self.detail),
            "facts": dict(self.facts),
        }

    @staticmethod
    def from_wire(data: Mapping[str, Any]) -> ChittyOpsError:
        """Rebuild an error; a type that this version does not know becomes the root type."""
        known = {cls.__name__: cls for cls in ChittyOpsError.family()}
        cls = known.get(str(data.get("type")), ChittyOpsError)
        return cls(
            str(data.get("message", "unknown error")),
            remedy=str(data.get("remedy", "")),
            detail=tuple(data.get("detail", ())),
            **dict(data.get("facts", {})),
        )

    @classmethod
    def family(cls) -> list[type[Self]]:
        """Return this class and all below it, parents first."""
        found: list[type[Self]] = [cls]
        for child in cls.__subclasses__():
            found += child.family()
        return found


class UsageError(ChittyOpsError):
    """The call itself is wrong."""


class ManifestError(ChittyOpsError):
    """`chittyops.toml` or the app folder is wrong. Facts: `file`, `line` (1-based) where known."""


class MonitorError(ChittyOpsError):
    """What is to be watched is described wrongly. Facts: `monitor`, `option` where known."""


class ConditionError(MonitorError):
    """A condition cannot be read. Facts: `text`, `column` (1-based), `expected`."""


class ObjectiveError(ChittyOpsError):
    """A file of objectives is wrong. Facts: `file`, `line` (1-based) where known."""


class NotFoundError(ChittyOpsError):
    """There is no such service, release, secret or client."""


class RefusedError(ChittyOpsError):
    """A rule said no; nothing was changed."""


class GateClosedError(RefusedError):
    """A finding blocks the release. Fact: `findings`, a list of findings as mappings."""


class PlanStaleError(RefusedError):
    """What the plan was made from is no longer true."""


class KindMismatchError(RefusedError):
    """The service is operated by another kind of lite."""


class ServiceLockedError(RefusedError):
    """Somebody else is changing this service. Facts: `holder`, `pid`, `since`."""


class NotAnOperatorError(RefusedError):
    """A deploy verb was called from inside a release; app code may not operate itself."""


class DeployError(ChittyOpsError):
    """The attempt failed and was undone; what served before still serves."""


class BuildError(DeployError):
    """The artifact could not be built."""


class HookError(DeployError):
    """A command named in the manifest failed. Facts: `hook`, `status`."""


class UnhealthyError(DeployError):
    """The release did not become, or stay, healthy. Facts: `probe`, `curl`, `logs`."""


class SecretError(ChittyOpsError):
    """A secret is missing, or the store cannot be read."""


class BridgeError(ChittyOpsError):
    """A child and its parent did not come together; what is owed is kept."""


class ParentRefusedError(BridgeError):
    """The parent answered, and refused. Facts: `problem` (its type's name), `status`."""


class SignatureError(BridgeError):
    """It cannot be proven who spoke. Fact: `key` (a thumbprint) where one was named."""


class DocumentError(ChittyOpsError):
    """A document cannot be encrypted or opened. Fact: `cause`: key, changed, damaged, foreign."""


class TrailError(ChittyOpsError):
    """The trail cannot be written, or is not what it was. Facts: `cause`, `entry` where known."""


class ParentError(ChittyOpsError):
    """The parent server, its data or its settings are not as they have to be."""


class DeployInterruptedError(ChittyOpsError):
    """The operator interrupted. Fact: `served`, whether the new release serves already."""


class HostError(ChittyOpsError):
    """The machine, or the host runtime on it, cannot do what was asked."""


class PortInUseError(HostError):
    """Another program listens on the edge's port. Facts: `port`, `setting`."""


class HostDiedError(HostError):
    """The host process ended in the middle of a step; `chittyops recover` settles it."""


class StoreError(HostError):
    """What was observed cannot be read or written. Fact: `cause`: full, damaged, newer or other."""


class ProtocolError(HostError):
    """Caller and host do not understand each other."""
