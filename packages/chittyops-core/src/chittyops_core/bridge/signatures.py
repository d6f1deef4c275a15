"""Who spoke: HTTP Message Signatures (RFC 9421) with Ed25519, in the one form that we take.

The profile (docs/protocol.md section 3) fixes what RFC 9421 leaves open: what is covered, in which
order, and with which parameters, so that nothing about a signature is negotiated and nothing can
be left out of it. Never covered are authority and scheme: proxies rewrite them.

    request   "@method" "@path" "@query" "content-type" "content-digest"
    response  "@status" "content-type" "content-digest" "signature";req;key="chittyops"

A response covers the signature of the request that it answers (section 2.4 of the RFC), so that
none can be given for another's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chittyops_core.errors import SignatureError

__all__ = [
    "LABEL",
    "Signed",
    "decode",
    "encode",
    "key_id_of",
    "load_public_key",
    "public_bytes",
    "rotation_text",
    "sign_request",
    "sign_response",
    "signature_of",
    "thumbprint",
    "verify_request",
    "verify_response",
]

LABEL = "chittyops"
WINDOW_S = 300.0
"""How far a signature's time may be from the reader's clock."""

_REQUEST = '("@method" "@path" "@query" "content-type" "content-digest")'
_RESPONSE = f'("@status" "content-type" "content-digest" "signature";req;key="{LABEL}")'
_KEY_ID = r"[A-Za-z0-9_-]{43}"
_PARAMS = rf';created=([0-9]{{1,12}});keyid="({_KEY_ID})";alg="ed25519"'
_REQUEST_INPUT = re.compile(re.escape(f"{LABEL}={_REQUEST}") + _PARAMS)
_RESPONSE_INPUT = re.compile(re.escape(f"{LABEL}={_RESPONSE}") + _PARAMS)
_SIGNATURE = re.compile(rf"{LABEL}=:([A-Za-z0-9+/]{{86}}==):")


@frozen
class Signed:
    """What the verified headers say.

    Attributes:
        key_id: Thumbprint of the key that signed (RFC 7638).
        created: Seconds since the epoch by the signer's clock.
        signature: The 64 bytes.
    """

    key_id: str
    created: int
    signature: bytes


def encode(raw: bytes) -> str:
    """Return base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Undo `encode`. Raises SignatureError for anything that it does not return."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError("this is no base64url") from error
    if encode(raw) != text:
        raise SignatureError("this is no base64url without padding")
    return raw


