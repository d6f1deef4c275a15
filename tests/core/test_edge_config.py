"""The edge's configuration: a pure function of the routes, checked by Caddy itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from chittyops_core.deploy.targets.local.caddy import HostSettings, render
from chittyops_core.deploy.targets.local.layout import MAX_SOCKET_PATH, Layout
from chittyops_core.deploy.targets.local.routes import SLOTS, Route, RouteClass, RouteTable
from chittyops_core.errors import HostError
from chittyops_core.model.release import EdgePolicy

CADDY = Path(sys.executable).with_name("caddy")
PLAIN, TLS = EdgePolicy(), EdgePolicy(tls=True, headers={"X-Frame-Options": "DENY"})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.edge.mkdir()
    return layout


@pytest.fixture
def table(layout: Layout) -> RouteTable:
    return RouteTable(layout)


def route(
    layout: Layout, name: str, policy: EdgePolicy = PLAIN, *, stage: bool = False,
    on_sockets: bool = True,
) -> Route:  # fmt: skip
    host = f"stage--{name}.localhost" if stage else f"{name}.localhost"
    pointer = layout.services / name / ("stage" if stage else "live")
    return Route((host,), pointer, policy, stage, f"{name}.localhost", on_sockets)


def configuration(table: RouteTable, layout: Layout, ports: HostSettings | None = None) -> dict:
    return render(table.classes(), table.explicit(), None, ports or HostSettings(), layout)


def routes_of(config: dict, server: str) -> list[dict]:
    return config["apps"]["http"]["servers"][server]["routes"]


@pytest.mark.parametrize("policies", [[], [PLAIN], [TLS], [PLAIN, TLS], [TLS, TLS, PLAIN]])
@pytest.mark.parametrize("on_sockets", [True, False])
def test_caddy_accepts_what_is_rendered(
    layout: Layout, table: RouteTable, policies: list[EdgePolicy], on_sockets: bool
) -> None:
    """`caddy validate` provisions every module of it."""
    table.create()
    for number, policy in enumerate(policies):
        name = f"a{number}"
        routes = [
            route(layout, name, policy, stage=stage, on_sockets=on_sockets)
            for stage in (False, True)
        ]
        table.publish(name, routes)
    file = layout.edge / "caddy.json"
    file.write_text(json.dumps(configuration(table, layout)))

    done = subprocess.run(
        [CADDY, "validate", "--config", file], capture_output=True, text=True,
        env={"HOME": str(layout.edge), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_a_new_name_changes_nothing_in_the_configuration(layout: Layout, table: RouteTable) -> None:
    """It is a link, and goes as it came; only new TLS or headers are a change."""
    table.publish("a", [route(layout, "a"), route(layout, "a", stage=True)])
    before = configuration(table, layout)

    table.publish("b", [route(layout, "b"), route(layout, "b", stage=True)])
    same = configuration(table, layout)
    table.publish("b", [])
    again = configuration(table, layout)
    table.publish("c", [route(layout, "c", TLS)])
    other = configuration(table, layout)

    assert before == same == again != other


def test_links_lead_to_the_pointer_and_go_with_the_service(
    layout: Layout, table: RouteTable
) -> None:
    """A service of another kind of edge policy moves to another class."""
    folder = layout.edge / "r"
    plain, strict = (RouteClass(p.tls, p.headers).name for p in (PLAIN, TLS))
    table.publish("a", [route(layout, "a")])
    first = (folder / plain / "a.localhost").readlink()
    table.publish("a", [route(layout, "a", TLS)])

    moved = (folder / strict / "a.localhost").readlink()
    assert first == moved == layout.services / "a" / "live"
    assert not (folder / plain / "a.localhost").is_symlink()
    table.publish("a", [])
    assert not (folder / strict / "a.localhost").is_symlink()


def test_a_name_that_another_service_took_over_stays_with_it(
    layout: Layout, table: RouteTable
) -> None:
    """When the one that had it first is removed."""
    host = ("www.example.org",)
    table.publish("a", [evolve(route(layout, "a"), hosts=host)])
    table.publish("b", [evolve(route(layout, "b"), hosts=host)])
    table.publish("a", [])

    link = layout.edge / "r" / RouteClass(False).name / host[0]
    assert link.readlink() == layout.services / "b" / "live"


def test_names_that_were_written_into_the_configuration_need_no_look_at_the_disk(
    layout: Layout, table: RouteTable
) -> None:
    """A written name that goes leads to where Caddy itself says that nobody has it."""
    table.publish("a", [route(layout, "a"), route(layout, "a", stage=True)])
    table.write_names()
    matches = [r.get("match") for r in routes_of(configuration(table, layout), "http")]
    before = configuration(table, layout)
    table.publish("a", [])

    link = layout.edge / "r" / RouteClass(False).name / "a.localhost"
    assert [{"host": ["a.localhost"]}] in matches
    assert (link / "s0").readlink() == layout.gone_socket
    assert configuration(table, layout) == before
    table.write_names()
    assert not link.is_symlink()


def test_a_written_name_that_changes_its_class_makes_the_configuration_outdated(
    layout: Layout, table: RouteTable
) -> None:
    """Until all names are written anew."""
    table.publish("a", [route(layout, "a")])
    table.publish("b", [route(layout, "b")])
    table.write_names()
    table.publish("a", [route(layout, "a", TLS)])
    seen = table.is_outdated("a"), table.is_outdated("b")

    table.write_names()
    assert seen == (True, False)
    assert not table.is_outdated("a")


def test_a_route_in_the_configuration_has_all_its_slots_in_one_folder(
    layout: Layout, table: RouteTable
) -> None:
    """So that one rename of the folder's link switches them all."""
    table.publish("a", [route(layout, "a", on_sockets=False)])
    first = routes_of(configuration(table, layout), "http")[1]

    dials = [upstream["dial"] for upstream in first["handle"][-1]["upstreams"]]
    folder = layout.services / "a" / "live"
    assert dials == [f"{{file.{folder}/{slot}}}" for slot in range(SLOTS)]


