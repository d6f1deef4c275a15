"""What ends every command's `--help`, as in a manual page: examples, exit status, environment."""

from __future__ import annotations

__all__ = ["manual"]

EXIT = "0 done, 1 refused or failed, 2 wrong usage, 130 interrupted"
HOME = "CHITTYOPS_HOME: the folder of this host (`chittyops host --help` says more)"


def manual(*examples: str, status: str = EXIT, environment: str = HOME) -> str:
    """Return an epilog for click.

    Args:
        examples: Command lines as they are typed; a comment may follow two spaces and `#`.
        status: What each exit status means.
        environment: The variables that the command reads; empty for none.
    """
    # Click wraps paragraphs, unless they begin with this control sign.
    listed = "\n".join(f"  {line}" for line in examples)
    parts = [f"\b\nExamples:\n{listed}"] if examples else []
    parts.append(f"\b\nExit status:\n  {status}")
    if environment:
        parts.append(f"\b\nEnvironment:\n  {environment}")
    return "\n\n".join(parts)
