"""The command tree. A command's module is imported when it is called, so that all start fast."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS = {
    "init": "write a starter spec to edit",
    "validate": "check a spec and say all that is wrong",
    "compile": "write what a spec compiles to, for people to read",
    "host-config": "write what a host needs before the first apply",
    "plan": "show what apply would change",
    "apply": "make the spec true, and wait until it is",
    "status": "servers, their checks and load",
    "server": "take a server out of service and back",
    "failover": "hand the VIP over to another Call Manager",
    "calls": "calls that are up",
    "registrations": "phones that are registered",
    "trunks": "trunks, and whether they are registered and answer",
    "alerts": "what failed and who was mailed; a test mail",
    "logs": "what a task wrote",
    "users": "import, export, add, remove users; set passwords",
    "prompts": "what is recorded by phone; back to the spec's",
    "ivr": "walk through a menu in the terminal",
    "probe": "be a phone: register, call, compare the audio",
    "destroy": "stop all of it and remove what it wrote",
    "schema": "print the JSON Schema of the spec",
    "version": "print the version",
    "completion": "print a shell's completion script",
}


class Tree(click.Group):
    """A group whose commands are the modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """In the order an operator meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """The command of that name, its module imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pbxctl.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest known word where there is no such command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"no command is named {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    cls=Tree,
    context_settings=SETTINGS,
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage (or changes, plan --detailed-exitcode), "
    "70 defect of the program, 130 interrupted.",
)
def cli() -> None:
    """A clustered PBX from one YAML file."""
