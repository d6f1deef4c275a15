"""Help that teaches, for every command there is, those of the lites too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from chittyops_core.cli.app import cli
from chittyops_core.cli.manual import manual

PACKAGES = Path(__file__).parents[2] / "packages"


def walk(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            yield from walk(below, (*path, name))


COMMANDS = {" ".join(path): command for path, command in walk(cli, ("chittyops",))}
every_command = pytest.mark.parametrize("name", COMMANDS)


def page(name: str) -> str:
    with click.Context(COMMANDS[name], info_name=name) as ctx:
        return COMMANDS[name].get_help(ctx)


def examples(name: str) -> list[str]:
    """Return the command lines that a page shows under Examples."""
    _, _, rest = page(name).partition("\n  Examples:\n")
    return [line.strip() for line in rest.partition("\n\n")[0].splitlines()]


def parse(line: str) -> None:
    """Let click read a line up to the point where the command would run. Raises UsageError."""
    words = shlex.split(re.sub(r" > \S+$", "", line.rpartition(" | ")[2]))
    assert words.pop(0) == "chittyops"
    command, ctx = COMMANDS["chittyops"], click.Context(cli, info_name="chittyops")
    while isinstance(command, click.Group):
        _, below, words = command.resolve_command(ctx, words)
        assert below is not None
        command = below
    command.make_context("example", words, parent=ctx)


@every_command
def test_every_command_says_what_it_does(name: str) -> None:
    """Its first sentence begins with a verb and ends with a full stop."""
    first = " ".join((COMMANDS[name].help or "").partition("\n\n")[0].split())

    assert re.match(r"[A-Z][a-z]+,? .*[.\"]$", first), first


@every_command
def test_every_option_says_what_it_is_for(name: str) -> None:
    """No option stands there without words."""
    options = [p for p in COMMANDS[name].params if isinstance(p, click.Option)]

    assert [option.name for option in options if not option.help] == []


@every_command
def test_every_command_shows_an_example_and_what_its_exit_status_means(name: str) -> None:
    """As a manual page does."""
    assert "\n  Exit status:\n" in page(name)
    assert examples(name) or name == "chittyops"
    for line in examples(name):
        assert name in line


@every_command
def test_every_example_is_a_line_that_the_command_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option that was renamed makes its example wrong, and this test fail."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviewed.json").write_text("{}")

    for line in examples(name):
        parse(line)


@pytest.mark.parametrize("line", ["chittyops deploy --soon", "chittyops secrets forget NAME"])
def test_an_example_that_is_wrong_would_be_found(line: str) -> None:
    """The check above can fail."""
    with pytest.raises(click.UsageError):
        parse(line)


@every_command
def test_no_line_of_an_epilog_is_wider_than_a_narrow_terminal(name: str) -> None:
    """Click wraps the rest; these lines it leaves as they are."""
    epilog = COMMANDS[name].epilog or ""

    assert [line for line in epilog.splitlines() if len(line) > 88] == []


def test_every_variable_that_is_read_is_in_a_help_page() -> None:
    """CHITTYOPS_... of the operator's environment; those an app gets are in docs/manifest.md."""
    read = set()
    for path in PACKAGES.glob("*/src/*/**/*.py"):
        # What the launcher and an app's own code read the host has set for them.
        is_given = path.name == "launcher.py" or "metrics" in path.parts
        if "templates" not in path.parts and not is_given:
            read |= set(re.findall(r'os\.environ\.get\("(CHITTYOPS_\w+)"', path.read_text()))
            read |= set(re.findall(r'_port_setting\("(CHITTYOPS_\w+)"', path.read_text()))
    pages = "".join(page(name) for name in COMMANDS)

    assert read >= {"CHITTYOPS_HOME", "CHITTYOPS_HTTP_PORT", "CHITTYOPS_CADDY"}
    assert [name for name in sorted(read) if name not in pages] == []


def test_a_page_without_environment_says_nothing_of_one() -> None:
    """Such as that of `new`, which needs no host."""
    assert "Environment" not in manual("chittyops new", environment="")
