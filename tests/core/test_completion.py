"""The Tab key: bash runs the script that `chittyops completion bash` prints."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chittyops_core.secrets import SecretStore
from conftest import HostUnderTest

COMMAND = Path(sys.executable).with_name("chittyops")

# What bash does at Tab: set the words and call the function that the script has named.
TAB = """
eval "$(chittyops completion bash)"
complete -p chittyops >/dev/null || exit 3
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_chittyops_completion chittyops
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with releases of three services and two secrets, and no runtime."""
    home = tmp_path / "home"
    for slug, release in [
        ("court.production", "74d67a9015210678"),
        ("court.production", "6a9b2c7a445fdad5"),
        ("court.staging", "0f1e2d3c4b5a6978"),
        ("portal.production.acme", "aa00bb11cc22dd33"),
    ]:
        folder = home / "services" / slug / "releases" / release
        folder.mkdir(parents=True)
        (folder / "release.json").write_text("{}")
    (home / "services/removed.production/state").mkdir(parents=True)
    store = SecretStore(home / "secrets")
    (home / "secrets").mkdir(mode=0o700)
    store.set("court/secret-key", "not shown")
    store.set("portal/tls-key", "not shown")
    return home


def tab(home: Path, line: str, cwd: Path | None = None) -> tuple[list[str], str]:
    """Type *line* and Tab; return what is offered, and what was said on stderr."""
    words = " ".join(shlex.quote(word) for word in line.split(" "))
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", TAB.format(words=words)],
        cwd=cwd or home.parent, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "CHITTYOPS_HOME": str(home),
             "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("chittyops ro", ["rollback"]),
        ("chittyops host sta", ["start", "status"]),
        ("chittyops compl", ["completion", "compliance"]),
        ("chittyops deploy --no", ["--no-wait"]),
        ("chittyops status --app ", ["court", "portal"]),
        ("chittyops logs --app court --env ", ["production", "staging"]),
        ("chittyops logs --app portal --client a", ["acme"]),
        ("chittyops rollback --app court ", ["6a9b2c7a445fdad5", "74d67a9015210678"]),
        ("chittyops rollback --app court --env staging 0", ["0f1e2d3c4b5a6978"]),
        ("chittyops logs --app portal --client acme --release ", ["aa00bb11cc22dd33"]),
        ("chittyops secrets unset court", ["court/secret-key"]),
        ("chittyops secrets set ", ["court/secret-key", "portal/tls-key"]),
        ("chittyops new c", ["chitty-apps", "cook-county"]),
    ],
)
def test_tab_offers_what_fits(home: Path, line: str, offered: list[str]) -> None:
    """Commands, options, and the names that this host knows."""
    assert tab(home, line) == (offered, "")


def test_tab_offers_clients_that_an_app_has_a_file_of(home: Path, tmp_path: Path) -> None:
    """Before anything serves for them."""
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients/birch.toml").write_text("")

    assert tab(home, "chittyops deploy --client ", cwd=tmp_path) == (["acme", "birch"], "")


def test_tab_makes_no_home_and_starts_no_runtime(tmp_path: Path) -> None:
    """Whoever only types has decided nothing yet."""
    home = tmp_path / "none"

    for line in (
        "chittyops status --app ",
        "chittyops rollback --app x ",
        "chittyops secrets set ",
    ):
        assert tab(home, line) == ([], "")
    assert not home.exists()


def test_tab_leaves_a_home_as_it_is(home: Path) -> None:
    """No runtime, no lock, no log: the same files before and after."""
    before = sorted(home.rglob("*"))

    tab(home, "chittyops rollback --app court ")
    tab(home, "chittyops secrets set ")

    assert sorted(home.rglob("*")) == before


def test_tab_says_nothing_when_the_home_is_damaged(home: Path) -> None:
    """A traceback in the middle of a line helps nobody; the command itself will say it."""
    (home / "secrets/values.json").write_text("no JSON")
    (home / "services/Not A Slug/releases/x").mkdir(parents=True)
    (home / "services/Not A Slug/releases/x/release.json").write_text("")

    assert tab(home, "chittyops secrets set ") == ([], "")
    assert tab(home, "chittyops status --app ") == ([], "")


def test_tab_says_nothing_when_the_home_is_not_absolute(tmp_path: Path) -> None:
    """The command itself says that CHITTYOPS_HOME has to be."""
    assert tab(Path("relative"), "chittyops status --app ", cwd=tmp_path) == ([], "")


def test_tab_runs_no_command_that_a_release_name_holds(home: Path, tmp_path: Path) -> None:
    """Attack: names in a home reach the shell as text, never as something to run."""
    evil = home / "services/court.production/releases" / "$(touch pwned)`touch pwned`"
    evil.mkdir()
    (evil / "release.json").write_text("{}")

    tab(home, "chittyops rollback --app court ")

    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_the_command_and_the_variable(shell: str) -> None:
    """Each shell's own; where the shell is installed, it finds no fault with it."""
    done = subprocess.run([COMMAND, "completion", shell], capture_output=True, text=True)

    assert done.returncode == 0
    assert "_CHITTYOPS_COMPLETE" in done.stdout
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=done.stdout, text=True, check=True)


@pytest.mark.host
def test_tab_offers_what_a_real_host_holds(host: HostUnderTest, app: Path) -> None:
    """The files that it reads are those that the host writes."""
    report = host.deploy(app)

    assert tab(host.home, "chittyops status --app ") == (["hello"], "")
    assert tab(host.home, "chittyops rollback --app hello ") == ([report["release"]], "")
