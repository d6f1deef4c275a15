"""The one form of signature that we take (docs/protocol.md section 3), and attacks on it.

An independent library, `http-message-signatures`, stands on the other side in both directions.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.bridge import signatures
from chittyops_core.errors import SignatureError

CHILD, PARENT, OTHER = (Ed25519PrivateKey.generate() for _ in range(3))
IDS = {key: signatures.thumbprint(signatures.public_bytes(key)) for key in (CHILD, PARENT, OTHER)}
TYPE = "application/json"
BODY = b'{"v":1}'
NOW = int(time.time())

Headers = dict[str, str]


class Resolver(HTTPSignatureKeyResolver):
    """Gives the library our keys."""

    def resolve_public_key(self, key_id: str) -> Any:
        return next((k.public_key() for k, each in IDS.items() if each == key_id), None)

    def resolve_private_key(self, key_id: str) -> Any:
        return next(k for k, each in IDS.items() if each == key_id)


def lowered(headers: Mapping[str, str]) -> Headers:
    return {name.lower(): value for name, value in headers.items()}


def request_headers(
    key: Ed25519PrivateKey = CHILD, method: str = "POST", target: str = "/v1/sync",
    body: bytes = BODY, content_type: str = TYPE,
) -> Headers:  # fmt: skip
    """Sign a request of the child; return all its headers by lower-case name."""
    signed = signatures.sign_request(key, IDS[key], method, target, body, content_type, NOW)
    return {"content-type": content_type, **lowered(signed)}


def response_headers(
    request: Headers, key: Ed25519PrivateKey = PARENT, status: int = 200, body: bytes = BODY
) -> Headers:
    signature = signatures.signature_of(request)
    assert signature is not None
    signed = signatures.sign_response(key, IDS[key], status, body, TYPE, NOW, signature)
    return {"content-type": TYPE, **lowered(signed)}


def verify(
    headers: Headers, method: str = "POST", target: str = "/v1/sync", body: bytes = BODY,
    key: Ed25519PrivateKey = CHILD,
) -> signatures.Signed:  # fmt: skip
    return signatures.verify_request({IDS[key]: key.public_key()}, method, target, body, headers)


def verify_answer(
    headers: Headers, request: Headers, status: int = 200, body: bytes = BODY
) -> signatures.Signed:
    signature = signatures.signature_of(request)
    assert signature is not None
    return signatures.verify_response(
        PARENT.public_key(), IDS[PARENT], status, body, headers, signature
    )


# --- against the library -------------------------------------------------------------------------


def prepared(headers: Headers, method: str = "POST", target: str = "/v1/sync") -> Any:
    message = requests.Request(method, f"https://parent.example{target}", data=BODY).prepare()
    message.headers.clear()
    message.headers.update(headers)
    return message


def answered(headers: Headers, request: Any, status: int = 200) -> requests.Response:
    response = requests.Response()
    response.status_code, response.request = status, request
    response.headers.update(headers)
    return response


def signer() -> HTTPMessageSigner:
    return HTTPMessageSigner(
        signature_algorithm=algorithms.ED25519, key_resolver=Resolver(),
    )  # fmt: skip


def verifier() -> HTTPMessageVerifier:
    return HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Resolver())


@pytest.mark.parametrize(
    "target", ["/v1/sync", "/v1/enrolments/ch_1", "/v1/x?y=z&a=%20b", "/v1/x?"]
)
def test_a_library_takes_what_we_sign(target: str) -> None:
    """Section 3.1: the base that we sign is the one of RFC 9421, not one of our own."""
    headers = request_headers(target=target)

    (found,) = verifier().verify(prepared(headers, target=target), body=BODY)

    assert found.label == "chittyops"
    assert found.parameters["keyid"] == IDS[CHILD]
    assert list(found.covered_components) == [
        '"@method"', '"@path"', '"@query"', '"content-type"', '"content-digest"',
        '"@signature-params"',
    ]  # fmt: skip


def library_signed(components: tuple[str, ...], key: Ed25519PrivateKey = CHILD) -> Headers:
    """Let the library sign a request of the child."""
    message = prepared({"Content-Type": TYPE})
    signer().sign(
        message, key_id=IDS[key], label="chittyops", covered_component_ids=components,
        created=datetime.fromtimestamp(NOW, UTC), body=BODY,
    )  # fmt: skip
    return lowered(message.headers)


def test_we_take_what_a_library_signs_in_our_form() -> None:
    """Section 3.1, the other way round."""
    headers = library_signed(("@method", "@path", "@query", "content-type", "content-digest"))

    assert verify(headers).key_id == IDS[CHILD]
    assert verify(headers).created == NOW


@pytest.mark.parametrize("status", [200, 201, 403, 503])
def test_a_library_takes_our_answers(status: int) -> None:
    """Section 3.3: an answer covers the signature of the request that it answers."""
    asked = request_headers()
    headers = response_headers(asked, status=status)

    (found,) = verifier().verify(answered(headers, prepared(asked), status), body=BODY)

    assert '"signature";req;key="chittyops"' in found.covered_components


def test_we_take_answers_that_a_library_signs_in_our_form() -> None:
    """Section 3.3, the other way round."""
    asked = request_headers()
    response = answered({"Content-Type": TYPE}, prepared(asked))
    signer().sign(
        response, key_id=IDS[PARENT], label="chittyops",
        covered_component_ids=(
            "@status", "content-type", "content-digest", '"signature";req;key="chittyops"',
        ),
        created=datetime.fromtimestamp(NOW, UTC), body=BODY,
    )  # fmt: skip

    assert verify_answer(lowered(response.headers), asked).key_id == IDS[PARENT]


def test_a_request_without_a_body_has_the_empty_type_and_the_digest_of_nothing() -> None:
    """Section 3.1, last sentence."""
    headers = request_headers(method="GET", target="/v1/enrolments/x", body=b"", content_type="")
    del headers["content-type"]

    assert verify(headers, "GET", "/v1/enrolments/x", b"").key_id == IDS[CHILD]


def test_a_thumbprint_is_the_one_that_the_rfc_computes() -> None:
    """RFC 8037, appendix A.3."""
    raw = signatures.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")

    assert signatures.thumbprint(raw) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@given(st.binary(max_size=80))
def test_base64url_has_one_text_for_each_value(raw: bytes) -> None:
    """So that a key has one id, and a signature one form."""
    text = signatures.encode(raw)

    assert signatures.decode(text) == raw
    for other in (text + "=", text + "\n", " " + text, text + "\u00e9"):
        with pytest.raises(SignatureError):
            signatures.decode(other)


# --- attacks on requests -------------------------------------------------------------------------


def test_altered_body_attack() -> None:
    """One byte more, or another digest in the header: the signature covers the digest."""
    headers = request_headers()

    with pytest.raises(SignatureError, match="body"):
        verify(headers, body=BODY + b" ")
    other = request_headers(body=b"{}")
    with pytest.raises(SignatureError, match="match"):
        verify({**headers, "content-digest": other["content-digest"]}, body=b"{}")


@pytest.mark.parametrize(
    ("method", "target"),
    [("PUT", "/v1/sync"), ("POST", "/v1/leave"), ("POST", "/v1/sync?x=1"), ("post", "/v1/sync")],
)
def test_other_target_attack(method: str, target: str) -> None:
    """What was signed for one endpoint says nothing at another."""
    with pytest.raises(SignatureError, match="match"):
        verify(request_headers(), method, target)


def test_other_content_type_attack() -> None:
    """What was signed as JSON cannot become a form."""
    with pytest.raises(SignatureError, match="match"):
        verify({**request_headers(), "content-type": "application/x-www-form-urlencoded"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('alg="ed25519"', 'alg="hmac-sha256"'), ('alg="ed25519"', 'alg="none"'),
        (';alg="ed25519"', ""), ('"@method" ', ""), (' "content-digest"', ""),
        ('"@query"', '"@query" "@authority"'), ('"@method" "@path"', '"@path" "@method"'),
        ('"@method" "@path" "@query" "content-type" "content-digest"', ""),
        (";created=", ";expires=9999999999;created="), (";created=", ";nonce=\"x\";created="),
        (";created=", ";created=-"), (";created=", ";created=9999999999999"),
        (";created=", ";created=1.5;x="), (";created=", ";tag=\"a\";created="),
        ("chittyops=", "Chittyops="), ("chittyops=", "other="), ("chittyops=", " chittyops="),
    ],
)  # fmt: skip
def test_downgrade_attack(old: str, new: str) -> None:
    """Section 3.1: nothing is negotiated, however valid it might be by the RFC."""
    headers = request_headers()
    assert old in headers["signature-input"]

    with pytest.raises(SignatureError):
        verify({**headers, "signature-input": headers["signature-input"].replace(old, new, 1)})


@pytest.mark.parametrize(
    "components",
    [
        ("@method", "@path", "@query", "content-digest"),
        ("@method", "@path", "content-type", "content-digest"),
        ("content-digest", "@method", "@path", "@query", "content-type"),
        ("@method", "@path", "@query", "content-type", "content-digest", "@authority"),
    ],
)
def test_fewer_or_other_components_attack(components: tuple[str, ...]) -> None:
    """A valid signature of the right key over something else is refused as well."""
    with pytest.raises(SignatureError, match="of the form"):
        verify(library_signed(components))


def test_public_key_as_hmac_secret_attack() -> None:
    """The classical downgrade: what everybody knows is taken for a secret."""
    headers = request_headers()
    secret = signatures.public_bytes(CHILD)
    mac = hmac.digest(secret, headers["signature-input"].encode(), "sha256") * 2
    forged = {
        **headers,
        "signature-input": headers["signature-input"].replace("ed25519", "hmac-sha256"),
        "signature": f"chittyops=:{base64.b64encode(mac).decode()}:",
    }

    with pytest.raises(SignatureError):
        verify(forged)


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest"])
@pytest.mark.parametrize("form", ["{0}, {0}", "{0}, x=:AA==:", "x=:AA==:, {0}", "{0};x", "{0}\n"])
def test_duplicated_label_attack(name: str, form: str) -> None:
    """Two signatures, of which one reader takes the first and another the last."""
    headers = request_headers()

    with pytest.raises(SignatureError):
        verify({**headers, name: form.format(headers[name])})


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest"])
def test_left_out_header_attack(name: str) -> None:
    """No signature is no signature."""
    headers = request_headers()
    del headers[name]

    with pytest.raises(SignatureError):
        verify(headers)


def test_another_childs_id_attack() -> None:
    """A child's own signature under another's id, and an id that nobody has."""
    headers = request_headers(OTHER)
    named = headers["signature-input"].replace(IDS[OTHER], IDS[CHILD])

    with pytest.raises(SignatureError, match="match"):
        verify({**headers, "signature-input": named})
    with pytest.raises(SignatureError, match="unknown") as unknown:
        verify(headers)
    assert unknown.value.facts["key"] == IDS[OTHER]


def test_second_text_of_a_signature_attack() -> None:
    """Base64 has unused bits: with them, one signature would have sixteen texts."""
    headers = request_headers()
    text = headers["signature"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = text[-4]
    assert text.endswith(f"{last}==:")

    with pytest.raises(SignatureError):
        verify({**headers, "signature": f"{text[:-4]}{alphabet[alphabet.index(last) + 1]}==:"})


@pytest.mark.parametrize(
    "text", ["a\r\nX: y", "a\nb", "a\rb", "a\x00b", "\u00e9", "\ud800", " a", "a\t", "\u2028", "a "]
)
def test_header_injection_attack(text: str) -> None:
    """What could become a line of its own is neither signed nor verified."""
    for method, target, content_type in (
        (text, "/", TYPE), ("POST", f"/{text}" if text.strip() == text else text, TYPE),
        ("POST", "/", text),
    ):  # fmt: skip
        with pytest.raises(SignatureError):
            signatures.sign_request(CHILD, IDS[CHILD], method, target, b"", content_type, NOW)
        with pytest.raises(SignatureError):
            verify({**request_headers(), "content-type": content_type}, method, target)
    with pytest.raises(SignatureError):
        signatures.sign_response(PARENT, IDS[PARENT], 200, b"", text, NOW, bytes(64))


@given(
    st.sampled_from(["signature", "signature-input", "content-digest", "content-type"]), st.text()
)
def test_whatever_stands_in_a_header_is_refused_as_unsigned(name: str, text: str) -> None:
    """Hostile headers raise SignatureError, and nothing else."""
    with pytest.raises(SignatureError):
        verify({**request_headers(), name: text})


# --- attacks on answers --------------------------------------------------------------------------


def test_altered_answer_attack() -> None:
    """Another body or another status under the parent's signature."""
    asked = request_headers()
    headers = response_headers(asked)

    verify_answer(headers, asked)
    with pytest.raises(SignatureError, match="body"):
        verify_answer(headers, asked, body=b'{"acked":9}')
    with pytest.raises(SignatureError, match="match"):
        verify_answer(headers, asked, status=503)


