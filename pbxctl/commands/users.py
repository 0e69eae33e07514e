"""`pbxctl users`: the users that the spec does not own."""

from __future__ import annotations

import click

from pbxctl.commands.users_change import add, password, pin, remove
from pbxctl.commands.users_csv import export_users, import_users
from pbxctl.commands.users_list import list_users


@click.group("users")
def command() -> None:
    """Import, export, add and remove users; set their passwords.

    Users that the spec lists belong to the spec: change them there, then apply.
    """


for each in (list_users, add, password, pin, remove, import_users, export_users):
    command.add_command(each)
