"""What fragments say: the section they make, and the version they ask for."""

from __future__ import annotations

from datetime import date

import changelog
import pytest
from changelog import Fragment, Version
from hypothesis import given
from hypothesis import strategies as st

numbers = st.integers(0, 10**6)
versions = st.builds(Version, numbers, numbers, numbers)
types = st.lists(st.sampled_from(sorted(changelog.TYPES)), min_size=1)
DAY = date(2026, 11, 25)


@given(versions)
def test_a_version_is_read_as_it_is_written(version: Version) -> None:
    """`parse` undoes `str`."""
    assert Version.parse(str(version)) == version


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "v1.0.0", "1.0.0rc1", "1.0.0-rc.1", "01.0.0", "1.0.0\n", "1.0.0+x"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match=r"expected MAJOR\.MINOR\.PATCH, such as"):
        Version.parse(text)


@given(versions, types)
def test_a_release_is_always_higher_than_the_one_before(version: Version, seen: list[str]) -> None:
    """Whatever has changed, and in numbers, not in letters: 0.10.0 is above 0.9.0."""
    assert version.after(seen) > version


@pytest.mark.parametrize(
    ("released", "seen", "expected"),
    [
        ("0.1.3", ["fixed"], "0.1.4"),
        ("0.1.3", ["added", "security"], "0.1.4"),
        ("0.1.3", ["removed", "added"], "0.2.0"),
        ("1.9.3", ["fixed", "security"], "1.9.4"),
        ("1.9.3", ["added"], "1.10.0"),
        ("1.9.3", ["changed"], "1.10.0"),
        ("1.9.3", ["removed"], "2.0.0"),
    ],
)
def test_the_kind_of_change_chooses_the_number(
    released: str, seen: list[str], expected: str
) -> None:
    """Semantic Versioning; below 1.0.0 the minor number says "incompatible"."""
    last = Version.parse(released)

    assert str(changelog.propose(last, last, seen)) == expected


def test_the_first_release_is_what_pyproject_says() -> None:
    """Nothing was released that it could follow."""
    assert changelog.propose(Version(0, 1, 0), None, ["added"]) == Version(0, 1, 0)


def test_a_version_that_was_raised_by_hand_is_kept() -> None:
    """The core's next minor and the lites' ranges are set in one commit, before the release."""
    raised, released = Version(0, 2, 0), Version(0, 1, 5)

    assert changelog.propose(raised, released, ["fixed"]) == raised


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("3.improved.md", "x"), ("added.md", "x"), ("3.added.txt", "x"), ("03.added.md", "x"),
        ("3.added.md~", "x"), ("3.added.md", " \n"),
    ],
)  # fmt: skip
def test_what_is_no_fragment_is_refused(name: str, text: str) -> None:
    """A change that is passed over in silence is one that users never read of."""
    with pytest.raises(ValueError, match=r"expected"):
        Fragment.parse(name, text)


def test_a_section_lists_changes_by_kind_then_by_issue() -> None:
    """In the order of Keep a Changelog, each with its issue."""
    found = [
        Fragment.parse("10.fixed.md", "Ports are freed.\n"),
        Fragment.parse("9.fixed.md", "Names are checked.\nAll of them."),
        Fragment.parse("3.added.md", "Added completion."),
    ]

    assert changelog.render(Version(0, 1, 1), DAY, found) == (
        "## 0.1.1 (2026-11-25)\n\n### Added\n\n- Added completion. (#3)\n\n"
        "### Fixed\n\n- Names are checked.\n  All of them. (#9)\n- Ports are freed. (#10)\n"
    )


def test_the_newest_section_stands_first_and_older_ones_stay_as_they_were() -> None:
    """Three releases, one after the other."""
    text = ""
    for number in range(3):
        section = changelog.render(Version(0, 1, number), DAY, [Fragment(number, "fixed", "It.")])
        before, text = text, changelog.insert(text, section, name="chittyops-core")
        assert text.endswith(before.partition("\n\n## ")[2])
        assert changelog.first_heading(text) == f"0.1.{number}"

    headings = [line.split()[1] for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["0.1.2", "0.1.1", "0.1.0"]
    assert text.count("# Changelog of chittyops-core\n") == 1
    assert "\n\n\n" not in text


def test_only_the_version_of_a_pyproject_changes() -> None:
    """Comments, order and the versions of others stay."""
    text = '# ours\n[project]\nversion = "0.1.0"\ndependencies = ["x==0.1.0"]\n'

    assert changelog.set_version(text, Version(0, 2, 0)) == text.replace('"0.1.0"\n', '"0.2.0"\n')


@pytest.mark.parametrize("text", ['name = "x"\n', 'version = "1"\nversion = "2"\n'])
def test_a_pyproject_without_one_static_version_is_refused(text: str) -> None:
    """None was changed, or nobody knows which."""
    with pytest.raises(ValueError, match="expected one line"):
        changelog.set_version(text, Version(0, 2, 0))


@pytest.mark.parametrize(
    ("version", "expected"), [("0.1.0", True), ("0.1.9", True), ("0.2.0", False), ("0.0.9", False)]
)
def test_a_range_holds_what_it_says(version: str, expected: bool) -> None:
    """As pip reads it."""
    wanted = changelog.range_of(["attrs", "chittyops-core[local]>=0.1,<0.2"], "chittyops-core")

    assert wanted is not None
    assert changelog.fits(wanted, Version.parse(version)) is expected