def test_answer_to_another_request_attack() -> None:
    """A true answer of the parent, kept by a proxy and given to a later request."""
    first = request_headers()
    second = request_headers(body=b'{"v":1,"n":2}')

    with pytest.raises(SignatureError, match="match"):
        verify_answer(response_headers(first), second)


def test_answer_of_another_key_attack() -> None:
    """A proxy that signs by itself, under its own id and under the parent's."""
    asked = request_headers()
    headers = response_headers(asked, OTHER)
    named = headers["signature-input"].replace(IDS[OTHER], IDS[PARENT])

    with pytest.raises(SignatureError, match="pinned"):
        verify_answer(headers, asked)
    with pytest.raises(SignatureError, match="match"):
        verify_answer({**headers, "signature-input": named}, asked)


def test_reflected_signature_attack() -> None:
    """A child's own headers sent back are no answer."""
    asked = request_headers()

    with pytest.raises(SignatureError, match="of the form"):
        verify_answer(asked, asked)


def test_a_child_that_knows_a_thumbprint_gets_the_key_with_the_answer() -> None:
    """Section 3.3: the key proves itself by the thumbprint in the token."""
    headers = response_headers(request_headers())

    key = signatures.key_of(headers, IDS[PARENT])

    assert signatures.public_bytes(key) == signatures.public_bytes(PARENT)


@pytest.mark.parametrize("given", ["", "x", "AAAA", "its own"])
def test_brought_key_attack(given: str) -> None:
    """A proxy brings its own key along with its own signature."""
    headers = response_headers(request_headers(), OTHER)
    if given != "its own":
        headers["chittyops-key"] = given

    with pytest.raises(SignatureError):
        signatures.key_of(headers, IDS[PARENT])
