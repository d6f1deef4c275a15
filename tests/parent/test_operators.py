"""Who may do what on a parent, and what does not help an attacker."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.testing import TestClient

from chittyops_core.errors import ParentError, RefusedError, UsageError
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.activities import MAX_REFUSALS, record
from chittyops_core.parent.app import Parent
from chittyops_core.parent.database import Database
from chittyops_core.parent.operators import May, accounts, api_tokens, sessions
from chittyops_core.parent.operators.csrf import make
from chittyops_core.parent.operators.limits import MAX_KEYS, Limiter, network_of
from chittyops_core.parent.operators.passwords import Hasher
from chittyops_core.parent.operators.requests import local_path
from chittyops_core.parent.operators.signing_in import ADDRESS_BURST, NAME_BURST
from chittyops_core.parent.schema import activity, session
from parent.access import HASH, PASSWORD, Browser, parent_with


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Litestar, Parent]]:
    """A parent with an operator of each role."""
    with parent_with(tmp_path, *Role) as (app, parent):
        yield app, parent


@pytest.fixture
def visit(served: tuple[Litestar, Parent]) -> Iterator[Callable[..., Browser]]:
    """Opens browsers that visit the parent."""
    with TestClient(served[0]) as client:

        def open_one(name: str | None = None, **how: Any) -> Browser:
            browser = Browser(client, **how)
            if name is not None:
                assert browser.sign_in(name).status_code == 303
            return browser

        yield open_one


@pytest.fixture
def parent(served: tuple[Litestar, Parent]) -> Parent:
    return served[1]


def activities_of(parent: Parent, *columns: sa.Column[Any]) -> list[tuple[Any, ...]]:
    with parent.database.reading() as reader:
        rows = reader.execute(sa.select(*columns).select_from(activity).order_by(activity.c.id))
        return [tuple(row) for row in rows]


def token_of(parent: Parent, role: Role, granted: Role | None = None) -> str:
    """Make an API token of the operator of a role."""
    now = parent.clock.now().timestamp()

    def work(writer: sa.Connection) -> str:
        owner = accounts.by_name(writer, str(role))
        assert owner is not None
        who = Operator(owner.id, owner.name, owner.role)
        return api_tokens.make(writer, who, name="ci", role=granted or role, days=1, now=now)[1]

    return parent.database.write(work)


# --- every handler ---


def handlers(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler]]:
    found = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", [getattr(route, "route_handler", None)]):
            for method in sorted(getattr(handler, "http_methods", ())):
                found.append((method, str(route.path), handler))
    return [each for each in found if each[0] != "OPTIONS" and not each[1].startswith("/schema")]


def guard_of(handler: HTTPRouteHandler) -> May | None:
    guards = [each for each in handler.guards or () if isinstance(each, May)]
    return guards[0] if guards else None


def is_public(handler: HTTPRouteHandler) -> bool:
    return handler.opt.get("is_public") is True


CHILDREN = {
    ("POST", "/v1/enrolments"), ("GET", "/v1/enrolments/{child:str}"), ("POST", "/v1/sync"),
    ("POST", "/v1/sync/health"), ("POST", "/v1/sync/metrics"), ("POST", "/v1/keys/rotate"),
    ("POST", "/v1/leave"),
}  # fmt: skip
"""What children call: each request proves by its signature who sent it."""

OPEN = CHILDREN | {
    ("GET", "/login"), ("POST", "/login"), ("GET", "/login/oidc"), ("GET", "/login/oidc/callback"),
    ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/v1/openapi"),
    ("GET", "/v1/openapi/openapi.json"), ("GET", "/v1/openapi/{path:str}"),
    ("GET", "/static/{name:str}"),
}  # fmt: skip
"""The short list of what anybody may ask."""

ENDLESS = "/v1/events"
"""Answers for as long as its session lasts, so it is asked elsewhere."""


def test_every_handler_has_a_guard_or_is_on_the_short_list(
    served: tuple[Litestar, Parent],
) -> None:
    """What has neither would be open to everybody by mistake."""
    table = handlers(served[0])

    unguarded = {(method, path) for method, path, handler in table if guard_of(handler) is None}
    assert unguarded == OPEN
    assert {(m, p) for m, p, h in table if guard_of(h) is not None and is_public(h)} == set()


def concrete(path: str) -> str:
    return "/".join("nobody" if part.startswith("{") else part for part in path.split("/"))


@pytest.mark.parametrize("role", Role)
def test_a_role_reaches_just_what_it_may_privilege_escalation_attack(
    served: tuple[Litestar, Parent], role: Role, visit: Callable[..., Browser]
) -> None:
    """Every endpoint, by every role, by cookie and by token: let through just as its guard says."""
    app, parent = served
    browser, token = visit(str(role)), token_of(parent, role)
    csrf = browser.csrf()

    wrong = []
    for method, path, handler in handlers(app):
        guard = guard_of(handler)
        if guard is None or path in ("/logout", ENDLESS) or "others" in path:
            continue
        for by_token in (False, True):
            sent = {"x-csrf-token": csrf, "Accept": "application/json"}
            answer = browser.ask(method, concrete(path), token if by_token else None, {}, **sent)
            expected = role.includes(guard.role) and (guard.by_token or not by_token)
            if (answer.status_code != 403) is not expected:
                wrong.append((method, path, by_token, answer.status_code, answer.text))
    assert wrong == []


def test_nobody_reaches_nothing(
    served: tuple[Litestar, Parent], visit: Callable[..., Browser]
) -> None:
    """Without a session or a token every guarded endpoint answers 401, before it looks further."""
    browser = visit()

    answers = {
        (method, path): browser.ask(method, concrete(path), None, {}).status_code
        for method, path, handler in handlers(served[0])
        if guard_of(handler) is not None
    }
    assert set(answers.values()) == {401}


# --- signing in ---


def test_who_signs_in_is_taken_to_the_page_that_was_asked_for(
    visit: Callable[..., Browser],
) -> None:
    """A page that needs somebody leads to /login and back again."""
    browser = visit()

    sent = browser.get("/account?x=1")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Faccount%3Fx%3D1")
    page = browser.get(sent.headers["location"])
    assert 'name="next" value="/account?x=1"' in page.text
    done = browser.fill_in(sent.headers["location"], "/login", name=" Viewer ", password=PASSWORD)
    assert (done.status_code, done.headers["location"]) == (303, "/account?x=1")
    assert "viewer" in browser.get("/account").text


ELSEWHERE = (
    "//evil.test", "/\\evil.test", "\\\\evil.test", "https://evil.test/", "/\t/evil.test",
    "javascript:alert(1)", "/a\r\nSet-Cookie: x=y", "///evil.test", "", "/" + "a" * 3000,
    "/\u2028x", "http:evil.test", "/.//evil.test\n", "evil.test", "/%0d%0a\r",
)  # fmt: skip


def test_after_signing_in_nobody_is_sent_elsewhere_open_redirect_attack(
    visit: Callable[..., Browser],
) -> None:
    """Only a path of this parent is followed, and no header can be added by it."""
    for page in ELSEWHERE:
        assert local_path(page) == "/", page
    for page in ELSEWHERE[:8]:
        browser = visit()
        done = browser.fill_in("/login", "/login", name="viewer", password=PASSWORD, next=page)
        assert (done.status_code, done.headers["location"]) == (303, "/"), page
        assert "x" not in done.cookies
    assert local_path("/children?label=a%20b&after=//x") == "/children?label=a%20b&after=//x"


def test_a_new_session_has_a_new_id_session_fixation_attack(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Neither a made-up cookie nor somebody's earlier session becomes that of who signs in."""
    browser = visit()
    browser.set_cookie("chittyops", "known-to-the-attacker")

    browser.sign_in("viewer")
    first = browser.cookies["chittyops"]
    browser.set_cookie("chittyops-form", "s" * 43)
    form = {"csrf": make("s" * 43), "name": "viewer", "password": PASSWORD, "next": "/"}
    browser.post("/login", form)
    second = browser.cookies["chittyops"]

    assert len({"known-to-the-attacker", first, second}) == 3
    for old in ("known-to-the-attacker", first):
        browser.set_cookie("chittyops", old)
        assert browser.get("/account").status_code == 303, old
    with parent.database.reading() as reader:
        assert reader.scalar(sa.select(sa.func.count()).select_from(session)) == 1


