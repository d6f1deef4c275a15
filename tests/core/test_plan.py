"""Plans are pure: what the app asks for, against what the host knows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

from chittyops_core import App, Plan, Service
from chittyops_core.deploy import plan as plans
from chittyops_core.deploy.plan import ServiceView
from chittyops_core.deploy.source import Source
from chittyops_core.errors import KindMismatchError, ManifestError, SecretError
from chittyops_core.model.release import Strategy

SOURCE = Source("/app", "d" * 64, (), 1)


def view(**known: object) -> ServiceView:
    empty = ServiceView(
        Service("hello"), None, None, None, (), {}, {}, False, {}, "CPython-3.11", False
    )
    return evolve(empty, **known)


def draft(folder: Path, toml: str = "", **known: object) -> Plan:
    (folder / "chittyops.toml").write_text(
        f"[app]\nname = 'hello'\n[process.web]\ncommand = 'serve $SOCKET'\n{toml}"
    )
    seen = view(**known)
    return plans.complete(
        plans.draft(App.load(folder), seen.service, "chitty-apps", seen, SOURCE), seen
    )


def test_a_first_plan_shows_what_comes(tmp_path: Path) -> None:
    """The service, its processes and variables."""
    plan = draft(tmp_path, "[env]\nA = 'x'")

    assert plan.base is None
    assert {change.what for change in plan.changes} >= {"service", "process web.command", "env A"}


def test_the_same_app_leads_to_the_same_release(tmp_path: Path) -> None:
    """Nothing of the moment is part of its id."""
    assert draft(tmp_path).release.id == draft(tmp_path).release.id


@pytest.mark.parametrize(
    "toml", ["[env]\nA = 'x'", "[health]\npath = '/x'", "[deploy]\ndrain = '1s'"]
)
def test_every_setting_is_part_of_the_id(tmp_path: Path, toml: str) -> None:
    """So that a change of configuration is a release of its own."""
    assert draft(tmp_path).release.id != draft(tmp_path, toml).release.id


def test_what_serves_already_is_no_change(tmp_path: Path) -> None:
    """If it runs; if it does not, the deploy starts it anew."""
    serving = draft(tmp_path).release

    assert draft(tmp_path, serving=serving, running=True).is_unchanged
    assert not draft(tmp_path, serving=serving, running=False).is_unchanged
    assert draft(tmp_path, serving=serving).changes == ()


@pytest.mark.parametrize(
    ("has_sqlite", "toml", "strategy"),
    [
        (False, "", Strategy.BLUE_GREEN),
        (True, "", Strategy.RECREATE),
        (True, "[deploy]\nstrategy = 'blue-green'", Strategy.BLUE_GREEN),
        (False, "[deploy]\nstrategy = 'recreate'", Strategy.RECREATE),
    ],
)
def test_a_sqlite_file_in_the_state_implies_recreate(
    tmp_path: Path, has_sqlite: bool, toml: str, strategy: Strategy
) -> None:
    """Unless the manifest says otherwise."""
    assert draft(tmp_path, toml, has_sqlite=has_sqlite).config.lifecycle.strategy is strategy


def test_a_changed_secret_is_the_only_change_and_shows_no_value(tmp_path: Path) -> None:
    """The fingerprint itself is not shown either."""
    toml = "[env]\nKEY = { secret = 'portal/key' }"
    serving = draft(tmp_path, toml, fingerprints={"portal/key": "aaaa"}).release

    plan = draft(tmp_path, toml, fingerprints={"portal/key": "bbbb"}, serving=serving)

    (change,) = plan.changes
    assert (change.what, change.before, change.after) == ("env KEY (secret)", "set", "changed")


def test_a_secret_to_be_generated_leaves_the_id_open(tmp_path: Path) -> None:
    """It is known once the host has made the value."""
    plan = draft(tmp_path, "[env]\nKEY = { secret = 'k', generate = 'hex64' }")

    assert not plan.config.is_complete
    assert plan.config.with_fingerprints({"k": "f"}).is_complete
    assert any(change.after == "to be generated" for change in plan.changes)


@pytest.mark.parametrize(
    ("known", "name"),
    [({"k": "1"}, "k"), ({"k/acme": "2"}, "k/acme"), ({"k": "1", "k/acme": "2"}, "k/acme")],
)
def test_a_clients_own_secret_goes_before_the_shared_one(
    tmp_path: Path, known: dict[str, str], name: str
) -> None:
    """`NAME/CLIENT`, then `NAME`."""
    plan = draft(
        tmp_path, "[env]\nKEY = { secret = 'k' }", service=Service("hello", client="acme"),
        fingerprints=known,
    )  # fmt: skip

    secret = plan.config.variables["KEY"].secret
    assert secret is not None
    assert secret.name == name


def test_a_generated_secret_is_always_the_clients_own(tmp_path: Path) -> None:
    """Two clients never share a key that nobody chose."""
    plan = draft(
        tmp_path, "[env]\nKEY = { secret = 'k', generate = 'hex64' }",
        service=Service("hello", client="acme"), fingerprints={"k": "shared"},
    )  # fmt: skip

    secret = plan.config.variables["KEY"].secret
    assert secret is not None
    assert (secret.name, secret.fingerprint) == ("k/acme", None)


def test_a_missing_secret_is_refused(tmp_path: Path) -> None:
    """With the command that sets it."""
    with pytest.raises(SecretError) as caught:
        draft(tmp_path, "[env]\nKEY = { secret = 'portal/key' }")

    assert caught.value.remedy == "chittyops secrets set portal/key"


def test_a_required_variable_must_have_a_value(tmp_path: Path) -> None:
    """From the manifest or from this host's settings, of the right type."""
    toml = "[env]\nAPI = { required = true, type = 'url', description = 'the court API' }"

    with pytest.raises(ManifestError, match=r"API \(the court API\) is required"):
        draft(tmp_path, toml)
    with pytest.raises(ManifestError, match="is no url"):
        draft(tmp_path, toml, settings={"API": "nonsense"})
    plan = draft(tmp_path, toml, settings={"API": "https://api"})
    assert plan.config.variables["API"].value == "https://api"


