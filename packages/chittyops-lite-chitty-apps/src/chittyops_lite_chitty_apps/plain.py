"""What is about to happen, in words that need no dictionary."""

from __future__ import annotations

from chittyops_core import App

__all__ = ["in_plain_words"]

_BUILT_FROM = {
    "uv.lock": "It needs what uv.lock lists.",
    "pyproject": "It needs what pyproject.toml lists.",
    "requirements": "It needs what requirements.txt lists.",
    "none": "It needs nothing else installed.",
}


def in_plain_words(app: App) -> str:
    """Return a few sentences about *app*: what it is, how it starts, how we tell it is well."""
    manifest = app.manifest
    others = [name for name in manifest.process if name != "web"]
    lines = [
        f"This looks like an app called “{app.name}”.",
        _BUILT_FROM[manifest.build.builder.value],
        f"It is started with:  {manifest.process['web'].command}",
        f"We know that it is well when it answers at {manifest.health.path}.",
    ]
    if others:
        lines.insert(3, f"Besides, it runs {', '.join(others)} in the background.")
    if app.has_manifest:
        lines.append("All this stands in its chittyops.toml.")
    else:
        lines.append("There is no chittyops.toml, so this is what the folder itself tells.")
    return "\n".join(lines)