def test_the_cookie_is_for_this_host_over_tls_only_and_no_script_reads_it(
    visit: Callable[..., Browser],
) -> None:
    """`__Host-`, Secure, HttpOnly, SameSite=Lax and Path=/; without TLS, all but the first two."""
    done = visit(host="https://parent.test").sign_in("viewer")
    over_tls = next(c for c in done.headers.get_list("set-cookie") if "chittyops=" in c)
    done = visit().sign_in("viewer")
    plain = next(c for c in done.headers.get_list("set-cookie") if "chittyops=" in c)

    attributes = {each.strip().lower() for each in over_tls.split(";")[1:]}
    assert over_tls.startswith("__Host-chittyops=")
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(each.startswith("domain") for each in attributes)
    assert plain.startswith("chittyops=") and "HttpOnly" in plain


def test_unknown_name_wrong_password_and_disabled_account_cannot_be_told_apart_timing_attack(
    served: tuple[Litestar, Parent], visit: Callable[..., Browser]
) -> None:
    """The same answer, and one verification of a hash each."""
    app, parent = served
    hasher: Hasher = app.state["authentication"].hasher
    with parent.database.reading() as reader:
        disabled = accounts.by_name(reader, "operator")
    assert disabled is not None
    parent.database.write(lambda writer: accounts.disable(writer, disabled.id, now=1.0))

    seen = set()
    for name, password in (
        ("nobody", PASSWORD), ("viewer", "wrong password"), ("operator", PASSWORD), ("", ""),
    ):  # fmt: skip
        browser, before = visit(), hasher.verified
        browser.set_cookie("chittyops-form", "s" * 43)
        done = browser.sign_in(name, password)
        text = done.text.replace(browser.csrf("/login"), "")
        seen.add((done.status_code, re.sub('value="[^"]*"', "", text), hasher.verified - before))
    assert len(seen) == 1
    assert {(status, count) for status, _, count in seen} == {(401, 1)}