@pytest.mark.parametrize("length", [80, 90, 200])
def test_a_name_too_long_for_a_socket_path_stands_in_the_configuration(
    layout: Layout, table: RouteTable, length: int
) -> None:
    """And any other is a link that fits, whatever CHITTYOPS_HOME is."""
    host = ".".join(["x" * 49] * 4)[-length:].lstrip(".")
    table.publish("a", [evolve(route(layout, "a"), hosts=(host,))])

    link = layout.edge / "r" / RouteClass(False).name / host
    assert link.is_symlink() != bool(table.explicit())
    dialled = f"r/E00/{link.parent.name}/{host}/s{SLOTS - 1}"
    assert (len(dialled) <= MAX_SOCKET_PATH) == link.is_symlink()


def test_http_leads_to_https_for_a_service_that_wants_tls(
    layout: Layout, table: RouteTable
) -> None:
    """With 308, which keeps method and body; the port is left out where it is 443."""
    table.publish("a", [route(layout, "a", TLS)])
    config = configuration(table, layout, HostSettings(80, 443))

    handler = routes_of(config, "http")[2]["handle"][0]
    assert handler["status_code"] == 308
    assert handler["headers"]["Location"] == ["https://{http.request.host}{http.request.uri}"]


def test_without_tls_there_is_no_https_server(layout: Layout, table: RouteTable) -> None:
    """A port that nobody needs is not taken."""
    table.publish("a", [route(layout, "a")])

    assert list(configuration(table, layout)["apps"]["http"]["servers"]) == ["http", "gone"]


@pytest.mark.parametrize("on_sockets", [True, False])
def test_the_stage_route_answers_only_this_machine(
    layout: Layout, table: RouteTable, on_sockets: bool
) -> None:
    """Whoever comes from elsewhere falls through to the last route."""
    table.publish("a", [route(layout, "a", stage=True, on_sockets=on_sockets)])

    ranges = routes_of(configuration(table, layout), "http")[1]["match"][0]["remote_ip"]["ranges"]
    assert ranges == ["127.0.0.0/8", "::1/128"]


def test_headers_are_set_only_where_the_app_sets_none(layout: Layout, table: RouteTable) -> None:
    """`require` with null: the response does not have it."""
    table.publish("a", [route(layout, "a", TLS)])

    header = routes_of(configuration(table, layout), "https")[1]["handle"][0]
    assert header["response"]["require"] == {"headers": {"X-Frame-Options": None}}


def test_the_admin_endpoint_is_a_private_socket(layout: Layout) -> None:
    """admin-takeover attack: a TCP admin port would be root over all services for everyone here."""
    admin = configuration(RouteTable(layout), layout)["admin"]

    assert admin["listen"] == f"unix/{layout.admin_socket}|0600"
    assert admin["config"] == {"persist": False}


@pytest.mark.parametrize(
    "home",
    ["/tmp/" + "x" * 120, "/tmp/a{env.HOME}b", "/tmp/a\nb", "/tmp/a}b", "/tmp/100%", "/tmp/a*b"],
)
def test_a_home_that_cannot_stand_in_a_configuration_is_refused(home: str) -> None:
    """placeholder-injection attack: the home's path becomes part of Caddy's and Supervisor's."""
    with pytest.raises(HostError, match="CHITTYOPS_HOME"):
        Layout.create(Path(home))
    assert not Path(home).exists()