def public_bytes(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a key's public half."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes_raw()


def load_public_key(raw: bytes) -> Ed25519PublicKey:
    """Rebuild a public key. Raises SignatureError."""
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError as error:
        raise SignatureError("an Ed25519 public key has 32 bytes") from error


def thumbprint(raw: bytes) -> str:
    """Return the JWK thumbprint of an Ed25519 public key (RFC 7638, RFC 8037 A.3)."""
    jwk = json.dumps(
        {"crv": "Ed25519", "kty": "OKP", "x": encode(raw)}, separators=(",", ":"), sort_keys=True
    )
    return encode(hashlib.sha256(jwk.encode()).digest())


def rotation_text(old: str, new: str) -> bytes:
    """Return what a new key signs to take the place of another, both as thumbprints."""
    return f"chittyops key rotation v1\n{old}\n{new}\n".encode()


def sign_request(
    key: Ed25519PrivateKey, key_id: str, method: str, target: str, body: bytes,
    content_type: str, created: int,
) -> dict[str, str]:  # fmt: skip
    """Return the headers that sign a request: Content-Digest, Signature-Input, Signature.

    Args:
        key: The signer's key.
        key_id: Its thumbprint.
        method: As sent, in capitals.
        target: Path and query as sent, such as `/v1/sync` or `/v1/x?y=z`.
        body: As sent, so after compression.
        content_type: As sent; "" where there is no body.
        created: Seconds since the epoch.
    """
    digest = _content_digest(body)
    params = f'{_REQUEST};created={created};keyid="{key_id}";alg="ed25519"'
    signature = key.sign(_request_base(method, target, content_type, digest, params))
    return _headers(digest, params, signature)


def verify_request(
    keys: Mapping[str, Ed25519PublicKey], method: str, target: str, body: bytes,
    headers: Mapping[str, str],
) -> Signed:  # fmt: skip
    """Return who signed a request, once that is proven; its time is the caller's to judge.

    Args:
        keys: Key id -> key; its `get` is asked once.
        method: As received.
        target: Path and query as received.
        body: As received, before decompression.
        headers: By name in lower case; of a name that came twice, the values joined by ", ".

    Raises:
        SignatureError: There is no signature of this form, the body is another one, the key is
            unknown (fact `key`: its id), or the signature does not match.
    """
    digest = headers.get("content-digest", "")
    params, signed = _parse(_REQUEST_INPUT, headers)
    _require_digest(digest, body)
    key = keys.get(signed.key_id)
    if key is None:
        raise SignatureError("this key is unknown here", key=signed.key_id)
    base = _request_base(method, target, headers.get("content-type", ""), digest, params)
    _require_match(key, signed.signature, base)
    return signed


def sign_response(
    key: Ed25519PrivateKey, key_id: str, status: int, body: bytes, content_type: str,
    created: int, request_signature: bytes,
) -> dict[str, str]:  # fmt: skip
    """Return the headers that sign a response to the request with *request_signature*."""
    digest = _content_digest(body)
    params = f'{_RESPONSE};created={created};keyid="{key_id}";alg="ed25519"'
    base = _response_base(status, content_type, digest, request_signature, params)
    return _headers(digest, params, key.sign(base))


def verify_response(
    key: Ed25519PublicKey, key_id: str, status: int, body: bytes, headers: Mapping[str, str],
    request_signature: bytes,
) -> Signed:  # fmt: skip
    """Prove that the holder of *key* answered just this to just that request. See above."""
    digest = headers.get("content-digest", "")
    params, signed = _parse(_RESPONSE_INPUT, headers)
    _require_digest(digest, body)
    if signed.key_id != key_id:
        raise SignatureError("another key than the pinned one signed the answer", key=signed.key_id)
    content_type = headers.get("content-type", "")
    base = _response_base(status, content_type, digest, request_signature, params)
    _require_match(key, signed.signature, base)
    return signed


def signature_of(headers: Mapping[str, str]) -> bytes | None:
    """Return the signature that headers carry, proven or not; None when there is none."""
    found = _SIGNATURE.fullmatch(headers.get("signature", ""))
    return base64.b64decode(found[1]) if found else None


def key_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the key that a request says it is signed with, proven or not."""
    found = _REQUEST_INPUT.fullmatch(headers.get("signature-input", ""))
    return found[2] if found else None


def _request_base(method: str, target: str, content_type: str, digest: str, params: str) -> bytes:
    path, _, query = target.partition("?")
    return (
        f'"@method": {method}\n"@path": {path}\n"@query": ?{query}\n'
        f'"content-type": {content_type}\n"content-digest": {digest}\n'
        f'"@signature-params": {params}'
    ).encode()


def _response_base(
    status: int, content_type: str, digest: str, request_signature: bytes, params: str
) -> bytes:
    signature = base64.b64encode(request_signature).decode()
    return (
        f'"@status": {status}\n"content-type": {content_type}\n"content-digest": {digest}\n'
        f'"signature";req;key="{LABEL}": :{signature}:\n"@signature-params": {params}'
    ).encode()


def _content_digest(body: bytes) -> str:
    """Return the header of RFC 9530."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def _headers(digest: str, params: str, signature: bytes) -> dict[str, str]:
    return {
        "Content-Digest": digest,
        "Signature-Input": f"{LABEL}={params}",
        "Signature": f"{LABEL}=:{base64.b64encode(signature).decode()}:",
    }


def _parse(form: re.Pattern[str], headers: Mapping[str, str]) -> tuple[str, Signed]:
    given = headers.get("signature-input", "")
    signature = signature_of(headers)
    found = form.fullmatch(given)
    if found is None or signature is None:
        raise SignatureError(
            "there is no signature of the form that docs/protocol.md section 3 asks for"
        )
    return given.removeprefix(f"{LABEL}="), Signed(found[2], int(found[1]), signature)


def _require_digest(digest: str, body: bytes) -> None:
    if digest != _content_digest(body):
        raise SignatureError("the body is not the one that was signed (Content-Digest)")


def _require_match(key: Ed25519PublicKey, signature: bytes, base: bytes) -> None:
    try:
        key.verify(signature, base)
    except InvalidSignature as error:
        raise SignatureError("the signature does not match") from error