def test_a_name_and_an_address_may_try_so_often_only_brute_force_attack(
    served: tuple[Litestar, Parent], visit: Callable[..., Browser], parent: Parent
) -> None:
    """Then 429 with Retry-After, for names that nobody has too, and the right password is no way
    around; time is."""
    browser = visit()
    hasher: Hasher = served[0].state["authentication"].hasher

    for name in ("admin", "nobody"):
        statuses = [browser.sign_in(name, f"guess {i}").status_code for i in range(NAME_BURST + 2)]
        assert statuses == [401] * NAME_BURST + [429] * 2
    counted = hasher.verified
    refused = browser.sign_in("admin")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert hasher.verified == counted
    parent.clock.sleep(int(refused.headers["retry-after"]))
    assert browser.sign_in("admin").status_code == 303


def test_an_address_is_slowed_over_all_names_password_spraying_attack(
    visit: Callable[..., Browser],
) -> None:
    """One guess for each of many names is too many as well."""
    browser = visit()

    statuses = [browser.sign_in(f"name{i}", "Summer2026!!").status_code for i in range(40)]
    assert statuses.count(401) == ADDRESS_BURST
    assert statuses[-1] == 429


def test_attempts_count_before_they_are_looked_at_concurrent_guesses_attack() -> None:
    """A thousand at once are admitted no more often than a thousand in a row."""
    limiter = Limiter(10, 60.0)

    assert sum(limiter.take("admin", 1.0) == 0 for _ in range(1000)) == 10
    limiter.give_back("admin")
    assert limiter.take("admin", 1.0) == 0


