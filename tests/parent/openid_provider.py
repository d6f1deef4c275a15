"""An OpenID provider on loopback: Authlib's own server side, on Flask, with PKCE required.

It signs in whoever asks, as the person that the test says. What it says in an ID token can be
changed by *alter*, to be the provider of an attacker.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import AuthorizationCodeMixin, OpenIDCode, UserInfo
from flask import Flask, jsonify
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

CLIENT, SECRET = "chittyops", "the client's secret"

Alter = Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any], Any]]
"""(header, claims) -> (header, claims, key or None for the provider's own)."""


class Client(ClientMixin):
    """The one client: a parent."""

    client_id = CLIENT

    def __init__(self, redirect: str) -> None:
        self._redirect = redirect

    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> str:
        return self._redirect

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self._redirect

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret, SECRET)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@define
class Code(AuthorizationCodeMixin):
    """An authorization code."""

    code: str
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


@define
class Provider:
    """What a running provider is told, and remembers."""

    issuer: str
    redirect: str
    person: dict[str, Any] = field(factory=dict)
    alter: Alter | None = None
    key: RSAKey = field(factory=lambda: RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"}))
    codes: dict[str, Code] = field(factory=dict)
    said: Mapping[str, Any] = field(factory=dict)


@contextmanager
def openid_provider(redirect: str) -> Iterator[Provider]:
    """Run a provider; give it."""
    app = Flask(__name__)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    provider = Provider(f"http://127.0.0.1:{server.server_port}", redirect)
    _serve(app, provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _serve(app: Flask, provider: Provider) -> None:
    client = Client(provider.redirect)
    authorization = AuthorizationServer(
        app, query_client=lambda id: client if id == CLIENT else None,
        save_token=lambda token, request: None,
    )  # fmt: skip

    class CodeGrant(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

        def save_authorization_code(self, code: str, request: Any) -> None:
            asked = request.payload.data
            provider.codes[code] = Code(
                code, request.payload.redirect_uri, request.payload.scope, asked.get("nonce"),
                asked.get("code_challenge"), asked.get("code_challenge_method"),
            )  # fmt: skip

        def query_authorization_code(self, code: str, client: Any) -> Code | None:
            return provider.codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            del provider.codes[authorization_code.code]

        def authenticate_user(self, authorization_code: Code) -> Any:
            return provider.person

    class IdToken(OpenIDCode):
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return False

        def encode_id_token(self, token: Any, request: Any) -> str:
            now = int(time.time())
            claims = {
                "iss": provider.issuer, "aud": CLIENT, "iat": now, "exp": now + 300,
                "nonce": request.authorization_code.get_nonce(), **provider.person,
            }  # fmt: skip
            header, key = {"alg": "RS256", "kid": "k1"}, None
            if provider.alter is not None:
                header, claims, key = provider.alter(header, claims)
            if isinstance(key, str):
                return key
            return jwt.encode(header, claims, key or provider.key, [header["alg"]])

        def generate_user_info(self, user: Any, scope: str) -> UserInfo:
            return UserInfo(**user)

    authorization.register_grant(CodeGrant, [CodeChallenge(required=True), IdToken(True)])

    @app.get("/.well-known/openid-configuration")
    def describe() -> Any:
        base = provider.issuer
        return jsonify(
            {
                "issuer": base, "authorization_endpoint": f"{base}/authorize",
                "token_endpoint": f"{base}/token", "jwks_uri": f"{base}/keys",
                **provider.said,
            }
        )  # fmt: skip

    @app.get("/authorize")
    def authorize() -> Any:
        grant = authorization.get_consent_grant(end_user=provider.person)
        return authorization.create_authorization_response(grant_user=provider.person, grant=grant)

    @app.post("/token")
    def token() -> Any:
        return authorization.create_token_response()

    @app.get("/keys")
    def keys() -> Any:
        return jsonify(KeySet([provider.key]).as_dict(private=False))
