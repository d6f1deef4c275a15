"""`chittyops parent` as an operator types it, also while the parent serves."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from attrs import frozen
from click.testing import CliRunner

from chittyops_core.cli.app import cli
from chittyops_core.errors import ChittyOpsError, UsageError
from chittyops_core.parent import administration
from conftest import COMMAND, free_port
from parent.fleet_data import fill

PASSWORD = "correct horse battery"


@frozen
class Done:
    """What came of a command."""

    stdout: str
    stderr: str


def run(*words: str, stdin: str = "", status: int = 0) -> Done:
    """Type a command, in this process; fail unless it ends with *status*."""
    result = CliRunner().invoke(cli, ["parent", *words], input=stdin)
    said, code = result.stderr, result.exit_code
    if isinstance(result.exception, ChittyOpsError):
        said += f"{result.exception.message}\n{result.exception.remedy}"
        code = 2 if isinstance(result.exception, UsageError) else 1
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert code == status, (words, result.stdout, said)
    return Done(result.stdout, said)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a parent with the admin ada."""
    folder = tmp_path / "parent"
    run("init", "--data", str(folder), "--admin", "ada", "--yes", stdin=PASSWORD + "\n")
    return folder


@contextmanager
def serving(data: Path) -> Iterator[str]:
    """Serve a parent; give its address."""
    port = free_port()
    server = subprocess.Popen(
        [str(COMMAND), "parent", "serve", "--data", str(data), "--bind", f"127.0.0.1:{port}"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if "parent.serving" in line:
                break
        wait_for(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=30)
        assert server.returncode == 0, said


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"{url} does not answer")


def sign_in(url: str, name: str, password: str = PASSWORD) -> requests.Session:
    """Sign in as a browser does; the cookie is there when that succeeded."""
    browser = requests.Session()
    browser.headers["Accept"] = "text/html"
    page = browser.get(f"{url}/login", timeout=10).text
    csrf = re.findall(r'name="csrf" value="([^"]*)"', page)[0]
    form = {"name": name, "password": password, "csrf": csrf, "next": "/account"}
    browser.post(f"{url}/login", form, timeout=30, allow_redirects=False)
    return browser


def test_a_parent_is_made_with_its_admin_and_nothing_in_it_is_open_to_others(data: Path) -> None:
    """The folder is its owner's; the password is nowhere."""
    assert {each.name for each in data.iterdir()} >= {"parent.toml", "parent.key", "parent.db"}
    assert oct(data.stat().st_mode & 0o777) == "0o700"
    assert oct((data / "parent.key").stat().st_mode & 0o777) == "0o600"
    raw = b"".join(each.read_bytes() for each in data.iterdir())
    assert PASSWORD.encode() not in raw
    listed = json.loads(run("operator", "list", "--data", str(data), "--json").stdout)
    assert [(o["name"], o["role"]) for o in listed["operators"]] == [("ada", "admin")]


def test_what_is_wrong_is_said_before_anything_is_made(tmp_path: Path) -> None:
    """A weak password, no name, a second parent in the folder, a password in the URL."""
    data = str(tmp_path / "p")
    base = ("init", "--data", data, "--yes")

    run(*base, stdin=PASSWORD, status=2)
    run(*base, "--admin", "ada", stdin="short", status=2)
    run(*base, "--admin", "<script>", stdin=PASSWORD, status=2)
    assert not Path(data).exists()
    secret = run(
        *base, "--admin", "ada", "--database", "postgresql://u:hunter2@127.0.0.1/x",
        stdin=PASSWORD, status=1,
    )  # fmt: skip
    assert "hunter2" not in secret.stderr and "PGPASSFILE" in secret.stderr
    run(*base, "--admin", "ada", stdin=PASSWORD)
    again = run(*base, "--admin", "ada", stdin=PASSWORD, status=1)
    assert "there already" in again.stderr
    missing = run("children", "--data", str(tmp_path / "none"), status=1)
    assert "chittyops parent init" in missing.stderr


def test_operators_are_managed_while_it_serves_and_it_notices_at_once(data: Path) -> None:
    """Add, lower, disable, a new password: the next request knows."""
    with serving(data) as url:
        run("operator", "add", "--data", str(data), "bob", "--role", "admin", stdin=PASSWORD)
        bob = sign_in(url, "bob")
        assert bob.get(f"{url}/operators", timeout=10).status_code == 200
        run("operator", "role", "--data", str(data), "bob", "--role", "viewer", "--yes")
        assert bob.get(f"{url}/operators", timeout=10).status_code == 403
        run("operator", "password", "--data", str(data), "bob", stdin="another long password")
        assert "Sign in" in bob.get(f"{url}/account", timeout=10).text
        bob = sign_in(url, "bob", "another long password")
        assert bob.get(f"{url}/v1/me", timeout=10).json()["role"] == "viewer"
        run("operator", "disable", "--data", str(data), "bob", "--yes")
        assert bob.get(f"{url}/v1/me", timeout=10).status_code == 401
        last = run("operator", "disable", "--data", str(data), "ada", "--yes", status=1)
        assert "last admin" in last.stderr
        admin = sign_in(url, "ada")
        done = admin.get(f"{url}/v1/activity?limit=200", timeout=10).json()["rows"]
        assert any(
            row["actor"].startswith("cli:") and row["action"] == "operator.disable" for row in done
        )


def test_tokens_are_made_listed_and_withdrawn(data: Path) -> None:
    """stdout has the token alone, the list never."""
    made = run(
        "token", "create", "--data", str(data), "--name", "court", "--uses", "2", "--for", "2h",
        "--label", "ring=canary",
    )  # fmt: skip
    text = made.stdout.strip()
    assert re.fullmatch(r"chittyops1\.[\w-]{43}\.[\w-]{43}", text)
    listed = run("token", "list", "--data", str(data), "--json").stdout
    token = json.loads(listed)["tokens"][0]
    assert (token["name"], token["uses_left"], token["labels"]) == ("court", 2, {"ring": "canary"})
    assert text.split(".")[1] not in listed and "hash" not in token
    run("token", "withdraw", "--data", str(data), token["id"], "--yes")
    assert "withdrawn" in run("token", "list", "--data", str(data)).stdout
    for wrong in (["--uses", "0"], ["--for", "soon"], ["--label", "a b=c"]):
        run("token", "create", "--data", str(data), "--name", "x", *wrong, status=2)


def test_children_are_listed_and_decided_upon(data: Path) -> None:
    """By id or by name; what a host calls itself does nothing to the terminal."""
    with administration.opened(data) as parent:
        parent.database.write(lambda writer: fill(writer, 40, sampled=0))

    found = json.loads(run("children", "--data", str(data), "--state", "pending", "--json").stdout)[
        "children"
    ]
    one = found[0]["id"]
    said = run("accept", "--data", str(data), one, status=2)
    assert "its key is" in said.stderr and "--yes" in said.stderr
    done = run("accept", "--data", str(data), one, "--yes", "--json", "--reason", "ours")
    assert json.loads(done.stdout) == {"child": one, "before": "pending", "state": "accepted"}
    assert one in run("children", "--data", str(data), "--state", "accepted").stdout
    run("revoke", "--data", str(data), one, "--yes")
    refused = run("reject", "--data", str(data), one, "--yes", status=1)
    assert "cannot be rejected" in refused.stderr
    run("accept", "--data", str(data), "ch_none", "--yes", status=1)


LOADED = """
import sys
import chittyops_core.cli.commands.parent
extra = {"litestar", "granian", "sqlalchemy", "msgspec", "jinja2", "argon2", "authlib"}
print(extra & set(sys.modules))
"""


def test_without_the_extra_it_says_what_to_install(data: Path) -> None:
    """And nothing of a parent is imported before a command of it runs."""
    code = (
        "import sys; sys.modules['litestar'] = None\n"
        "from importlib import util; real = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name == 'litestar' else real(name, *a)\n"
        f"sys.argv = ['chittyops', 'parent', 'children', '--data', {str(data)!r}]\n"
        "from chittyops_core.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'chittyops-core[parent]'" in done.stderr
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "set()"


def test_a_request_cannot_bring_headers_of_its_own_into_an_answer_header_injection_attack(
    data: Path,
) -> None:
    """Over a real socket, where nothing in between tidies up."""
    with serving(data) as url:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        for path in (
            "/account?a=%0d%0aSet-Cookie:%20x=y", "/login?next=/%0d%0aX-Evil:%201",
            "/operators%0d%0aX-Evil:%201", "/account?\u00e4",
        ):  # fmt: skip
            with socket.create_connection((host, port), timeout=10) as connection:
                request = f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n"
                connection.sendall((request + "Connection: close\r\n\r\n").encode())
                raw = b""
                while chunk := connection.recv(65536):
                    raw += chunk
            head = raw.partition(b"\r\n\r\n")[0].lower()
            assert b"\nx-evil" not in head and b"set-cookie: x=y" not in head, (path, head)
