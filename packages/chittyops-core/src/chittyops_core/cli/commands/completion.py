"""`chittyops completion`: the script that lets a shell complete this command."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual


@click.command(
    "completion",
    epilog=manual(
        "chittyops completion bash > ~/.local/share/bash-completion/completions/chittyops",
        "chittyops completion zsh > ~/.zfunc/_chittyops",
        "chittyops completion fish > ~/.config/fish/completions/chittyops.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands, options and names when SHELL's user types Tab.

    Write it where the shell looks for such scripts, as below (make the folder first), and open
    a new shell. For bash this needs bash 4.4 or newer and the package bash-completion; without
    that package, put `eval "$(chittyops completion bash)"` into ~/.bashrc. For zsh, ~/.zshrc
    needs `fpath+=(~/.zfunc)` before `autoload -Uz compinit && compinit`.

    Names of apps, environments, clients, releases and secrets are those of this host; its files
    are read, and nothing is started.
    """
    from click.shell_completion import get_completion_class

    from chittyops_core.cli.app import cli
    from chittyops_core.cli.completion import VARIABLE

    found = get_completion_class(shell)
    assert found is not None, "click knows the three shells of the choice"
    click.echo(found(cli, {}, "chittyops", VARIABLE).source())
