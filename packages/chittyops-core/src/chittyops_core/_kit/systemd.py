"""systemd, asked by its `systemctl`, and the words of its unit files."""

from __future__ import annotations

import subprocess

from attrs import frozen

__all__ = ["Systemctl", "SystemctlError", "quote_word", "quote_value"]

_UP = {"initializing", "starting", "running", "degraded", "maintenance", "stopping"}
"""What `systemctl is-system-running` prints where a manager answers; else `offline`, `unknown`."""

TIMEOUT_S = 60.0
"""For one question; to stop a unit takes as long as its own TimeoutStopSec, so has no limit."""


class SystemctlError(Exception):
    """systemctl is not there, or says no; the text is what it said."""


@frozen
class Systemctl:
    """The system's manager, or with *is_user* the one of the user who runs this."""

    is_user: bool

    @property
    def is_running(self) -> bool:
        """Whether this manager answers."""
        try:
            return self._ask("is-system-running").stdout.strip() in _UP
        except SystemctlError:
            return False

    def run(self, *words: str, timeout_s: float | None = TIMEOUT_S) -> str:
        """Run `systemctl WORDS`; return what it printed. Raises SystemctlError."""
        done = self._ask(*words, timeout_s=timeout_s)
        if done.returncode != 0:
            raise SystemctlError(done.stderr.strip() or f"exit status {done.returncode}")
        return done.stdout

    def _ask(
        self, *words: str, timeout_s: float | None = TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        scope = ["--user"] if self.is_user else []
        try:
            return subprocess.run(
                ["systemctl", *scope, "--no-pager", "--no-ask-password", *words],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                timeout=timeout_s,
            )  # fmt: skip
        except FileNotFoundError:
            raise SystemctlError("there is no systemctl") from None
        except subprocess.TimeoutExpired:
            raise SystemctlError(f"systemctl {words[0]} took longer than {timeout_s:g} s") from None


def quote_word(word: str) -> str:
    """Return *word* as one of a command line that begins with `:` (no variables in it).

    (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting"; systemd.unit(5),
    "Specifiers".)
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quote_value(escaped)}"'


def quote_value(text: str) -> str:
    """Return *text* as a value that is taken whole, blanks and all: only specifiers mean more."""
    return text.replace("%", "%%")
