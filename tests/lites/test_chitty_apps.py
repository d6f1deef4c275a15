"""chitty-apps: a folder is enough, and plain words say what is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from chittyops_core import App, Plan
from chittyops_core.deploy import plan as plans
from chittyops_core.deploy.plan import ServiceView
from chittyops_core.deploy.source import read_source
from chittyops_core.testing.contracts import LiteContract
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from chittyops_lite_chitty_apps.plain import in_plain_words
from conftest import HostUnderTest, write_app


@pytest.fixture
def operator() -> ChittyAppsOpsLite:
    return ChittyAppsOpsLite()


@pytest.fixture
def plan(operator: ChittyAppsOpsLite, app: Path) -> Plan:
    loaded = operator.load(app)
    service = operator.service(loaded.name)
    view = ServiceView(service, None, None, None, (), {}, {}, False, {}, "CPython-3.11", False)
    return plans.draft(loaded, service, "chitty-apps", view, read_source(app))


class TestChittyApps(LiteContract):
    """It keeps the contract of all lites."""

    lite = ChittyAppsOpsLite


def test_cost_is_bounded_where_the_manifest_sets_no_bound(
    operator: ChittyAppsOpsLite, plan: Plan
) -> None:
    """Memory for each process, few old releases."""
    cheap = operator.optimize_for_cost(plan)

    assert cheap.config.processes["web"].memory == 512 * 2**20
    assert cheap.config.lifecycle.keep == 2


def test_the_guess_is_told_in_plain_words(tmp_path: Path) -> None:
    """How it starts, and by what we know that it is well."""
    (tmp_path / "my shop").mkdir()
    (tmp_path / "my shop/Procfile").write_text("web: gunicorn shop:app\nmail: python mail.py\n")

    said = in_plain_words(App.load(tmp_path / "my shop"))

    assert "an app called “my-shop”" in said
    assert "started with:  gunicorn shop:app --bind unix:$SOCKET" in said
    assert "it runs mail in the background" in said
    assert "no chittyops.toml" in said


@pytest.mark.host
@pytest.mark.network
def test_a_folder_without_a_manifest_is_enough(host: HostUnderTest, tmp_path: Path) -> None:
    """A Flask app and its requirements: guessed, told, deployed, addressed."""
    folder = tmp_path / "Bobs Bakery"
    folder.mkdir()
    (folder / "app.py").write_text(
        "from flask import Flask\napp = Flask(__name__)\n"
        "@app.get('/')\ndef home():\n    return 'fresh bread'\n"
    )
    (folder / "requirements.txt").write_text("flask\ngunicorn\n")

    done = host.run("simple", str(folder))

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"http://bobs-bakery.localhost:{host.http}"
    assert "gunicorn app:app --bind unix:$SOCKET" in done.stderr


@pytest.mark.host
def test_too_many_processes_are_refused(host: HostUnderTest, app: Path) -> None:
    """Lowest cost is a limit, not a wish."""
    text = (app / "chittyops.toml").read_text()
    (app / "chittyops.toml").write_text(text.replace("[env]", "instances = 9\n[env]"))

    assert "runs at most 4" in host.refuse(app)


@pytest.mark.host
def test_a_first_page_that_fails_is_not_put_online(host: HostUnderTest, app: Path) -> None:
    """Well by its health path, but visitors would get an error."""
    write_app(app, more='[health]\npath = "/env"')
    (app / "serve.py").write_text(
        (app / "serve.py").read_text().replace("return self.answer(200, VERSION)",
                                               'return self.answer(500, "oops")', 1)
    )  # fmt: skip

    assert "answers with an error, 500" in host.refuse(app)
