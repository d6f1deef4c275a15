"""Secrets from commands: only an operator binds one, only a plan asks, and nothing shows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from chittyops_core.errors import SecretError
from chittyops_core.secrets import Command, Providers, SecretStore
from conftest import HostUnderTest, write_app

VALUE = "hunter2-9c41d0"


def script(path: Path, text: str) -> Path:
    """Write a program in sh."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    (tmp_path / "secrets").mkdir(mode=0o700)
    return SecretStore(tmp_path / "secrets")


@pytest.fixture
def providers(store: SecretStore, tmp_path: Path) -> Providers:
    return Providers(tmp_path / "secrets", store)


def bind(providers: Providers, path: Path, text: str, timeout_s: float = 20, **env: str) -> None:
    providers.bind("portal/db", Command.of([str(script(path, text)), "a b"], timeout_s, env))


def test_what_a_command_prints_is_the_value(
    providers: Providers, store: SecretStore, tmp_path: Path
) -> None:
    """Without its last newline; asked anew by `refresh`, and an equal answer changes nothing."""
    (tmp_path / "value").write_text(f" {VALUE}\n\n")
    bind(providers, tmp_path / "give", f"cat {tmp_path}/value")
    first = store.get("portal/db")
    before = (tmp_path / "secrets/values.json").read_bytes()
    providers.refresh(["portal/db", "other"])
    same = (tmp_path / "secrets/values.json").read_bytes() == before
    (tmp_path / "value").write_text("second")
    providers.refresh(["portal/db"])

    assert (first, same, store.get("portal/db")) == (f" {VALUE}\n", True, "second")


def test_its_environment_is_minimal_and_no_shell_reads_its_arguments(
    providers: Providers, store: SecretStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is to get stands in the host's store; nothing else of the caller's does it get."""
    monkeypatch.setenv("AWS_SECRET", "of the caller")
    store.set("op/token", "the-token")
    argv = [sys.executable, "-c", "import os, sys; print(dict(os.environ), sys.argv[1:])", "$(id)"]
    providers.bind("portal/db", Command.of(argv, 20, {"TOKEN": "op/token"}))

    seen = store.get("portal/db")
    assert "the-token" in seen
    assert "AWS_SECRET" not in seen
    assert "['$(id)']" in seen


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"echo {VALUE}; exit 3", "status 3"),
        (f"echo {VALUE}; echo 'bad {VALUE}!' >&2; exit 1", "status 1"),
        (f"echo token=$TOKEN user {VALUE} >&2; echo {VALUE}; kill -9 $$", "status -9"),
        ("exit 0", "is empty"),
        ("printf '\\377'", "no UTF-8"),
        ("printf 'a\\000b'", "NUL"),
        ("exec cat /dev/zero", "more than 1048576 bytes"),
        (f"echo {VALUE}; sleep 60", "more than 1 s"),
        (f"echo {VALUE}; setsid sleep 60 &", "more than 1 s"),
    ],
)
def test_provider_output_on_failure_attack(
    providers: Providers, store: SecretStore, tmp_path: Path, text: str, says: str
) -> None:
    """Neither what it printed nor what it was given shows, not even where stderr repeats it."""
    store.set("op/token", "the-token")
    store.set("portal/db", "the last one")
    timeout_s = 1 if "sleep" in text else 20

    with pytest.raises(SecretError, match=says) as caught:
        bind(providers, tmp_path / "bad", text, timeout_s, TOKEN="op/token")
    shown = json.dumps(caught.value.to_wire())
    assert VALUE not in shown
    assert "the-token" not in shown
    assert store.get("portal/db") == "the last one"
    assert providers.commands() == {}


def test_stderr_explains_a_failure_without_control_signs(
    providers: Providers, tmp_path: Path
) -> None:
    """The end of it, as text."""
    with pytest.raises(SecretError) as caught:
        bind(providers, tmp_path / "bad", "printf 'not signed in\\033[2J\\n' >&2; exit 1")

    assert caught.value.detail == ("not signed in?[2J",)
    assert "provider unset" in caught.value.remedy


def test_a_swapped_path_does_not_change_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pinned to where it was found when an operator bound it."""
    script(tmp_path / "give", "echo x")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert Command.of(["give"], 5, {}).argv == (str(tmp_path / "give"),)
    with pytest.raises(SecretError, match="no program"):
        Command.of(["no-such-program"], 5, {})


# --- on a host -----------------------------------------------------------------------------------


@pytest.mark.host
def test_a_provided_secret_over_its_life(host: HostUnderTest, app: Path, tmp_path: Path) -> None:
    """A change makes a new release; away, deploys are refused and a cold start has the last one;
    nowhere does the value show."""
    (tmp_path / "value").write_text(VALUE)
    give = script(tmp_path / "give", f"cat {tmp_path}/value")
    bound = host.run("secrets", "provider", "set", "portal/db", "--", str(give))
    write_app(app, env='KEY = { secret = "portal/db" }')
    one = host.deploy(app)
    again = host.deploy(app)
    (tmp_path / "value").write_text("second-" + VALUE)
    two = host.deploy(app)
    refused = host.run("secrets", "set", "portal/db", stdin="x")
    give.unlink()
    away = host.refuse(app)
    host.run("host", "stop")
    started = host.run("host", "start")
    listed = host.run("secrets", "provider", "list", "--json")
    freed = host.run("secrets", "provider", "unset", "portal/db")
    later = host.deploy(app)

    assert (bound.returncode, refused.returncode, freed.returncode) == (0, 1, 0)
    assert one["release"] == again["release"] != two["release"] == later["release"]
    assert "does not start" in away
    assert "provider unset portal/db" in away
    assert started.returncode == 0, started.stderr
    assert f"KEY='second-{VALUE}'" in host.get(two, "/env")
    assert json.loads(listed.stdout)["providers"][0]["argv"] == [str(give)]
    for done in (bound, refused, started, listed, freed):
        assert VALUE not in done.stdout + done.stderr
    assert all(VALUE not in " ".join(p.cmdline()) for p in host.processes())
    for path in host.home.rglob("*"):
        if path.is_file() and "run" not in path.relative_to(host.home).parts:
            assert VALUE.encode() not in path.read_bytes(), path


@pytest.mark.host
def test_rotate_asks_the_command(host: HostUnderTest, app: Path, tmp_path: Path) -> None:
    """The manager has a new value: `rotate` brings it to all who use it; --generate is refused."""
    (tmp_path / "value").write_text("first")
    give = script(tmp_path / "give", f"cat {tmp_path}/value")
    host.run("secrets", "provider", "set", "portal/db", "--", str(give))
    report = host.deploy(write_app(app, env='KEY = { secret = "portal/db" }'))
    (tmp_path / "value").write_text("second")

    made = host.run("secrets", "rotate", "portal/db", "--generate", "hex64", "--yes")
    done = host.run("secrets", "rotate", "portal/db", "--yes")

    assert "a command gives portal/db its value" in made.stderr
    assert done.returncode == 0, done.stderr
    assert "KEY='second'" in host.get(report, "/env")


@pytest.mark.host
def test_a_command_in_a_manifest_is_refused(host: HostUnderTest, app: Path) -> None:
    """An app's repository cannot make the host run anything as the operator."""
    mark = app.parent / "ran"
    write_app(app, env=f'KEY = {{ secret = "x", command = ["touch", "{mark}"] }}')

    said = host.refuse(app)

    assert "command" in said
    assert not mark.exists()
