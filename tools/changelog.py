"""Changelogs and versions of one package: what its fragments say. Pure; `release.py` does the rest.

A fragment is `changelog.d/ISSUE.TYPE.md`. (Why not towncrier: the fragments have to be read here
anyway, for the version that they ask for, and a name that is no fragment's has to be refused.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Self

from attrs import frozen

__all__ = ["Fragment", "Version", "first_heading", "insert", "propose", "render"]

TYPES = {
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
    "security": "Security",
}
"""Type to heading, in the order of https://keepachangelog.com/en/1.1.0/."""

_FRAGMENT = re.compile(rf"(?P<issue>[1-9][0-9]*)\.(?P<type>{'|'.join(TYPES)})\.md")
_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
_HEADING = re.compile(r"^## (\S+)", re.MULTILINE)


@frozen(order=True)
class Version:
    """MAJOR.MINOR.PATCH of Semantic Versioning 2.0.0."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version. Raises ValueError with what was expected.

        Pre-releases are refused: Semantic Versioning and PyPI (PEP 440) spell them differently.
        """
        found = _VERSION.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no version: expected MAJOR.MINOR.PATCH, such as 0.2.0 "
                "(Semantic Versioning 2.0.0, without a pre-release)"
            )
        return cls(*map(int, found.groups()))

    def after(self, types: Iterable[str]) -> Version:
        """Return the lowest version that may follow this one with changes of *types*.

        Below 1.0.0 the minor number is the one that says "incompatible", because that is what
        the lites' ranges of the core (`>=0.1,<0.2`) take it for.
        """
        seen = set(types)
        if "removed" in seen:
            return Version(self.major + 1, 0, 0) if self.major else Version(0, self.minor + 1, 0)
        if self.major and seen & {"added", "changed"}:
            return Version(self.major, self.minor + 1, 0)
        return Version(self.major, self.minor, self.patch + 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@frozen
class Fragment:
    """One change, for users to read."""

    issue: int
    type: str
    text: str

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        """Read a fragment from its file's name and content. Raises ValueError."""
        found = _FRAGMENT.fullmatch(name)
        if found is None:
            raise ValueError(
                f"{name} is no fragment: expected ISSUE.TYPE.md, TYPE one of {', '.join(TYPES)}"
            )
        if not text.strip():
            raise ValueError(f"{name} is empty: expected what changed, in the past tense")
        return cls(int(found["issue"]), found["type"], text.strip())


def propose(current: Version, released: Version | None, types: Iterable[str]) -> Version:
    """Return the lowest version that a package may be released as.

    Args:
        current: What its pyproject.toml says; somebody may have raised it by hand.
        released: The highest that has a tag, None for none.
        types: Of its fragments.
    """
    return current if released is None else max(current, released.after(types))


def render(version: Version, day: date, fragments: Iterable[Fragment]) -> str:
    """Return the section of one version, in Markdown, without a final blank line."""
    listed = sorted(fragments, key=lambda each: each.issue)
    parts = [f"## {version} ({day.isoformat()})"]
    for type_, heading in TYPES.items():
        items = [_item(each) for each in listed if each.type == type_]
        if items:
            parts.append(f"### {heading}")
            parts.append("\n".join(items))
    return "\n\n".join(parts) + "\n"


def insert(changelog: str, section: str, *, name: str) -> str:
    """Return *changelog* (empty when there is none yet) with *section* above all others."""
    head, mark, rest = changelog.partition("\n## ")
    head = head.strip() or (
        f"# Changelog of {name}\n\nVersions follow [SemVer](https://semver.org/spec/v2.0.0.html)."
    )
    older = f"\n{mark.lstrip()}{rest}" if mark else ""
    return f"{head}\n\n{section}{older}"


def first_heading(changelog: str) -> str | None:
    """Return the version that stands first, None when there is none."""
    found = _HEADING.search(changelog)
    return found[1] if found else None


def set_version(pyproject: str, version: Version) -> str:
    """Return the text of a pyproject.toml with another static version. Raises ValueError."""
    text, count = re.subn(r'(?m)^version = "[^"]*"$', f'version = "{version}"', pyproject, count=2)
    if count != 1:
        raise ValueError(f'expected one line `version = "..."` in pyproject.toml, found {count}')
    return text


def range_of(dependencies: Iterable[str], name: str) -> str | None:
    """Return the version specifier by which *dependencies* (PEP 508) want *name*."""
    from packaging.requirements import Requirement

    wanted = [each for each in map(Requirement, dependencies) if each.name == name]
    return str(wanted[0].specifier) if wanted else None


def fits(specifier: str, version: Version) -> bool:
    """Whether *version* lies in a range such as `>=0.1,<0.2` (PEP 440)."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(str(version))


def _item(fragment: Fragment) -> str:
    # A fragment of several lines stays one item.
    body = fragment.text.replace("\n", "\n  ")
    return f"- {body} (#{fragment.issue})"
