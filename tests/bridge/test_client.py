"""One request and its answer: what is believed (docs/protocol.md sections 2, 3.3, 4, 5, 6)."""

from __future__ import annotations

import gzip
import json
import select
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.parent_double import ParentDouble
from chittyops_core.bridge import client as client_module
from chittyops_core.bridge import identity, membership, signatures
from chittyops_core.bridge.client import Answered, ParentClient, Refused, Unheard
from chittyops_core.bridge.enrol import client_of, enrol, leave, rotate_key
from chittyops_core.bridge.identity import Key
from chittyops_core.bridge.protocol import ChildState
from chittyops_core.errors import BridgeError, ParentRefusedError, UsageError


def client(folder: Path, skew_s: float = 0.0) -> ParentClient:
    member, keys = membership.read(folder), identity.read(folder)
    assert member is not None and keys is not None
    return client_of(member, keys.present, skew_s)


def ask(folder: Path) -> Answered | Refused | Unheard:
    return client(folder).get("/v1/enrolments/ch_1")


# --- what is believed ----------------------------------------------------------------------------


def test_a_signed_answer_is_believed_compressed_or_not(folder: Path, parent: ParentDouble) -> None:
    """Unknown keys of a newer parent are there."""
    outcome = ask(folder)

    assert isinstance(outcome, Answered)
    assert outcome.body["from_a_newer_parent"] == [1]


@pytest.mark.parametrize("fault", ["cut", "forged", "altered", "lost", "unanswered"])
def test_lost_and_forged_answer_attack(folder: Path, parent: ParentDouble, fault: str) -> None:
    """Section 3.3: such an answer is none."""
    parent.fault = lambda _: fault
    if fault == "altered":
        parent.change = lambda status, headers, body: (status, headers, body + b"\n")

    outcome = ask(folder)

    assert isinstance(outcome, Unheard), outcome


@pytest.mark.parametrize("status", [200, 201, 301, 302, 307, 400, 401, 403, 409, 413, 429, 503])
def test_unsigned_answer_attack(folder: Path, parent: ParentDouble, status: int) -> None:
    """A proxy can neither acknowledge nor turn away nor lead astray, whatever it says."""
    body = json.dumps({"acked": 10**9, "next_s": 1e9, "type": "urn:chittyops:problem:revoked"})
    parent.change = lambda *_: (
        status, {"Location": f"{parent.url}/elsewhere", "Retry-After": "99999"}, body.encode()
    )  # fmt: skip

    assert isinstance(ask(folder), Unheard)
    assert all(path == "/v1/enrolments/ch_1" for _, path in parent.requests[1:])


def test_kept_answer_attack(folder: Path, parent: ParentDouble) -> None:
    """A true answer, given once more to a later request."""
    kept: list[tuple[int, dict[str, str], bytes]] = []

    def change(*answer: object) -> tuple[int, dict[str, str], bytes]:
        kept.append(answer)  # type: ignore[arg-type]
        return kept[0]

    parent.change = change

    assert isinstance(client(folder).get("/v1/enrolments/ch_1"), Answered)
    # Five seconds later its signature is another one: it covers the time.
    assert isinstance(client(folder, skew_s=5.0).get("/v1/enrolments/ch_1"), Unheard)


def test_gzip_bomb_attack(folder: Path, parent: ParentDouble) -> None:
    """128 MiB of zeros are not expanded, though the very parent signed it."""
    bomb = gzip.compress(bytes(1 << 27), 1)

    _sign(parent, bomb)
    outcome = ask(folder)

    assert isinstance(outcome, Unheard)
    assert "1 MiB" in outcome.why


def _sign(parent: ParentDouble, raw: bytes, **more: str) -> None:
    """Let the parent sign *raw* as its answer."""
    handle = parent._answer

    def answer(
        method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        ours = signatures.signature_of(headers) or b""
        signed = signatures.sign_response(
            parent.key, parent.id, 200, raw, "application/json", int(time.time()), ours
        )
        return 200, {
            "Content-Type": "application/json", "Content-Encoding": "gzip", **signed, **more
        }, raw  # fmt: skip

    assert handle is not None
    parent._answer = answer  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "raw", [b"", b"no gzip", gzip.compress(b"[1]"), gzip.compress(b"{"), gzip.compress(b"{}")[:-9],
            gzip.compress(b"[" * 100_000), gzip.compress(b'{"a":1}\xff')],
)  # fmt: skip
def test_signed_nonsense_is_no_answer(folder: Path, parent: ParentDouble, raw: bytes) -> None:
    """Nor does it raise."""
    _sign(parent, raw)

    assert isinstance(ask(folder), Unheard)


