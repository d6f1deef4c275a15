"""digital-dossier: each client a service of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chittyops_core import Plan
from chittyops_core.deploy import plan as plans
from chittyops_core.deploy.plan import ServiceView
from chittyops_core.deploy.source import read_source
from chittyops_core.errors import UsageError
from chittyops_core.testing.contracts import LiteContract
from chittyops_lite_digital_dossier import Brand, ClientConfig, DigitalDossierOpsLite
from conftest import HostUnderTest, build_publicly


@pytest.fixture
def operator() -> DigitalDossierOpsLite:
    return DigitalDossierOpsLite("acme")


@pytest.fixture
def plan(operator: DigitalDossierOpsLite, app: Path) -> Plan:
    loaded = operator.load(dossier(app))
    service = operator.service(loaded.name)
    view = ServiceView(service, None, None, None, (), {}, {}, False, {}, "CPython-3.11", False)
    return plans.draft(loaded, service, "digital-dossier", view, read_source(app))


def dossier(folder: Path) -> Path:
    text = (folder / "chittyops.toml").read_text()
    (folder / "chittyops.toml").write_text(text.replace("chitty-apps", "digital-dossier"))
    return folder


class TestDigitalDossier(LiteContract):
    """It keeps the contract of all lites."""

    lite = DigitalDossierOpsLite


def test_it_needs_a_client() -> None:
    """Without one there is nothing to isolate."""
    with pytest.raises(UsageError, match="no client is named"):
        DigitalDossierOpsLite.operator(client=None, home=None, notify=None)


@pytest.mark.parametrize("client", ["../x", "Acme", "a--b", "x" * 300])
def test_a_hostile_client_name_is_refused(app: Path, client: str) -> None:
    """Before it becomes part of a path or a host name."""
    with pytest.raises(UsageError, match="cannot name the client"):
        DigitalDossierOpsLite(client).plan(dossier(app))


@pytest.mark.parametrize("color", ["red", "#fff", "#12345g", "#123456; }"])
def test_a_brand_color_is_six_digits(color: str) -> None:
    """It ends up in a style sheet."""
    with pytest.raises(ValueError, match="#rrggbb"):
        Brand("Acme", color)


@pytest.mark.host
@pytest.mark.network
def test_two_clients_of_one_app_run_side_by_side(host: HostUnderTest, tmp_path: Path) -> None:
    """Own address, brand, release, state, secret; removing one leaves the other."""
    folder = tmp_path / "portal"
    host.run("new", "digital-dossier", str(folder))
    for client in ("acme", "birch"):
        build_publicly(folder / f"clients/{client}.toml")
    acme = host.deploy(folder, "--client", "acme")
    birch = host.deploy(folder, "--client", "birch")

    assert acme["url"] == f"http://acme.portal.localhost:{host.http}"
    assert "Acme Partners LLP" in host.get(acme)
    assert "Birch &amp; Daughters" in host.get(birch)
    assert acme["release"] != birch["release"]
    states = sorted(path.name for path in (host.home / "services").iterdir())
    assert states == ["portal.production.acme", "portal.production.birch"]
    for state in states:
        assert (host.home / "services" / state / "state").stat().st_mode & 0o777 == 0o700
    names = json.loads(host.run("secrets", "list", "--json").stdout)["secrets"]
    assert [secret["name"] for secret in names] == [
        "client-portal/secret-key/acme", "client-portal/secret-key/birch",
    ]  # fmt: skip
    listed = json.loads(host.run("clients", str(folder), "--json").stdout)["clients"]
    assert [row["serving"] for row in listed] == [acme["release"], birch["release"]]

    host.run("remove", "--app", "portal", "--client", "acme", "--yes")
    assert "Birch" in host.get(birch)


@pytest.mark.host
def test_a_mistyped_client_is_refused(host: HostUnderTest, app: Path) -> None:
    """Only a client that somebody set up gets a deployment."""
    (dossier(app) / "clients").mkdir()
    (app / "clients/acme.toml").touch()

    said = host.refuse(app, "--client", "acne")

    assert "acne is no client of this app; known: acme" in said


@pytest.mark.host
def test_an_app_on_a_tcp_port_is_refused(host: HostUnderTest, app: Path) -> None:
    """loopback attack: a TCP port is reachable by every other client's processes."""
    text = (dossier(app) / "chittyops.toml").read_text()
    (app / "chittyops.toml").write_text(text.replace("$SOCKET", "$PORT"))
    (app / "clients").mkdir()
    (app / "clients/acme.toml").touch()

    said = host.refuse(app, "--client", "acme")

    assert "every client's processes on this machine can reach" in said


@pytest.mark.host
def test_a_client_config_is_laid_over_the_manifest(
    host: HostUnderTest, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given in code instead of a file: brand, variables, memory, instances."""
    monkeypatch.setenv("CHITTYOPS_HTTP_PORT", str(host.http))
    monkeypatch.setenv("CHITTYOPS_HTTPS_PORT", str(host.https))
    config = ClientConfig(Brand("Acme LLP", "#112233"), env={"EXTRA": "1"}, instances=2)
    operator = DigitalDossierOpsLite("acme", home=host.home)

    done = operator.deploy_for_client(dossier(app), config)

    report = {"url": done.address.url, "connect": {"address": done.address.connect,
              "host": done.address.host, "tls": False, "ca_file": None}}  # fmt: skip
    seen = dict(line.split("=", 1) for line in host.get(report, "/env").splitlines())
    assert seen["BRAND_NAME"] == "'Acme LLP'"
    assert seen["BRAND_COLOR"] == "'#112233'"
    assert seen["EXTRA"] == "'1'"
    assert seen["CHITTYOPS_CLIENT"] == "'acme'"
    assert len(host.status()[0]["instances"]) == 2


@pytest.mark.host
def test_more_than_the_plan_allows_is_refused(host: HostUnderTest, app: Path) -> None:
    """Processes and memory are bounded for each client."""
    text = (dossier(app) / "chittyops.toml").read_text()
    (app / "chittyops.toml").write_text(
        text.replace("[env]", 'instances = 9\nmemory = "9G"\n[env]')
    )
    (app / "clients").mkdir()
    (app / "clients/acme.toml").touch()

    said = host.refuse(app, "--client", "acme")

    assert "9 processes and more memory for web" in said


@pytest.mark.host
def test_a_process_cannot_take_more_memory_than_its_limit(host: HostUnderTest, app: Path) -> None:
    """memory attack: allocation beyond the limit fails inside the process."""
    import sys

    text = (app / "chittyops.toml").read_text()
    eat = f"{sys.executable} -c 'x = bytearray(700 * 2**20); print(len(x))' || echo refused"
    command = f"({eat}); exec {sys.executable} -S serve.py # $SOCKET"
    (app / "chittyops.toml").write_text(
        text.replace(text.split("'''")[1], command.replace("'", '"'))
    )

    host.deploy(app)

    log = host.run("logs", "--app", "hello").stdout
    assert "MemoryError" in log
    assert "web.0 | refused" in log
