"""What the parent may see is the child's to say (docs/protocol.md section 9)."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from chittyops_core.bridge.consent import NOTHING, Grants
from chittyops_core.errors import BridgeError


def test_by_default_a_child_reports_only(tmp_path: Path) -> None:
    """All that it reports, of all services; a court's host no more than that either."""
    grants = Grants.read(tmp_path)

    assert grants == Grants()
    assert grants.caps() == ("health", "inventory", "metrics", "events")
    assert NOTHING.caps() == ()


def test_grants_are_read_as_they_were_written(tmp_path: Path) -> None:
    grants = Grants(inventory=False, include=("shop.*", "a[0-9]"), exclude=("*.staging",))

    grants.write(tmp_path)

    assert Grants.read(tmp_path) == grants
    assert stat.S_IMODE((tmp_path / "grants.toml").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[report]\nhealth = 1\n", 2, "true or false"),
        ("[report]\nhealth = true\nlogs = true\n", 3, "unknown; there is health"),
        ("[accept]\ncommands = ['*']\n", 1, "unknown; there is report and services"),
        ("health = true\n", 1, "unknown"),
        ("[services]\ninclude = 'shop'\n", 2, "list of patterns"),
        ("[services]\n\nexclude = ['a', 5]\n", 3, "list of patterns"),
        ("[services]\nexclude = ['a b']\n", 2, "list of patterns"),
        ("[report\n", None, ""),
        ("[report]\nhealth = true\nhealth = false\n", None, ""),
    ],
)
def test_what_is_not_known_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int | None, says: str
) -> None:
    """A mistyped key would grant what its author meant to refuse."""
    (tmp_path / "grants.toml").write_text(text)

    with pytest.raises(BridgeError) as error:
        Grants.read(tmp_path)
    assert says in error.value.message
    assert error.value.facts.get("line") == line
    assert error.value.facts["file"] == str(tmp_path / "grants.toml")


def test_an_injected_pattern_is_refused(tmp_path: Path) -> None:
    """Whatever a caller passes does not become TOML of its own."""
    with pytest.raises(BridgeError, match="pattern"):
        Grants(exclude=('a"]\n[report]\nhealth = true',)).write(tmp_path)
    assert not (tmp_path / "grants.toml").exists()


def test_exclude_is_stronger_than_include() -> None:
    grants = Grants(include=("shop.*",), exclude=("*.staging",))

    assert grants.covers("shop.production")
    assert not grants.covers("shop.staging")
    assert not grants.covers("court.production")


def test_a_status_tells_nothing_of_a_service_that_is_left_out() -> None:
    """Nor does it when all of them are."""
    health = {
        "status": "major_outage",
        "services": {"a": {"status": "degraded_performance"}, "b": {"status": "major_outage"}},
    }

    assert Grants(exclude=("b",)).state({"health": health})["health"] == {
        "status": "degraded_performance", "services": {"a": {"status": "degraded_performance"}}
    }  # fmt: skip
    assert Grants(include=()).state({"health": health})["health"]["status"] == "unknown"
    assert Grants().state({"health": health})["health"] == health


def test_sections_that_this_version_does_not_know_stay_here() -> None:
    """What is not granted does not go out because nobody thought of it."""
    assert Grants().state({"future": 1, "config": 2, "bridge": 3}) == {"bridge": 3}


@pytest.mark.parametrize(
    ("name", "is_granted"),
    [
        ("chittyops_host_load1", True),
        ('up{service="shop"}', True), ('up{service="court"}', False),
        ('left{service="court",objective="x"}', False),
        ('left{objective="x", service="court"}', False),
        ('up{service="court', False), ('up{myservice="court"}', True),
    ],
)  # fmt: skip
def test_a_metric_belongs_to_the_service_of_its_label(name: str, is_granted: bool) -> None:
    grants = Grants(exclude=("court",))

    assert grants.metric(name) is is_granted
    assert not Grants(metrics=False).metric(name)
    assert grants.item("metrics", {"v": [1]}, [name]) is is_granted


@pytest.mark.parametrize("kind", ["event", "incident", "config", "audit", "future"])
def test_an_item_belongs_to_the_service_that_it_names(kind: str) -> None:
    grants = Grants(exclude=("court",))

    assert grants.item(kind, {"service": "shop"})
    assert grants.item(kind, {})
    assert not grants.item(kind, {"service": "court"})
    assert not Grants(events=False).item(kind, {})
