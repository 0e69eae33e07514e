"""`pbxctl`: runs a command and turns whatever goes wrong into one line and an exit status."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn, cast

import click

from pbxctl.commands import failure, output
from pbxctl.commands.cli import cli
from pbxctl.commands.failure import CommandError


def main(arguments: list[str] | None = None) -> NoReturn:
    """The console script. ``arguments`` defaults to the process's own."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Runs one command; returns its exit status and prints any error. Raises nothing."""
    json = "--json" in arguments
    try:
        status = cli.main(arguments, prog_name="pbxctl", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  the last handler: nothing may reach an operator raw
        return report(error, json=json, arguments=arguments)
    return status if isinstance(status, int) else failure.OK


def report(error: BaseException, *, json: bool, arguments: list[str]) -> int:
    """Prints ``error`` as an operator should see it; returns the exit status."""
    error = telling(error)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else failure.ERROR
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return failure.USAGE
    if isinstance(error, click.UsageError):
        usage = error.ctx.get_usage() if error.ctx else ""
        output.error(
            error.format_message(), [usage] if usage and not json else [], json=json, facts={}
        )
        return failure.USAGE
    if isinstance(error, click.Abort | KeyboardInterrupt):
        output.error("interrupted", [], json=json, facts={"interrupted": True})
        return failure.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _silence_stdout()
        return 128 + signal.SIGPIPE
    known = explain(error)
    if known is None:
        known = _defect(error, arguments)
    output.error(known.message, known.details, json=json, facts=known.facts)
    return known.exit_code


def telling(error: BaseException) -> BaseException:
    """Of a group, what tells an operator most: Ctrl-C, else what can be explained, else the group.

    A nursery puts exceptions in groups, and a single one in a group of its own.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    found = [telling(each) for each in group.exceptions]
    if len(found) == 1:
        return found[0]
    stopped = [each for each in found if isinstance(each, KeyboardInterrupt)]
    known = [each for each in found if explain(each) is not None]
    defects = [each for each in found if each not in stopped and each not in known]
    if defects and not stopped:
        return group
    return (stopped or known)[0]


def explain(error: BaseException) -> CommandError | None:
    """What an operator can do something about; None for a defect of the program."""
    from pbxctl.admin_client import AdminError
    from pbxctl.engines.engine import EngineError
    from pbxctl.lock import LockedError
    from pbxctl.plan import PlanError
    from pbxctl.registry_client import RegistryError

    if isinstance(error, CommandError):
        return error
    if isinstance(error, click.ClickException):
        return CommandError(error.format_message())
    if isinstance(error, AdminError):
        return CommandError(str(error), details=error.problems)
    if isinstance(error, EngineError | RegistryError | LockedError | PlanError):
        return CommandError(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return CommandError(f"{error.filename}: {error.strerror}")
    return None


def _defect(error: BaseException, arguments: list[str]) -> CommandError:
    from pbxctl import __version__
    from pbxctl.commands.context import default_root

    what = f"{type(error).__name__}: {output.clean(str(error))[:200]}"
    now = datetime.datetime.now(datetime.UTC)
    text = "".join(traceback.format_exception(error))
    # Only the command's own words: values after them could be secrets.
    words = [word for word in arguments if word.isalpha() or word.startswith("--")]
    text = f"pbxctl {__version__} {now.isoformat()}\n{' '.join(words)}\n{text}"
    root = _state_dir(arguments) or default_root()
    for directory in (root / "defects", Path(tempfile.gettempdir())):
        path = directory / f"pbxctl-{now:%Y%m%dT%H%M%S.%f}-{os.getpid()}.txt"
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            return CommandError(
                f"a defect in pbxctl: {what}; please report it with the details in {path}",
                exit_code=failure.INTERNAL,
                facts={"details_file": str(path)},
            )
    return CommandError(f"a defect in pbxctl: {what}", exit_code=failure.INTERNAL)


def _state_dir(arguments: list[str]) -> Path | None:
    for i, word in enumerate(arguments):
        if word == "--state-dir" and i + 1 < len(arguments):
            return Path(arguments[i + 1])
        if word.startswith("--state-dir="):
            return Path(word.partition("=")[2])
    value = os.environ.get("PBX_STATE_DIR")
    return Path(value) if value else None


def _silence_stdout() -> None:
    """The reader has gone: nothing more may be written, not even by the interpreter's exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())


if __name__ == "__main__":
    main()