def test_a_limiter_forgets_rather_than_grow() -> None:
    """However many names are tried, memory stays bounded; an IPv6 network is one address."""
    limiter = Limiter(1, 60.0)

    for i in range(MAX_KEYS + 100):
        limiter.take(str(i), 1.0)
    assert len(limiter._buckets) == MAX_KEYS
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1")


def test_a_hash_of_older_parameters_is_renewed_when_its_owner_signs_in(
    visit: Callable[..., Browser], served: tuple[Litestar, Parent]
) -> None:
    """So that what was enough once does not stay for ever."""
    app, parent = served
    app.state["authentication"].hasher = Hasher(
        PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    )
    visit("viewer")

    with parent.database.reading() as reader:
        kept = accounts.by_name(reader, "viewer")
    assert kept is not None and kept.password is not None
    assert kept.password != HASH and "m=16,t=2" in kept.password
    visit("viewer")


@pytest.mark.parametrize(
    "password", ["", "short", "eleven char", "administrator", "ADMINISTRATOR", "a" * 20, "x" * 2000]
)
def test_a_password_that_is_guessed_first_is_refused(password: str) -> None:
    """Too short, the name itself, or one sign again and again; and none is endless."""
    with pytest.raises(UsageError):
        accounts.normal_password(password, name="administrator")


@pytest.mark.parametrize("name", ["", "a b", "\u0430dmin", "-x", "a" * 65, "a\nb", "<b>", "../x"])
def test_names_that_look_like_others_are_refused(name: str) -> None:
    """One alphabet, one case."""
    with pytest.raises(UsageError):
        accounts.normal_name(name)


# --- sessions ---