def test_a_setting_of_the_host_wins_over_the_manifest(tmp_path: Path) -> None:
    """And one that the manifest does not name is there as well."""
    plan = draft(tmp_path, "[env]\nA = '1'", settings={"A": "2", "B": "3"})

    assert plan.config.variables["A"].value == "2"
    assert plan.config.variables["B"].value == "3"


def test_a_host_name_belongs_to_one_service(tmp_path: Path) -> None:
    """The one that has it is named."""
    with pytest.raises(ManifestError, match=r"a\.example is the address of other\.production"):
        draft(
            tmp_path, "[environment.production]\napp.hosts = ['a.example']",
            hosts_taken={"a.example": "other.production"},
        )  # fmt: skip


def test_a_service_keeps_its_kind(tmp_path: Path) -> None:
    """gate-bypass attack: the same service under a kind with a weaker gate."""
    with pytest.raises(KindMismatchError, match="is a cook-county service"):
        draft(tmp_path, kind="cook-county")


def test_a_rollback_plan_needs_no_source_and_warns_of_migrations(tmp_path: Path) -> None:
    """The old release's configuration and artifact, as they were."""
    old = draft(tmp_path, "[deploy]\nrelease = './migrate'\ndrain = '9s'").release
    serving = draft(tmp_path).release

    plan = plans.draft_rollback(view(serving=serving, kind="chitty-apps"), old)

    assert (plan.source, plan.release.id, plan.base) == (None, old.id, serving.id)
    assert plan.config.lifecycle.drain == timedelta(seconds=9)
    assert "is not undone" in plan.notes[0]


def test_long_values_are_cut_in_what_is_shown(tmp_path: Path) -> None:
    """A plan stays readable; the release has it all."""
    plan = draft(tmp_path, f"[env]\nA = '{'x' * 5000}'")

    (change,) = [change for change in plan.changes if change.what == "env A"]
    assert change.after is not None
    assert len(change.after) < 300
    assert len(plan.config.variables["A"].value or "") == 5000
