"""Signing in by an OpenID provider: authorization code with PKCE, and nothing less.

Everything fails closed: a provider that cannot be asked, an answer that is not exactly as asked
for, or claims that no role is mapped to let nobody in. What belongs to one attempt (state, nonce,
PKCE verifier) is derived from a secret in a cookie of the browser that began it, so that no other
browser can end it and the server has nothing to remember.

    [oidc]                                     # in parent.toml
    issuer = "https://id.example.org/realms/court"
    client_id = "chittyops"
    client_secret_file = "oidc.secret"         # beside parent.toml, mode 0600
    redirect = "https://parent.example.org/login/oidc/callback"
    acr = ["urn:example:mfa"]                  # one of these is required, where it is given
    claim = "groups"                           # of the ID token; "groups" when left out
    name_claim = "preferred_username"          # the same

    [oidc.roles]                               # the first that the claim has
    "ops-admins" = "admin"
    "ops" = "operator"
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import stat
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from attrs import field, frozen
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from chittyops_core._kit.files import open_regular
from chittyops_core.errors import ParentError, RefusedError
from chittyops_core.parent.access import Role

__all__ = ["Attempt", "Identity", "OpenIdClient", "Settings", "read_settings"]

TIMEOUT_S = (5.0, 10.0)
"""To connect, and to answer."""

KEEP_S = 600.0
"""Seconds for which what a provider says of itself is used again."""

LEEWAY_S = 60
"""Seconds by which clocks may differ."""

MAX_BYTES = 1 << 20
"""Of a provider's answer."""

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"]
"""Signatures of ID tokens that are taken: never none, never one with a shared key."""

_KEYS = frozenset(
    {"issuer", "client_id", "client_secret_file", "redirect", "acr", "claim", "name_claim", "roles"}
)