def test_a_session_ends_when_nobody_uses_it_and_at_the_latest_after_a_week(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Twelve idle hours, or seven days."""
    idle, busy = visit("viewer"), visit("viewer")

    for _ in range(2):
        parent.database.write(lambda writer: None)
        parent.clock.sleep(sessions.IDLE_S * 0.6)
        assert busy.get("/account").status_code == 200
    assert idle.get("/account").status_code == 303
    for _ in range(15):
        parent.database.write(lambda writer: None)  # So what was used last is written.
        parent.clock.sleep(sessions.IDLE_S * 0.9)
        busy.get("/account")
    assert busy.get("/account").status_code == 303


def test_an_owner_sees_and_ends_sessions_and_only_their_own(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Each is listed where it began; another's cannot be ended by its id."""
    mine, phone, other = visit("viewer"), visit("viewer"), visit("admin")
    with parent.database.reading() as reader:
        rows = reader.execute(sa.select(session.c.hash, session.c.operator)).all()
        viewer = accounts.by_name(reader, "viewer")
    assert viewer is not None
    ids = {row.hash[:16] for row in rows if row.operator == viewer.id}
    foreign = next(row.hash[:16] for row in rows if row.operator != viewer.id)

    page = mine.get("/account").text
    assert "(this one)" in page and foreign not in page
    listed = next(id for id in ids if f"/account/sessions/{id}/end" in page)
    csrf = mine.csrf()
    assert mine.post(f"/account/sessions/{foreign}/end", {"csrf": csrf}).status_code == 404
    assert mine.post(f"/account/sessions/{listed}/end", {"csrf": csrf}).status_code == 303
    assert phone.get("/account").status_code == 303
    assert other.get("/account").status_code == 200
    assert mine.fill_in("/account", "/logout").status_code == 303
    assert mine.get("/account").status_code == 303


def test_a_cookie_is_worth_nothing_after_signing_out_replayed_cookie_attack(
    visit: Callable[..., Browser],
) -> None:
    """The server ended it, not only the browser."""
    browser = visit("viewer")
    secret = browser.cookies["chittyops"]

    browser.fill_in("/account", "/logout")
    browser.set_cookie("chittyops", secret)
    assert browser.get("/account").status_code == 303


def test_a_new_password_ends_the_other_sessions_and_needs_the_present_one(
    visit: Callable[..., Browser],
) -> None:
    """Who found an unlocked browser cannot take the account over."""
    mine, thief = visit("viewer"), visit("viewer")

    wrong = thief.fill_in(
        "/account", "/account/password", present="guess", password="a brand new password"
    )
    assert wrong.status_code == 400 and "wrong" in wrong.text
    done = mine.fill_in(
        "/account", "/account/password", present=PASSWORD, password="a brand new password"
    )
    assert done.status_code == 303
    assert mine.get("/account").status_code == 200
    assert thief.get("/account").status_code == 303
    assert visit().sign_in("viewer").status_code == 401
    assert visit().sign_in("viewer", "a brand new password").status_code == 303


def test_a_disabled_operator_is_out_at_once_and_so_are_their_tokens(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """The next request is refused, by cookie and by token."""
    browser, token = visit("operator"), token_of(parent, Role.OPERATOR)
    admin = visit("admin")
    with parent.database.reading() as reader:
        found = accounts.by_name(reader, "operator")
    assert found is not None
    assert browser.ask("GET", "/v1/me", token).status_code == 200

    done = admin.fill_in("/operators", f"/operators/{found.id}/disable")
    assert done.status_code == 303
    assert browser.get("/account").status_code == 303
    assert browser.ask("GET", "/v1/me", token).status_code == 401
    admin.fill_in("/operators", f"/operators/{found.id}/enable")
    assert browser.get("/account").status_code == 303
    assert browser.ask("GET", "/v1/me", token).status_code == 200


def test_a_lower_role_holds_from_the_next_request_on(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Nothing of what somebody may is remembered in a session or a token."""
    admin, other = visit("admin"), token_of(parent, Role.APPROVER)
    with parent.database.reading() as reader:
        found = accounts.by_name(reader, "approver")
    assert found is not None

    admin.fill_in("/operators", f"/operators/{found.id}/role", role="viewer")
    assert admin.ask("GET", "/v1/me", other).json()["role"] == "viewer"


def test_the_last_admin_stays_one(parent: Parent) -> None:
    """Or nobody could make another."""
    with parent.database.reading() as reader:
        admin = accounts.by_name(reader, "admin")
    assert admin is not None

    for work in (
        lambda writer: accounts.disable(writer, admin.id, now=1.0),
        lambda writer: accounts.set_role(writer, admin.id, Role.AUDITOR),
    ):
        with pytest.raises(RefusedError, match="last admin"):
            parent.database.write(work)


# --- cross-site ---


def test_a_form_without_the_sessions_own_token_does_nothing_csrf_attack(
    visit: Callable[..., Browser],
) -> None:
    """None, another session's, an altered one, an empty one, or the right one from elsewhere."""
    victim, attacker = visit("admin"), visit("viewer")
    form = {"name": "mallory", "role": "admin", "password": "known to mallory"}
    good = victim.csrf()

    sent = [
        victim.post("/operators", form),
        victim.post("/operators", {**form, "csrf": attacker.csrf()}),
        victim.post("/operators", {**form, "csrf": good[:-4] + "AAA="}),
        victim.post("/operators", {**form, "csrf": "\u00e4"}),
        victim.post("/operators", {**form, "csrf": ""}),
        victim.post("/operators", {**form, "csrf": good}, **{"Sec-Fetch-Site": "cross-site"}),
        victim.post("/operators", {**form, "csrf": good}, **{"Sec-Fetch-Site": "same-site"}),
        victim.post("/operators", {**form, "csrf": good}, Origin="https://evil.test"),
        victim.post("/operators", {**form, "csrf": good}, Origin="null"),
        victim.post("/operators", {**form, "csrf": good}, Origin="http://parent.test.evil.test"),
        victim.post("/operators", {**form, "csrf": good}, Origin="http://[half"),
    ]
    assert [each.status_code for each in sent] == [403] * len(sent)
    assert "mallory" not in victim.get("/operators").text
    done = victim.post("/operators", {**form, "csrf": good}, Origin="http://parent.test")
    assert done.status_code == 303


def test_the_api_needs_the_form_token_with_a_cookie_and_none_with_a_bearer(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """A browser sends cookies by itself, and an Authorization header never."""
    browser = visit("admin")
    made = {"name": "new", "role": "viewer", "password": "a brand new password"}

    assert browser.ask("POST", "/v1/operators", None, made).status_code == 403
    sent = {"x-csrf-token": browser.csrf()}
    assert browser.ask("POST", "/v1/operators", None, made, **sent).status_code == 201
    browser.cookies.clear()
    token = token_of(parent, Role.ADMIN)
    made["name"] = "newer"
    assert browser.ask("POST", "/v1/operators", token, made).status_code == 201


def test_nobody_is_signed_in_by_another_site_login_csrf_attack(
    visit: Callable[..., Browser],
) -> None:
    """A form that the browser was not given here signs nobody in."""
    browser = visit()
    form = {"name": "viewer", "password": PASSWORD, "next": "/"}

    assert browser.post("/login", form).status_code == 403
    token = browser.csrf("/login")
    crossed = browser.post("/login", {**form, "csrf": token}, **{"Sec-Fetch-Site": "cross-site"})
    assert crossed.status_code == 403
    assert "chittyops" not in browser.cookies


# --- API tokens ---


def test_a_token_is_shown_once_and_works_until_it_is_withdrawn(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Made and withdrawn on a page; the page never shows it again."""
    browser = visit("operator")

    page = browser.fill_in(
        "/account/tokens", "/account/tokens", name="<ci>", role="viewer", days="30"
    ).text
    token = page.partition("<code>")[2].partition("</code>")[0]
    assert token.startswith(api_tokens.PREFIX) and "&lt;ci&gt;" in page
    assert browser.ask("GET", "/v1/me", token).json()["role"] == "viewer"
    listed = browser.get("/account/tokens").text
    assert token not in listed
    id = listed.partition("/account/tokens/")[2].partition("/")[0]
    assert visit("viewer").post(f"/account/tokens/{id}/withdraw").status_code == 403
    browser.fill_in("/account/tokens", f"/account/tokens/{id}/withdraw")
    assert browser.ask("GET", "/v1/me", token).status_code == 401


def test_a_token_expires(visit: Callable[..., Browser], parent: Parent) -> None:
    """At the time that was said when it was made."""
    browser, token = visit(), token_of(parent, Role.VIEWER)

    parent.clock.sleep(86300)
    assert browser.ask("GET", "/v1/me", token).status_code == 200
    parent.clock.sleep(200)
    assert browser.ask("GET", "/v1/me", token).status_code == 401


def test_no_token_is_above_its_owner(parent: Parent) -> None:
    """Neither beside it, as an auditor and an operator are."""
    for owner, granted in (
        (Role.OPERATOR, Role.ADMIN), (Role.OPERATOR, Role.AUDITOR), (Role.AUDITOR, Role.OPERATOR),
        (Role.VIEWER, Role.AUDITOR),
    ):  # fmt: skip
        with pytest.raises(RefusedError):
            token_of(parent, owner, granted)
    for owner, granted in (
        (Role.AUDITOR, Role.VIEWER), (Role.ADMIN, Role.AUDITOR), (Role.VIEWER, Role.VIEWER),
    ):  # fmt: skip
        token_of(parent, owner, granted)


def test_a_token_becomes_less_with_its_owner(parent: Parent) -> None:
    """An approver's token is an auditor's viewer once its owner is an auditor."""
    token = token_of(parent, Role.APPROVER)

    def lower(writer: sa.Connection) -> Operator:
        owner = accounts.by_name(writer, "approver")
        assert owner is not None
        accounts.set_role(writer, owner.id, Role.AUDITOR)
        found = api_tokens.find(writer, token, 1.0)
        assert found is not None
        return found[0]

    assert parent.database.write(lower).role is Role.VIEWER


def test_guessed_tokens_are_slowed_and_a_right_one_is_not_token_guessing_attack(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Wrong ones end in 429 by address; who has a valid one behind the same address goes on."""
    browser, token = visit(), token_of(parent, Role.VIEWER)

    guesses = ["", "x", api_tokens.PREFIX, api_tokens.PREFIX + "A" * 43, "' OR 1=1 --", "\u00e9"]
    statuses = []
    for i in range(70):
        guess = guesses[i % len(guesses)].encode("latin-1")
        answer = browser.request("GET", "/v1/me", headers={"Authorization": b"Bearer " + guess})
        statuses.append(answer.status_code)
    assert statuses[:5] == [401] * 5 and statuses[-1] == 429
    assert browser.ask("GET", "/v1/me", token).status_code == 200


def test_a_token_can_neither_make_tokens_nor_change_a_password(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Or it would outlive its own withdrawal."""
    browser, token = visit(), token_of(parent, Role.ADMIN)

    for path in ("/account/tokens", "/account/password", "/operators"):
        assert browser.ask("POST", path, token, {}).status_code == 403


# --- activities ---


def test_what_is_done_and_what_is_refused_is_recorded_with_who_when_where_and_outcome(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """As AU-3 asks; a wrong name is not kept, since it may be a password typed there."""
    browser = visit()
    browser.sign_in("hunter2-my-secret", "x")
    browser.sign_in("viewer", "wrong password")
    browser.sign_in("viewer")
    browser.get("/operators")
    token_of(parent, Role.VIEWER)

    rows = activities_of(
        parent, activity.c.actor, activity.c.action, activity.c.outcome, activity.c.address
    )
    assert [row[:3] for row in rows] == [
        ("unknown", "sign-in", "refused"),
        ("viewer", "sign-in", "refused"),
        ("viewer", "sign-in", "done"),
        ("viewer", "access", "refused"),
    ]
    assert all(row[3] for row in rows)
    assert "hunter2" not in repr(activities_of(parent, *activity.c))


def test_refused_attempts_do_not_fill_the_disk_log_flooding_attack(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Beyond so many a minute they are counted, and the count is told."""
    browser = visit()

    for _ in range(MAX_REFUSALS + 20):
        browser.ask("GET", "/v1/me", "guess")
    assert len(activities_of(parent, activity.c.id)) == MAX_REFUSALS
    parent.clock.sleep(61)
    browser.ask("GET", "/v1/me", "guess")
    details = activities_of(parent, activity.c.detail)
    assert json.loads(details[-1][0])["left_out_before"] == 20


def test_an_activity_is_neither_changed_nor_deleted(database: Database) -> None:
    """The database itself refuses, on SQLite and on PostgreSQL; any text can be told."""

    def add(writer: sa.Connection) -> None:
        record(
            writer, actor="a\0b", action="x", object="\ud800" * 500, outcome="done",
            address="local", detail={"k": "v" * 9000}, now=1.0,
        )  # fmt: skip

    database.write(add)
    for statement in (sa.update(activity).values(actor="nobody"), sa.delete(activity)):
        with pytest.raises((sa.exc.DBAPIError, ParentError), match="only added to"):
            database.write(lambda writer, statement=statement: writer.execute(statement))
    with database.reading() as reader:
        assert reader.scalars(sa.select(activity.c.actor)).all() == ["a\ufffdb"]


def test_all_of_it_works_on_either_database(url: str, tmp_path: Path) -> None:
    """Signing in, wrongly too, sessions, tokens, and names that no database should have to take."""
    url = "" if url.startswith("sqlite") else url
    with parent_with(tmp_path, Role.ADMIN, url=url) as (app, parent), TestClient(app) as client:
        browser, token = Browser(client), token_of(parent, Role.ADMIN)
        for name in ("\0", "a\0b", "'; DROP TABLE operator; --", "\ud7ff\ufffe", "x" * 5000):
            assert browser.sign_in(name).status_code == 401, name
        assert browser.sign_in("admin").status_code == 303
        assert browser.get("/account").status_code == 200
        for path in ("/v1/operators/%00", "/v1/operators/x%00", "/v1/services?app=%00"):
            assert browser.ask("GET", path, token).status_code == 400, path
        for path in ("/v1/operators", "/v1/children", "/v1/activity", "/v1/enrolment-tokens"):
            assert browser.ask("GET", path, token).status_code == 200, path
        assert browser.ask("POST", "/v1/children/x/accept", token, {}).status_code == 404
        assert browser.fill_in("/account", "/logout").status_code == 303


# --- what leaks ---


def test_a_stolen_database_gives_no_credential_stolen_backup_attack(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Neither the cookie nor a token nor a password stands in any byte of the files."""
    browser, token = visit("admin"), token_of(parent, Role.ADMIN)
    browser.get("/account")
    secrets = [browser.cookies["chittyops"], token, token.removeprefix("chittyops_"), PASSWORD]

    raw = b"".join(each.read_bytes() for each in parent.data.iterdir() if each.is_file())
    assert len(raw) > 10_000
    assert [secret for secret in secrets if secret.encode() in raw] == []


def test_every_page_forbids_scripts_of_others_and_frames(visit: Callable[..., Browser]) -> None:
    """And has none inline, whatever text somebody brought in."""
    browser = visit("admin")
    browser.fill_in(
        "/account/tokens", "/account/tokens", name="<script>alert(1)</script>", role="viewer",
        days="1",
    )  # fmt: skip

    for page in ("/login?next=/%22%3E%3Cscript%3E", "/account", "/account/tokens", "/operators"):
        answer = browser.get(page)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?! src=\"/static/)", answer.text)
        assert "<style" not in answer.text
        assert " on" + "click" not in answer.text and "style=" not in answer.text


def test_an_address_comes_from_the_proxy_only_where_one_stands_before_us_spoofed_address_attack(
    tmp_path: Path,
) -> None:
    """Else anybody could choose whose limit counts, and what is recorded."""
    loopback = (ipaddress.ip_network("127.0.0.0/8"),)
    for trusted, expected in (((), "127.0.0.1"), (loopback, "192.0.2.7")):
        folder = tmp_path / expected
        folder.mkdir()
        with parent_with(folder, trusted=trusted) as (app, parent):
            sent = {"X-Forwarded-For": "203.0.113.9, 192.0.2.7", "X-Forwarded-Proto": "https"}

            async def from_loopback(scope: Any, receive: Any, send: Any, app: Any = app) -> None:
                await app({**scope, "client": ("127.0.0.1", 40000)}, receive, send)

            with TestClient(from_loopback) as client:
                Browser(client).ask("GET", "/v1/me", "wrong", **sent)
                login = Browser(client).get("/login", **sent)
            assert activities_of(parent, activity.c.address) == [(expected,)]
            assert ("__Host-" in login.headers["set-cookie"]) is bool(trusted)


def test_the_api_tells_what_it_changes_by_etag(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """Who changes what somebody else has changed meanwhile is told so."""
    browser, token = visit(), token_of(parent, Role.ADMIN)
    with parent.database.reading() as reader:
        found = accounts.by_name(reader, "viewer")
    assert found is not None
    path = f"/v1/operators/{found.id}"
    tag = browser.ask("GET", path, token).headers["etag"]

    body = {"role": "operator"}
    missing = browser.ask("PATCH", path, token, body)
    done = browser.ask("PATCH", path, token, body, **{"If-Match": tag})
    late = browser.ask("PATCH", path, token, {"role": "admin"}, **{"If-Match": tag})
    assert (missing.status_code, done.status_code, late.status_code) == (428, 200, 412)
    assert done.json()["role"] == "operator"
    assert late.headers["content-type"] == "application/problem+json"
    assert late.json()["type"].startswith("urn:chittyops:problem:")


BODIES = (
    b"", b"[]", b"{", b'{"name": 1}',
    b'{"name": "\xff"}', b"{" * 70_000, b"null", b'{"a": "\\ud800"}',
)  # fmt: skip


def test_a_body_that_is_none_is_a_problem_and_no_error_of_ours(
    visit: Callable[..., Browser], parent: Parent
) -> None:
    """400 or 413, as a problem document."""
    browser, token = visit(), token_of(parent, Role.ADMIN)

    for body in BODIES:
        answer = browser.request(
            "POST", "/v1/operators", content=body,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status_code in (400, 413), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
