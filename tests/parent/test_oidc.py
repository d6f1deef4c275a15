"""Signing in by an OpenID provider, against a real one and against one that lies."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import sqlalchemy as sa
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from litestar.testing import TestClient

from chittyops_core.errors import ParentError
from chittyops_core.parent.access import Role
from chittyops_core.parent.app import Parent
from chittyops_core.parent.operators import accounts, oidc
from chittyops_core.parent.operators.passwords import Hasher
from chittyops_core.parent.operators.signing_in import Authentication
from chittyops_core.parent.schema import activity
from conftest import FakeClock
from parent.access import CHEAP, Browser, parent_with
from parent.openid_provider import SECRET, Provider, openid_provider

REDIRECT = "http://127.0.0.1:9/login/oidc/callback"
ADA = {"sub": "1001", "preferred_username": "Ada", "groups": ["staff", "ops"]}
SETTINGS = """
[oidc]
issuer = "{issuer}"
client_id = "chittyops"
client_secret_file = "oidc.secret"
redirect = "{redirect}"
{more}
[oidc.roles]
"ops-admins" = "admin"
"ops" = "operator"
"everybody" = "viewer"
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    """A provider for all tests of this file."""
    with openid_provider(REDIRECT) as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.person, running.alter, running.said = dict(ADA), None, {}
    return running


def configure(data: Path, provider: Provider, more: str = "") -> None:
    text = SETTINGS.format(issuer=provider.issuer, redirect=REDIRECT, more=more)
    (data / "parent.toml").write_text(text)
    (data / "oidc.secret").write_text(SECRET + "\n")
    (data / "oidc.secret").chmod(0o600)


Visit = Callable[[], Browser]


@pytest.fixture
def parent(tmp_path: Path, provider: Provider) -> Iterator[tuple[Parent, Visit]]:
    """A parent with that provider, and what opens browsers on it."""
    configure(tmp_path, provider)
    with parent_with(tmp_path, Role.ADMIN) as (app, parent), TestClient(app) as client:
        assert isinstance(parent.clock, FakeClock)
        parent.clock.time = datetime.now(UTC)

        def visit() -> Browser:
            # As if the attempts before were long ago.
            app.state["authentication"] = Authentication(Hasher(CHEAP))
            return Browser(client)

        yield parent, visit


def go(browser: Browser, path: str = "/login/oidc") -> str:
    """Begin, let the provider sign in, and return the callback that the browser is sent to."""
    sent = browser.get(path)
    assert sent.status_code == 303, sent.text
    answer = requests.get(sent.headers["location"], allow_redirects=False, timeout=10)
    assert answer.status_code == 302, answer.text
    back = answer.headers["location"]
    assert back.startswith(REDIRECT + "?")
    return back.removeprefix("http://127.0.0.1:9")


def names(parent: Parent) -> dict[str, Role]:
    with parent.database.reading() as reader:
        return {each.name: each.role for each in accounts.accounts(reader)}