@frozen
class Settings:
    """The section [oidc] of parent.toml; see the module."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect: str
    roles: Mapping[str, Role]
    acr: tuple[str, ...] = ()
    claim: str = "groups"
    name_claim: str = "preferred_username"


@frozen
class Attempt:
    """One attempt of one browser, from the secret in its cookie."""

    secret: str = field(repr=False)

    @property
    def state(self) -> str:
        return self._derive("state")

    @property
    def nonce(self) -> str:
        return self._derive("nonce")

    @property
    def verifier(self) -> str:
        return self._derive("verifier")

    def _derive(self, what: str) -> str:
        raw = hmac.digest(self.secret.encode(), f"chittyops oidc {what}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@frozen
class Identity:
    """Who a provider says it is.

    Attributes:
        subject: `ISSUER SUBJECT`, which never changes.
        name: What it calls them; may change, and proves nothing.
        role: What the mapping gives; None where it gives nothing.
    """

    subject: str
    name: str
    role: Role | None


def read_settings(data: Path) -> Settings | None:
    """Return what *data*/parent.toml says; None where it has no [oidc]. Raises ParentError."""
    path = data / "parent.toml"
    try:
        table = tomllib.loads(path.read_text()).get("oidc")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ParentError(f"{path} cannot be read: {error}") from error
    if table is None:
        return None
    try:
        return _checked(table, data)
    except (KeyError, TypeError, ValueError) as error:
        message = f"{path}, section [oidc]: {_words(error)}"
        raise ParentError(message, remedy="docs/parent.md has an example.") from error


def _checked(table: Mapping[str, Any], data: Path) -> Settings:
    unknown = set(table) - _KEYS
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
    for name in ("issuer", "redirect"):
        _require_tls(str(table[name]), name)
    roles = {str(value): Role(role) for value, role in dict(table["roles"]).items()}
    if not roles:
        raise ValueError("[oidc.roles] maps no value to a role, so nobody could sign in")
    acr = table.get("acr", [])
    if not isinstance(acr, list) or not all(isinstance(each, str) for each in acr):
        raise ValueError("acr is a list of texts")
    return Settings(
        issuer=str(table["issuer"]), client_id=str(table["client_id"]),
        client_secret=_secret(data / str(table["client_secret_file"])),
        redirect=str(table["redirect"]), roles=roles, acr=tuple(acr),
        claim=str(table.get("claim", "groups")),
        name_claim=str(table.get("name_claim", "preferred_username")),
    )  # fmt: skip


def _words(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _secret(path: Path) -> str:
    try:
        fd = open_regular(str(path))
    except OSError as error:
        raise ValueError(f"client_secret_file {path}: {error.strerror}") from error
    with os.fdopen(fd) as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise ValueError(f"client_secret_file {path} is not yours alone: chmod 600 it")
        text = file.read(10_000).strip()
    if not text:
        raise ValueError(f"client_secret_file {path} is empty")
    return text


def _require_tls(url: str, what: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise ValueError(f"{what} has to be an https:// address")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class OpenIdClient:
    """Asks one provider; blocks, so use it in a thread. Safe for any.

    Raises:
        ParentError: The provider cannot be asked, or is not what the settings say.
        RefusedError: What came back proves nobody's identity.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._metadata: tuple[float, Mapping[str, Any]] | None = None

    def address(self, attempt: Attempt, now: float) -> str:
        """Return where the browser goes to sign in; *now* is of a clock that does not go back."""
        metadata = self._discover(now)
        wanted = {"acr_values": " ".join(self.settings.acr)} if self.settings.acr else {}
        with self._session() as session:
            url, _ = session.create_authorization_url(
                metadata["authorization_endpoint"], state=attempt.state, nonce=attempt.nonce,
                code_verifier=attempt.verifier, **wanted,
            )  # fmt: skip
        return str(url)

    def identity(
        self, attempt: Attempt, given: Mapping[str, str], now: float, time: float
    ) -> Identity:
        """Return who came back with the query *given*.

        Args:
            attempt: Of the browser's cookie.
            given: The callback's query.
            now: Seconds of a clock that does not go back.
            time: Seconds since the epoch.
        """
        self._require_ours(attempt, given)
        metadata = self._discover(now)
        token = self._exchange(metadata["token_endpoint"], attempt, given["code"])
        claims = self._verified(metadata["jwks_uri"], token, attempt, time)
        return self._read(claims)

    def _require_ours(self, attempt: Attempt, given: Mapping[str, str]) -> None:
        if not hmac.compare_digest(given.get("state", "").encode(), attempt.state.encode()):
            raise RefusedError("this sign-in was not begun in this browser, or is too old")
        if given.get("iss", self.settings.issuer) != self.settings.issuer:  # RFC 9207
            raise RefusedError("the answer comes from another provider")
        if "error" in given or not given.get("code"):
            raise RefusedError("the provider did not sign you in")

    def _exchange(self, endpoint: str, attempt: Attempt, code: str) -> str:
        try:
            with self._session() as session:
                token = session.fetch_token(
                    endpoint, grant_type="authorization_code", code=code,
                    code_verifier=attempt.verifier, allow_redirects=False,
                )  # fmt: skip
        except AuthlibBaseError as error:
            raise RefusedError("the provider took its code back") from error
        except (requests.RequestException, ValueError) as error:
            raise ParentError("the OpenID provider cannot be asked") from error
        id_token = token.get("id_token")
        if not isinstance(id_token, str):
            raise RefusedError("the provider gave no ID token")
        return id_token

    def _verified(
        self, keys_at: str, token: str, attempt: Attempt, time: float
    ) -> Mapping[str, Any]:
        settings = self.settings
        expected: dict[str, Any] = {
            "iss": {"essential": True, "value": settings.issuer},
            "aud": {"essential": True, "value": settings.client_id},
            "nonce": {"essential": True, "value": attempt.nonce},
            "sub": {"essential": True}, "exp": {"essential": True}, "iat": {"essential": True},
        }  # fmt: skip
        if settings.acr:
            expected["acr"] = {"essential": True, "values": list(settings.acr)}
        try:
            keys = KeySet.import_key_set(self._get(keys_at))  # type: ignore[arg-type]
            claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            jwt.JWTClaimsRegistry(now=int(time), leeway=LEEWAY_S, **expected).validate(claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            name = type(error).__name__
            raise RefusedError(f"the provider's ID token proves nothing ({name})") from error
        is_for_others = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", settings.client_id) != settings.client_id or (
            is_for_others and "azp" not in claims
        ):
            raise RefusedError("the provider's ID token is for somebody else")
        return claims

    def _read(self, claims: Mapping[str, Any]) -> Identity:
        settings = self.settings
        said = claims.get(settings.claim, [])
        values = set(said if isinstance(said, list) else [said]) if said else set()
        role = next((role for value, role in settings.roles.items() if value in values), None)
        name = claims.get(settings.name_claim)
        return Identity(
            f"{settings.issuer} {claims['sub']}", name if isinstance(name, str) else "", role
        )

    def _discover(self, now: float) -> Mapping[str, Any]:
        with self._lock:
            kept = self._metadata
        if kept is not None and now - kept[0] < KEEP_S:
            return kept[1]
        found = self._get(self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
        try:
            if found["issuer"] != self.settings.issuer:
                raise ValueError("it says that it is another one")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                _require_tls(found[name], name)
        except (KeyError, ValueError, TypeError) as error:
            message = f"the OpenID provider is not as it has to be: {_words(error)}"
            raise ParentError(message) from error
        with self._lock:
            self._metadata = (now, found)
        return found

    def _get(self, url: str) -> dict[str, Any]:
        try:
            with requests.get(url, timeout=TIMEOUT_S, allow_redirects=False, stream=True) as answer:
                if answer.status_code != 200:
                    raise ParentError(f"the OpenID provider answered {answer.status_code}")
                raw = answer.raw.read(MAX_BYTES + 1, decode_content=True)
                if len(raw) > MAX_BYTES:
                    raise ParentError("the OpenID provider's answer is too long")
                found = json.loads(raw)
        except (requests.RequestException, ValueError) as error:
            raise ParentError("the OpenID provider cannot be asked") from error
        if not isinstance(found, dict):
            raise ParentError("the OpenID provider's answer is no object")
        return found

    def _session(self) -> Any:
        settings = self.settings
        return OAuth2Session(
            settings.client_id, settings.client_secret, scope="openid profile",
            redirect_uri=settings.redirect, code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic",  # noqa: S106, no secret
            default_timeout=TIMEOUT_S,
        )  # fmt: skip
