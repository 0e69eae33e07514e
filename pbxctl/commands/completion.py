"""`pbxctl completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pbxctl.commands.context import Here, common
from pbxctl.commands.failure import CommandError

VARIABLE = "_PBXCTL_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
def command(here: Here, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  pbxctl completion bash > /etc/bash_completion.d/pbxctl
    zsh:   pbxctl completion zsh > "${fpath[1]}/_pbxctl"
    fish:  pbxctl completion fish > ~/.config/fish/completions/pbxctl.fish
    """
    from pbxctl.commands.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise CommandError(f"no completion is known for {shell}")
    script = kind(cli, {}, "pbxctl", VARIABLE).source()
    if here.out.json:
        here.out.value({"shell": shell, "script": script})
    else:
        click.echo(script)
