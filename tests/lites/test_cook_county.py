"""cook-county: nothing serves unless every check ran and passed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from chittyops_core import Finding, Outcome, Plan, Result, Severity
from chittyops_core.deploy import plan as plans
from chittyops_core.deploy.plan import ServiceView
from chittyops_core.deploy.source import read_source
from chittyops_core.host.fetch import fetch
from chittyops_core.model.service import Service
from chittyops_core.testing.contracts import LiteContract
from chittyops_lite_cook_county import Check, CookCountyOpsLite
from chittyops_lite_cook_county.compliance.runner import run_checks
from conftest import COMMAND, HostUnderTest, address_of, write_app


def empty_view(service: Service) -> ServiceView:
    return ServiceView(service, None, None, None, (), {}, {}, False, {}, "CPython-3.11", False)


@pytest.fixture
def operator() -> CookCountyOpsLite:
    return CookCountyOpsLite()


@pytest.fixture
def plan(operator: CookCountyOpsLite, tmp_path: Path) -> Plan:
    return make_plan(operator, write_app(tmp_path / "hello"))


def make_plan(operator: CookCountyOpsLite, folder: Path) -> Plan:
    text = (folder / "chittyops.toml").read_text()
    (folder / "chittyops.toml").write_text(text.replace('kind = "chitty-apps"\n', ""))
    app = operator.load(folder)
    service = operator.service(app.name)
    return plans.draft(app, service, "cook-county", empty_view(service), read_source(folder))


class TestCookCounty(LiteContract):
    """It keeps the contract of all lites."""

    lite = CookCountyOpsLite


# --- the runner ------------------------------------------------------------------------------


def check(outcome: str) -> Check[str]:
    def look(check: Check[str], subject: str) -> Result:
        match outcome:
            case "pass":
                return Result.passed(check.id, check.title, "well")
            case "fail":
                return Result.failed(check.id, check.title, "ill", "mend it")
            case "not-applicable":
                return Result.not_applicable(check.id, check.title, "nothing to look at")
            case "needs-person":
                return Result.needs_person(check.id, check.title, "is it so?", "look yourself")
        raise OSError("the tool is gone")

    return Check(f"test.{outcome}", "A title", "NIST", look)


@pytest.mark.parametrize(
    ("outcome", "is_open"),
    [
        ("pass", True), ("not-applicable", True), ("fail", False), ("not-run", False),
        ("needs-person", False),
    ],
)  # fmt: skip
def test_only_pass_and_not_applicable_open_the_gate(outcome: str, is_open: bool) -> None:
    """Five outcomes; a check that breaks is NOT_RUN, and NOT_RUN closes the gate."""
    report = run_checks([check("pass"), check(outcome)], "subject")

    assert report.results[1].outcome is Outcome(outcome)
    assert report.is_open is is_open
    assert any(finding.is_blocking for finding in report.findings) is not is_open


def test_no_checks_at_all_open_nothing() -> None:
    """An audit that looked at nothing has not passed."""
    assert not run_checks([], "subject").is_open


def test_a_silent_gate_is_refused(operator: CookCountyOpsLite) -> None:
    """A gate that reported nothing lets nothing through, whatever its hooks return."""
    from chittyops_core.errors import GateClosedError

    with pytest.raises(GateClosedError):
        operator._require_audit([])
    operator._require_audit([Finding("x", Severity.INFO, "looked")])


# --- repository checks, each with a fault and a clean control ----------------------------------

HSTS = "response.headers['Strict-Transport-Security']"
HASHED = "flask==3.1.0 \\\n    --hash=sha256:0000000000000000000000000000000000000000000000000000\n"


@pytest.mark.parametrize(
    ("requirements", "outcome"),
    [
        (HASHED, Outcome.PASS),
        ("# a comment\n--index-url https://example.org\n" + HASHED, Outcome.PASS),
        (HASHED + "gunicorn\n", Outcome.FAIL),
        ("flask==3.1.0\n", Outcome.FAIL),
        ("flask>=3 --hash=sha256:00\n", Outcome.FAIL),
        ("flask==3.* --hash=sha256:00\n", Outcome.FAIL),
        ("-r other.txt\n", Outcome.FAIL),
        ("-e .\n", Outcome.FAIL),
        ("git+https://example.org/x.git\n", Outcome.FAIL),
    ],
)
def test_dependencies_must_be_pinned_with_hashes(
    operator: CookCountyOpsLite, tmp_path: Path, requirements: str, outcome: Outcome
) -> None:
    """In requirements.txt: each by == and a hash, and nothing that the check cannot see through."""
    folder = write_app(tmp_path / "hello")
    (folder / "requirements.txt").write_text(requirements)

    report = operator.run_compliance_audit(make_plan(operator, folder))

    assert report.results[0].outcome is outcome, report.results[0]


def test_pyproject_without_a_lock_is_refused(operator: CookCountyOpsLite, tmp_path: Path) -> None:
    """A range of versions is no pin; uv.lock beside it is."""
    folder = write_app(tmp_path / "hello")
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    loose = operator.run_compliance_audit(make_plan(operator, folder))
    (folder / "uv.lock").write_text(
        '[[package]]\nname = "flask"\nwheels = [{ url = "u", hash = "sha256:00" }]\n'
    )
    locked = operator.run_compliance_audit(make_plan(operator, folder))

    assert loose.results[0].outcome is Outcome.FAIL
    assert locked.results[0].outcome is Outcome.PASS


def test_a_lock_that_cannot_be_read_is_not_run(operator: CookCountyOpsLite, tmp_path: Path) -> None:
    """Broken is not passed."""
    folder = write_app(tmp_path / "hello")
    (folder / "uv.lock").write_text("not = [toml")

    report = operator.run_compliance_audit(make_plan(operator, folder))

    assert report.results[0].outcome is Outcome.NOT_RUN
    assert not report.is_open


def test_a_file_that_others_may_write_is_found(operator: CookCountyOpsLite, plan: Plan) -> None:
    """Files and folders alike; clean before, found after."""
    assert plan.source is not None
    folder = Path(plan.source.folder)
    clean = operator.run_compliance_audit(plan)
    (folder / "serve.py").chmod(0o666)

    seeded = operator.run_compliance_audit(plan)

    assert clean.results[1].outcome is Outcome.PASS
    assert seeded.results[1].outcome is Outcome.FAIL
    assert "serve.py" in seeded.results[1].findings[0].summary


# --- the whole gate, on a real host --------------------------------------------------------------


@pytest.fixture
def portal(host: HostUnderTest, tmp_path: Path) -> Path:
    """The starter app as `chittyops new` makes it."""
    folder = tmp_path / "court-portal"
    done = host.run("new", "cook-county", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_a_new_app_is_writable_by_nobody_else_whatever_the_umask(tmp_path: Path) -> None:
    """Or the gate would refuse what `chittyops new` has just made."""
    folder = tmp_path / "court-portal"
    subprocess.run([str(COMMAND), "new", "cook-county", str(folder)], check=True, umask=0)

    loose = [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o022]
    assert loose == []


@pytest.mark.host
@pytest.mark.network
def test_the_starter_passes_its_own_gate(host: HostUnderTest, portal: Path) -> None:
    """It serves by TLS with a certificate that verifies, and HTTP leads there."""
    report = host.deploy(portal)

    answer = fetch(address_of(report))
    assert report["url"] == f"https://court-portal.localhost:{host.https}"
    assert (answer.status, answer.tls_version) == (200, "TLSv1.3")
    checks = {finding["check"] for finding in report["findings"]}
    assert checks == {
        "dependencies.locked", "files.private", "transport.redirect", "transport.tls",
        "headers.security", "cookies.flags",
    }  # fmt: skip
    bare = address_of({**report, "connect": {**report["connect"], "tls": False,
                       "address": f"127.0.0.1:{host.http}"}})  # fmt: skip
    assert fetch(bare).status == 308


@pytest.mark.host
@pytest.mark.network
@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (("SESSION_COOKIE_SECURE=True", "SESSION_COOKIE_SECURE=False"), "lacks Secure"),
        (("SESSION_COOKIE_HTTPONLY=True", "SESSION_COOKIE_HTTPONLY=False"), "lacks HttpOnly"),
        (("SAMESITE=\"Lax\"", "SAMESITE=None"), "lacks SameSite"),
        (("response.headers[\"Content-Security-Policy\"] =", "_ ="), "Content-Security-Policy is"),
        (("\"nosniff\"", "\"sniff\""), "X-Content-Type-Options says"),
        (("return response", f"{HSTS} = 'max-age=1'; return response"), "Security says"),
    ],
)  # fmt: skip
def test_each_seeded_fault_closes_the_gate(
    host: HostUnderTest, portal: Path, fault: tuple[str, str], found: str
) -> None:
    """On the staged release, before it gets a request; nothing is left in service."""
    code = (portal / "portal.py").read_text()
    assert fault[0] in code
    (portal / "portal.py").write_text(code.replace(*fault))

    said = host.refuse(portal)

    assert found in said
    assert host.status() == []


@pytest.mark.host
@pytest.mark.network
def test_a_closed_gate_leaves_the_serving_release_alone(host: HostUnderTest, portal: Path) -> None:
    """And says so as JSON, with each finding and its remedy."""
    one = host.deploy(portal)
    (portal / "requirements.txt").write_text("flask\n")

    done = host.run("deploy", str(portal), "--yes", "--json")

    findings = json.loads(done.stdout)["error"]["facts"]["findings"]
    assert done.returncode == 1
    assert [finding["check"] for finding in findings] == ["dependencies.locked"]
    assert "--generate-hashes" in findings[0]["remedy"]
    assert host.status()[0]["serving"] == one["release"]


@pytest.mark.host
def test_the_compliance_command_reports_without_deploying(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """Exit 1 when the gate is closed, with the remedy; 0 when it is open."""
    folder = write_app(tmp_path / "hello")
    text = (folder / "chittyops.toml").read_text()
    (folder / "chittyops.toml").write_text(text.replace("chitty-apps", "cook-county"))
    opened = host.run("compliance", str(folder))
    os.chmod(folder / "serve.py", 0o666)
    closed = host.run("compliance", str(folder))

    assert opened.returncode == 0, opened.stdout + opened.stderr
    assert closed.returncode == 1
    assert "chmod -R o-w" in closed.stdout


@pytest.mark.host
def test_a_release_cannot_serve_without_its_receipt(host: HostUnderTest, tmp_path: Path) -> None:
    """gate-bypass attack: steps sent to the host by hand, with no receipt, another kind's, or
    another release's."""
    from chittyops_core.errors import GateClosedError
    from chittyops_core.host import HostClient
    from chittyops_core.model.release import GateReceipt

    operator = CookCountyOpsLite(home=host.home)
    folder = write_app(tmp_path / "hello")
    plan = operator._configure(make_plan(operator, folder))
    forged = [
        None,
        GateReceipt("chitty-apps", plan.release.id),
        GateReceipt("cook-county", "0123456789abcdef"),
        GateReceipt("cook-county", plan.release.id, (Finding("x", Severity.BLOCKING, "no"),)),
    ]
    for receipt in forged:
        with HostClient(host.home) as client:
            client.build(plan, wait=True)
            client.stage()
            with pytest.raises(GateClosedError):
                client.serve(receipt)
    shutil.rmtree(folder)

    assert host.status() == []
