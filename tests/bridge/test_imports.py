"""What the child's side costs a process that imports it."""

from __future__ import annotations

import subprocess
import sys

PARENTS_ONLY = {
    "litestar", "granian", "sqlalchemy", "alembic", "msgspec", "jinja2", "argon2", "authlib",
    "http_message_signatures",
}  # fmt: skip


def _loaded(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(f'chittyops_core.bridge.{name}' for name in modules)}\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_a_child_loads_nothing_that_only_a_parent_needs() -> None:
    """A host has no `chittyops-core[parent]`."""
    assert _loaded("loop", "enrol", "status") & PARENTS_ONLY == set()


def test_who_puts_an_item_or_asks_for_the_status_loads_no_cryptography() -> None:
    """Nor what speaks HTTP: the agent of a host without a parent needs neither."""
    loaded = _loaded("outbox", "consent", "status", "membership", "pace", "bodies", "protocol")

    assert loaded & {"cryptography", "requests", "urllib3", "tenacity"} <= {"tenacity"}
