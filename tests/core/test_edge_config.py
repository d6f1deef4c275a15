"""The edge's configuration: a pure function of the routes, checked by Caddy itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chittyops_core.deploy.targets.local.edge import SLOTS, Ports, Route, render
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.errors import HostError
from chittyops_core.model.release import EdgePolicy

CADDY = Path(sys.executable).with_name("caddy")
PLAIN, TLS = EdgePolicy(), EdgePolicy(tls=True, headers={"X-Frame-Options": "DENY"})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def route(layout: Layout, host: str, policy: EdgePolicy = PLAIN, *, stage: bool = False) -> Route:
    return Route((host,), layout.services / host / "live", policy, None, stage)


def routes_of(config: dict, server: str) -> list[dict]:
    return config["apps"]["http"]["servers"][server]["routes"]


@pytest.mark.parametrize("policies", [[], [PLAIN], [TLS], [PLAIN, TLS], [TLS, TLS, PLAIN]])
def test_caddy_accepts_what_is_rendered(layout: Layout, policies: list[EdgePolicy]) -> None:
    """`caddy validate` provisions every module of it."""
    layout.edge.mkdir()
    routes = [route(layout, f"a{n}.localhost", policy) for n, policy in enumerate(policies)]
    file = layout.edge / "caddy.json"
    file.write_text(json.dumps(render(routes, Ports(), layout)))

    done = subprocess.run(
        [CADDY, "validate", "--config", file], capture_output=True, text=True,
        env={"HOME": str(layout.edge), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_a_route_has_all_its_slots_in_one_folder(layout: Layout) -> None:
    """So that one rename of the folder's link switches them all."""
    (first, *_) = routes_of(render([route(layout, "a.localhost")], Ports(), layout), "http")

    dials = [upstream["dial"] for upstream in first["handle"][-1]["upstreams"]]
    folder = layout.services / "a.localhost" / "live"
    assert dials == [f"{{file.{folder}/{slot}}}" for slot in range(SLOTS)]


def test_http_leads_to_https_for_a_service_that_wants_tls(layout: Layout) -> None:
    """With 308, which keeps method and body; the port is left out where it is 443."""
    config = render([route(layout, "a.localhost", TLS)], Ports(80, 443), layout)

    handler = routes_of(config, "http")[0]["handle"][0]
    assert handler["status_code"] == 308
    assert handler["headers"]["Location"] == ["https://{http.request.host}{http.request.uri}"]
    assert config["apps"]["tls"]["automation"]["policies"][0]["subjects"] == ["a.localhost"]


def test_without_tls_there_is_no_https_server(layout: Layout) -> None:
    """A port that nobody needs is not taken."""
    config = render([route(layout, "a.localhost")], Ports(), layout)

    assert list(config["apps"]["http"]["servers"]) == ["http"]


def test_the_stage_route_answers_only_this_machine(layout: Layout) -> None:
    """Whoever comes from elsewhere falls through to the last route."""
    config = render([route(layout, "stage--a.localhost", stage=True)], Ports(), layout)

    assert routes_of(config, "http")[0]["match"][0]["remote_ip"]["ranges"] == [
        "127.0.0.0/8", "::1/128",
    ]  # fmt: skip


def test_a_single_service_answers_on_the_bare_port(layout: Layout) -> None:
    """Two do not: then a name is needed, and 404 says so."""
    one = [route(layout, "a.localhost"), route(layout, "stage--a.localhost", stage=True)]
    two = [*one, route(layout, "b.localhost")]

    alone = routes_of(render(one, Ports(), layout), "http")[-1]
    crowded = routes_of(render(two, Ports(), layout), "http")[-1]

    assert "match" not in alone
    assert alone["handle"][-1]["handler"] == "reverse_proxy"
    assert crowded["handle"][0]["status_code"] == 404


def test_headers_are_set_only_where_the_app_sets_none(layout: Layout) -> None:
    """`require` with null: the response does not have it."""
    config = render([route(layout, "a.localhost", TLS)], Ports(), layout)

    header = routes_of(config, "https")[0]["handle"][0]
    assert header["response"]["require"] == {"headers": {"X-Frame-Options": None}}


def test_the_admin_endpoint_is_a_private_socket(layout: Layout) -> None:
    """admin-takeover attack: a TCP admin port would be root over all services for everyone here."""
    admin = render([], Ports(), layout)["admin"]

    assert admin["listen"] == f"unix/{layout.admin_socket}|0600"
    assert admin["config"] == {"persist": False}


@pytest.mark.parametrize(
    "home", ["/tmp/" + "x" * 120, "/tmp/a{env.HOME}b", "/tmp/a\nb", "/tmp/a}b", "/tmp/100%"]
)
def test_a_home_that_cannot_stand_in_a_configuration_is_refused(home: str) -> None:
    """placeholder-injection attack: the home's path becomes part of Caddy's and Supervisor's."""
    with pytest.raises(HostError, match="CHITTYOPS_HOME"):
        Layout.create(Path(home))
    assert not Path(home).exists()
