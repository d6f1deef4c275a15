"""Names become paths, host names and keys, so no two may meet and none may lead elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.model.names import require_host, require_secret_name
from chittyops_core.model.service import Service

name = st.from_regex(r"[a-z0-9](-?[a-z0-9]){0,9}", fullmatch=True)
services = st.builds(Service, name, name, st.none() | name)


@given(services, services)
def test_no_two_services_share_a_key_or_an_address(one: Service, other: Service) -> None:
    """Slug, host and stage host tell every two services apart."""
    if one == other:
        return

    assert one.slug != other.slug
    hosts = {one.local_host, one.stage_host, other.local_host, other.stage_host}
    assert len(hosts) == 4


@given(services)
def test_a_slug_leads_back_to_its_service(service: Service) -> None:
    """It is how folders are read back."""
    assert Service.from_slug(service.slug) == service


def test_the_longest_names_fit_into_one_label_each() -> None:
    """RFC 1035 2.3.4: 63 octets a label, 255 a name."""
    service = Service("a" * 32, "e" * 20, "c" * 40)

    assert all(len(label) <= 63 for label in service.stage_host.split("."))
    assert len(service.stage_host) <= 253


@pytest.mark.parametrize(
    "hostile",
    ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", "a\nb", "-a", "a-", "a--b", "A", "é", "ａ",
     "a.b",
     "x" * 33, "a b", "{env.X}", "%(x)s", "$(x)"],
)  # fmt: skip
def test_hostile_names_are_refused(hostile: str) -> None:
    """path-traversal, header and placeholder attacks by name."""
    with pytest.raises(ValueError, match="cannot name the app"):
        Service(hostile)


@pytest.mark.parametrize(
    "hostile", ["", "a b", "A.example", "a..b", ".a", "a.", "-a.b", "x" * 64, "{file./etc/passwd}",
                "a:80", "a/b", "*.a"],
)  # fmt: skip
def test_hostile_hosts_are_refused(hostile: str) -> None:
    """They become part of the edge's configuration."""
    with pytest.raises(ValueError, match="is no host name"):
        require_host(hostile)


@pytest.mark.parametrize("hostile", ["", "/", "a//b", "../a", "a/../b", "a/", "A", "a b", "a\n"])
def test_hostile_secret_names_are_refused(hostile: str) -> None:
    """Parts of a-z, 0-9, '.', '_', '-', none empty or only dots."""
    with pytest.raises(ValueError, match="cannot name a secret"):
        require_secret_name(hostile)