def test_who_signs_in_at_the_provider_is_let_in_with_the_role_that_is_mapped(
    parent: tuple[Parent, Visit], provider: Provider
) -> None:
    """Made at the first sign-in, led to the page that was asked for, lowered by the provider."""
    server, visit = parent
    browser = visit()

    start = browser.get("/login/oidc?next=/account")
    asked = parse_qs(urlsplit(start.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"] and len(asked["nonce"][0]) == 43
    assert "groups" not in start.headers["location"]
    done = browser.get(go(browser, "/login/oidc?next=/account"))
    assert (done.status_code, done.headers["location"]) == (303, "/account"), done.text
    assert names(server) == {"admin": Role.ADMIN, "ada": Role.OPERATOR}
    assert browser.get("/account").status_code == 200
    assert "Change your password" not in browser.get("/account").text
    provider.person["groups"] = "everybody"
    assert visit().get(go(browser)).status_code == 403  # Another browser's.
    again = visit()
    assert again.get(go(again)).status_code == 303
    assert names(server)["ada"] is Role.VIEWER
    assert browser.ask("GET", "/v1/me").json()["role"] == "viewer"


def test_whoever_has_no_role_any_more_is_out_everywhere(
    parent: tuple[Parent, Visit], provider: Provider
) -> None:
    """The next sign-in is refused, and sessions from before end with it."""
    _, visit = parent
    browser = visit()
    browser.get(go(browser))
    assert browser.get("/account").status_code == 200

    provider.person["groups"] = ["staff"]
    other = visit()
    assert other.get(go(other)).status_code == 403
    assert browser.get("/account").status_code == 303


def test_a_name_at_the_provider_takes_no_local_account_over_account_takeover_attack(
    parent: tuple[Parent, Visit], provider: Provider
) -> None:
    """Whoever is called admin there is not the admin here."""
    server, visit = parent
    provider.person.update(preferred_username="admin", sub="666", groups=["ops-admins"])

    browser = visit()
    assert browser.get(go(browser)).status_code == 403
    assert names(server) == {"admin": Role.ADMIN}
    for name in ("<script>", "", None, ["admin"], "a" * 100, "\u0430dmin"):
        provider.person["preferred_username"] = name
        browser = visit()
        assert browser.get(go(browser)).status_code == 403, name
    with server.database.reading() as reader:
        outcomes = reader.scalars(sa.select(activity.c.outcome)).all()
    assert set(outcomes) == {"refused"}


def test_a_disabled_operator_stays_out_though_the_provider_lets_them_in(
    parent: tuple[Parent, Visit],
) -> None:
    """What is decided here holds here."""
    server, visit = parent
    browser = visit()
    browser.get(go(browser))
    with server.database.reading() as reader:
        ada = accounts.by_name(reader, "ada")
    assert ada is not None

    server.database.write(lambda writer: accounts.disable(writer, ada.id, now=1.0))
    assert browser.get(go(browser)).status_code == 403


def test_only_the_browser_that_began_can_end_it_login_csrf_attack(
    parent: tuple[Parent, Visit],
) -> None:
    """Another's callback, a made-up state, one used before, none at all."""
    _, visit = parent
    attacker, victim = visit(), visit()
    victim.get("/login/oidc")

    stolen = go(attacker)
    for path in (stolen, "/login/oidc/callback", "/login/oidc/callback?code=x&state=y"):
        assert victim.get(path).status_code == 403
        assert "chittyops" not in victim.cookies
        victim.get("/login/oidc")
    assert attacker.get(stolen).status_code == 303
    again = visit()
    assert again.get(stolen).status_code == 403
    mixed = go(victim) + "&iss=https://evil.test"
    assert victim.get(mixed).status_code == 403


def forged(alg: str) -> Callable[..., Any]:
    """Return an alteration that signs with another key."""

    def alter(header: dict[str, Any], claims: dict[str, Any]) -> Any:
        if alg == "none":
            parts = [{"alg": "none"}, claims]
            text = [
                base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
                for part in parts
            ]
            return header, claims, f"{text[0]}.{text[1]}."
        if alg == "HS256":
            key = OctKey.import_key(SECRET.ljust(32, "x"))
            return header, claims, jwt.encode({"alg": alg}, claims, key, [alg])
        return header, claims, RSAKey.generate_key(2048, {"kid": "k1"})

    return alter


def changed(**others: Any) -> Callable[..., Any]:
    """Return an alteration of claims; None takes one away."""

    def alter(header: dict[str, Any], claims: dict[str, Any]) -> Any:
        merged = {**claims, **others}
        return header, {k: v for k, v in merged.items() if v is not None}, None

    return alter


LIES = {
    "another key": forged("RS256"), "no signature": forged("none"), "shared key": forged("HS256"),
    "another issuer": changed(iss="https://evil.test"), "for another": changed(aud="other"),
    "for many": changed(aud=["chittyops", "other"]), "by another": changed(azp="other"),
    "another nonce": changed(nonce="x"), "no nonce": changed(nonce=None),
    "expired": changed(exp=1), "no end": changed(exp=None), "from the future": changed(iat=9e9),
    "nobody": changed(sub=None), "no token": lambda header, claims: (header, claims, "x.y.z"),
}  # fmt: skip


def test_an_id_token_that_is_not_exactly_as_asked_for_proves_nothing_forged_token_attack(
    parent: tuple[Parent, Visit], provider: Provider
) -> None:
    """Each lie is refused, and the truth is taken afterwards."""
    server, visit = parent

    let_in = []
    for lie, alter in LIES.items():
        provider.alter = alter
        browser = visit()
        if browser.get(go(browser)).status_code != 403:
            let_in.append(lie)
    assert let_in == []
    assert names(server) == {"admin": Role.ADMIN}
    provider.alter = None
    browser = visit()
    assert browser.get(go(browser)).status_code == 303


def test_a_stronger_way_of_signing_in_can_be_required(tmp_path: Path, provider: Provider) -> None:
    """Without one of the required `acr` nobody is let in, whatever was asked for."""
    configure(tmp_path, provider, 'acr = ["urn:mfa", "urn:key"]')
    with parent_with(tmp_path) as (app, parent), TestClient(app) as client:
        assert isinstance(parent.clock, FakeClock)
        parent.clock.time = datetime.now(UTC)
        for acr, status in ((None, 403), ("urn:password", 403), ("urn:mfa", 303)):
            provider.alter = changed(acr=acr)
            browser = Browser(client)
            asked = browser.get("/login/oidc").headers["location"]
            assert parse_qs(urlsplit(asked).query)["acr_values"] == ["urn:mfa urn:key"]
            assert browser.get(go(browser)).status_code == status, acr


ODD = (
    {"issuer": "https://evil.test"}, {"token_endpoint": "http://evil.test/token"},
    {"jwks_uri": None}, {"authorization_endpoint": "javascript:alert(1)"},
)  # fmt: skip


def test_a_provider_that_is_not_as_it_has_to_be_lets_nobody_in_and_passwords_go_on(
    parent: tuple[Parent, Visit], provider: Provider
) -> None:
    """503, with the way by password on the same page."""
    _, visit = parent

    for said in ODD:
        provider.said = said
        answer = visit().get("/login/oidc")
        assert answer.status_code == 503 and "with a password" in answer.text
        assert answer.headers["retry-after"]
    assert visit().sign_in("admin").status_code == 303


def test_a_provider_that_is_away_lets_nobody_in(tmp_path: Path, provider: Provider) -> None:
    """A closed port is no error of ours."""
    configure(tmp_path, provider)
    text = (tmp_path / "parent.toml").read_text().replace(provider.issuer, "http://127.0.0.1:9")
    (tmp_path / "parent.toml").write_text(text)
    with parent_with(tmp_path) as (app, _), TestClient(app) as client:
        assert Browser(client).get("/login/oidc").status_code == 503


def test_settings_that_are_not_safe_are_refused(tmp_path: Path, provider: Provider) -> None:
    """A secret that others can read, plain HTTP elsewhere, no roles, unknown keys and roles."""
    configure(tmp_path, provider)
    good = (tmp_path / "parent.toml").read_text()
    found = oidc.read_settings(tmp_path)
    assert found is not None and SECRET not in repr(found)

    (tmp_path / "oidc.secret").chmod(0o640)
    with pytest.raises(ParentError, match="chmod 600"):
        oidc.read_settings(tmp_path)
    (tmp_path / "oidc.secret").chmod(0o600)
    for old, new in (
        (provider.issuer, "http://id.example.org"), ('"operator"', '"root"'),
        ("client_id", "clientid"), ("[oidc.roles]", "[oidc.role]"), (REDIRECT, "javascript:x"),
        ('"oidc.secret"', '"none"'), ('"chittyops"', ""),
    ):  # fmt: skip
        (tmp_path / "parent.toml").write_text(good.replace(old, new))
        with pytest.raises(ParentError):
            oidc.read_settings(tmp_path)
    (tmp_path / "parent.toml").write_text('name = "x"\n')
    assert oidc.read_settings(tmp_path) is None