def test_endless_answer_attack(
    folder: Path, parent: ParentDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read up to the limit."""
    monkeypatch.setattr(client_module, "MAX_BYTES", 10_000)
    parent.change = lambda status, headers, _: (status, headers, bytes(100_000))

    outcome = ask(folder)

    assert isinstance(outcome, Unheard)
    assert "1 MiB" in outcome.why


def test_silent_parent_attack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the connection and says nothing is left after the time limit."""
    monkeypatch.setattr(client_module, "READ_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        member = membership.read(folder)
        assert member is not None
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        asked = ParentClient(url, member.parent, Key.generate(), parent_key=member.parent_key)

        outcome = asked.get("/")

    assert outcome == Unheard("the parent did not answer in time")


def test_problems_are_read_with_what_they_bring(folder: Path, parent: ParentDouble) -> None:
    """Section 8; `Retry-After` is under no signature, so it is bounded."""
    parent.refuse = lambda _: (409, "sequence-gap", {"acked": 7})
    parent.retry_after = "999999999"

    outcome = client(folder).post("/v1/sync", {"stream": "x"})

    assert isinstance(outcome, Refused)
    assert (outcome.problem, outcome.status, outcome.acked) == ("sequence-gap", 409, 7)
    assert outcome.retry_after_s == 3600.0


@pytest.mark.parametrize("text", ["nan", "-5", "soon", "inf", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_retry_after_that_is_no_number_of_seconds(
    folder: Path, parent: ParentDouble, text: str
) -> None:
    """It means nothing, or no wait."""
    parent.refuse = lambda _: (503, "busy", {})
    parent.retry_after = text

    outcome = client(folder).post("/v1/sync", {"stream": "x"})

    assert isinstance(outcome, Refused)
    assert outcome.retry_after_s in (None, 0.0)


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock_s", [86_400.0, -86_400.0, 1e9])
def test_a_wrong_clock_is_corrected_by_a_signed_problem(
    folder: Path, parent: ParentDouble, clock_s: float
) -> None:
    """Section 3.2: and by nothing else."""
    parent.clock_s = clock_s
    asked = client(folder)

    assert isinstance(first := asked.get("/v1/enrolments/ch_1"), Refused)
    assert first.problem == "clock-skew"
    assert isinstance(asked.get("/v1/enrolments/ch_1"), Answered)
    assert asked.skew_s == pytest.approx(clock_s, abs=2)


def test_unsigned_clock_attack(folder: Path, parent: ParentDouble) -> None:
    """A proxy cannot turn a child's clock."""
    body = {"type": "urn:chittyops:problem:clock-skew", "time": 1.0, "status": 401}
    parent.change = lambda *_: (401, {}, json.dumps(body).encode())
    asked = client(folder)

    assert isinstance(asked.get("/v1/enrolments/ch_1"), Unheard)
    assert asked.skew_s == 0.0


# --- addresses, proxies, authorities -------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://ops.example.org", "ftp://127.0.0.1", "ops.example.org", "https://", "https://u:p@x",
        "https://x/path", "https://x?q=1", "https://x#f", "https://x:99999", "http://127.0.0.1.x",
        "https://x\r\nHost: y", "http://[::1", "https://ex\u00e4mple.org", "",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(url: str) -> None:
    """Without TLS only this machine is a parent, and an address holds nothing else."""
    with pytest.raises(UsageError):
        membership.require_url(url)


def test_addresses_that_are_taken() -> None:
    assert membership.require_url(" https://ops.example.org/ ") == "https://ops.example.org"
    assert membership.require_url("http://localhost:8080") == "http://localhost:8080"
    assert membership.require_url("http://[::1]:8080") == "http://[::1]:8080"


class Proxy:
    """A proxy that does what CONNECT asks (RFC 9110 section 9.3.6), and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.target = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(near,), daemon=True).start()

    def _tunnel(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self.target)) as far:
            self.asked.append(near.recv(4096).split(b" HTTP")[0].decode())
            near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            other = {near: far, far: near}
            with suppress(OSError):
                while True:
                    for source in select.select([near, far], [], [])[0]:
                        data = source.recv(65_536)
                        if not data:
                            return
                        other[source].sendall(data)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # Else `accept` goes on waiting.
        self._server.close()
        self._thread.join()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[ParentDouble, Path]]:
    """A parent with TLS as `ops.test`, by a private authority; and that one's certificate."""
    authority, chain = _certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    parent = ParentDouble(context)
    yield parent, authority
    parent.close()


def _certificates(folder: Path) -> tuple[Path, Path]:
    """Make an authority and what it says of `ops.test`."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("authority"))
            .public_key(public).serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        )  # fmt: skip

    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = (
        builder("authority", root.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(root, hashes.SHA256())
    )
    leaf = (
        builder("ops.test", own.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ops.test")]), critical=False)
        .sign(root, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key = own.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip
    authority, chain = folder / "ca.pem", folder / "chain.pem"
    authority.write_bytes(ca.public_bytes(pem))
    chain.write_bytes(leaf.public_bytes(pem) + key)
    return authority, chain


def test_through_a_proxy_to_a_parent_of_a_private_authority(
    secure: tuple[ParentDouble, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY and REQUESTS_CA_BUNDLE; without the latter it is said what to do."""
    parent, authority = secure
    proxy = Proxy()
    proxy.target = parent.port
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "")
    url = "https://ops.test:8443"

    with pytest.raises(BridgeError, match="REQUESTS_CA_BUNDLE"):
        enrol(tmp_path / "bridge", url, parent.token, "x", {})
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    made = enrol(tmp_path / "bridge", url, parent.token, "x", {})

    assert made.state is ChildState.ACCEPTED
    assert set(proxy.asked) == {"CONNECT ops.test:8443"}
    proxy.close()


def test_an_authority_of_the_membership_is_trusted_and_no_proxy_is_obeyed_for_this_machine(
    secure: tuple[ParentDouble, Path], parent: ParentDouble, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What is on this machine is asked directly, whatever HTTP_PROXY says."""
    tls, authority = secure
    proxy = Proxy()
    proxy.target = tls.port
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.lower(), proxy.url)
    monkeypatch.setenv("NO_PROXY", "")

    made = enrol(tmp_path / "a", "https://ops.test", tls.token, "x", {}, ca_file=str(authority))
    assert made.ca_file == str(authority)
    asked = len(proxy.asked)
    enrol(tmp_path / "b", parent.url, parent.token, "x", {})
    assert len(proxy.asked) == asked
    proxy.close()


def test_a_netrc_password_is_not_sent(
    folder: Path, parent: ParentDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests would add it to every request by itself."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login a password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[dict[str, str]] = []
    handle = parent._handle
    parent._handle = (  # type: ignore[method-assign]
        lambda m, p, b, headers, now: (seen.append(dict(headers)), handle(m, p, b, headers, now))[1]
    )

    assert isinstance(ask(folder), Answered)
    assert "authorization" not in seen[0]


# --- enrolment, rotation, leaving ----------------------------------------------------------------


def test_enrolment_pins_the_parent_and_keeps_all_of_it_private(
    folder: Path, parent: ParentDouble
) -> None:
    """Section 5.1."""
    member = membership.read(folder)

    assert member is not None
    assert (member.child, member.parent, member.state) == ("ch_1", parent.id, "accepted")
    for name in ("key", "membership.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert parent.secret not in (folder / "membership.json").read_text()


def test_enrolling_again_is_the_same_child_and_uses_up_no_token(
    folder: Path, parent: ParentDouble
) -> None:
    """Section 5.2."""
    again = enrol(folder, parent.url, parent.token, "host-1", {})

    assert again.child == "ch_1"
    assert len(parent.children) == 1


def test_used_token_attack(folder: Path, parent: ParentDouble, tmp_path: Path) -> None:
    """Another host with the same token is refused, and told what to do."""
    with pytest.raises(ParentRefusedError, match="used up") as refused:
        enrol(tmp_path / "other", parent.url, parent.token, "x", {})
    assert refused.value.facts == {"problem": "enrolment-token", "status": 403}
    assert membership.read(tmp_path / "other") is None


def test_parent_of_another_key_attack(tmp_path: Path, parent: ParentDouble) -> None:
    """Who got hold of the token's secret and of the address is not believed."""
    real = Key.generate()
    token = f"chittyops1.{parent.secret}.{real.id}"

    with pytest.raises(BridgeError, match="another key"):
        enrol(tmp_path / "bridge", parent.url, token, "x", {})
    assert membership.read(tmp_path / "bridge") is None


@pytest.mark.parametrize(
    "token", ["", "x", "chittyops1.a.b", "chittyops2." + "A" * 43 + "." + "A" * 43, "\ud800"]
)
def test_what_is_no_token_is_refused_without_being_quoted(tmp_path: Path, token: str) -> None:
    """It may be a secret all the same."""
    with pytest.raises(UsageError) as error:
        enrol(tmp_path / "bridge", "http://127.0.0.1:1", token, "x", {})
    assert not token or token not in error.value.message


def test_a_host_with_a_wrong_clock_enrols(tmp_path: Path, parent: ParentDouble) -> None:
    """Section 3.2, before anything else is known of the parent than its thumbprint."""
    parent.clock_s = 10_000.0

    assert enrol(tmp_path / "bridge", parent.url, parent.token, "x", {}).child == "ch_1"


@pytest.mark.parametrize("child", ["../../v1/leave", "a/b", "", "x" * 100, "a\r\nb", "?x"])
def test_path_traversal_by_id_attack(tmp_path: Path, parent: ParentDouble, child: str) -> None:
    """A parent's id becomes part of a path later."""
    parent.child = child

    with pytest.raises(BridgeError, match="id"):
        enrol(tmp_path / "bridge", parent.url, parent.token, "x", {})


def test_a_cloned_child_enrols_as_another(folder: Path, parent: ParentDouble) -> None:
    """Section 7.7: the key that two machines have is given up."""
    member, before = membership.read(folder), identity.read(folder)
    assert member is not None and before is not None
    membership.write(folder, member.with_state(ChildState.CLONED))
    parent.uses, parent.child = 1, "ch_2"

    assert enrol(folder, parent.url, parent.token, "host-1", {}).child == "ch_2"
    after = identity.read(folder)
    assert after is not None
    assert (after.present.id != before.present.id, after.former) == (True, ())


def test_a_member_of_one_parent_has_to_leave_before_it_joins_another(
    folder: Path, parent: ParentDouble
) -> None:
    other = ParentDouble()
    with pytest.raises(UsageError, match="already") as error:
        enrol(folder, other.url, other.token, "x", {})
    assert "leave" in error.value.remedy
    leave(folder)
    assert parent.state == "left"
    assert enrol(folder, other.url, other.token, "x", {}).parent == other.id
    other.close()


def test_leaving_needs_the_parent_or_force(folder: Path, parent: ParentDouble) -> None:
    """Section 5.4."""
    parent.fault = lambda _: "lost"

    with pytest.raises(BridgeError):
        leave(folder)
    assert membership.read(folder) is not None
    leave(folder, force=True)
    assert membership.read(folder) is None


def test_a_rotated_key_is_used_and_the_former_kept(folder: Path, parent: ParentDouble) -> None:
    """Section 6."""
    before = identity.read(folder)
    assert before is not None

    new = rotate_key(folder)

    after = identity.read(folder)
    assert after is not None
    assert (after.present.id, after.next) == (new, None)
    assert [key.id for key in after.former] == [before.present.id]
    assert isinstance(ask(folder), Answered)


def test_a_rotation_whose_answer_was_lost_is_done_again_with_the_same_key(
    folder: Path, parent: ParentDouble
) -> None:
    """Section 6: it may be sent again and again; meanwhile the former key signs."""
    parent.fault = lambda path: "unanswered" if path == "/v1/keys/rotate" else ""
    with pytest.raises(BridgeError):
        rotate_key(folder)
    assert isinstance(ask(folder), Answered)
    parent.fault = lambda _: ""

    rotate_key(folder)

    assert len(parent.children) == 2
    assert isinstance(ask(folder), Answered)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"present":"x","former":[]}', "\x00", '{"present":1}']
)
def test_a_damaged_key_is_told_without_its_text(folder: Path, text: str) -> None:
    (folder / "key").write_text(text)

    with pytest.raises(BridgeError, match="damaged") as error:
        identity.read(folder)
    assert not text or text not in error.value.message


def test_readable_key_attack(folder: Path) -> None:
    """A key that others may read, or that is a link, is not used."""
    (folder / "key").chmod(0o644)
    with pytest.raises(BridgeError, match="others may read"):
        identity.read(folder)
    (folder / "key").rename(folder / "elsewhere")
    (folder / "key").symlink_to(folder / "elsewhere")
    with pytest.raises(BridgeError, match="cannot be read"):
        identity.read(folder)
