"""Command line of ``omnimask``, one file per command. Imports no torch: a command imports its dependencies when it runs."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
import typer.main

from omnimask.cli.components import components
from omnimask.cli.doctor import doctor
from omnimask.cli.evaluate import evaluate
from omnimask.cli.export import export
from omnimask.cli.init import init
from omnimask.cli.inspect import inspect
from omnimask.cli.locale_text import escape_unprintable, readable, start_in_utf8
from omnimask.cli.new_plugin import new_plugin
from omnimask.cli.output import report
from omnimask.cli.plugin_commands import extra_commands, filled
from omnimask.cli.plugins import plugins
from omnimask.cli.pretrain import pretrain
from omnimask.cli.reconstruct import reconstruct
from omnimask.cli.resume import resume
from omnimask.cli.tokenize import tokenize
from omnimask.errors import BrokenContract, Interrupted, NothingToLearn, RunStopped, UserError
from omnimask.run.threads import wait_briefly
from omnimask.version import __version__

__all__ = ["entry", "main"]

DONE, STOPPED, WRONG_INPUT, BUG, TIME_IS_UP = 0, 1, 2, 70, 75
"""Exit codes, the last two from BSD's ``sysexits``. A command ended by a signal returns 128 + its number."""

_COMMANDS: Sequence[Callable[..., Any]] = (
    init,
    pretrain,
    resume,
    evaluate,
    reconstruct,
    export,
    inspect,
    tokenize,
    plugins,
    components,
    doctor,
    new_plugin,
)

app = typer.Typer(name="omnimask", add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
for _command in _COMMANDS:
    app.command()(_command)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"omnimask {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)] = False,
) -> None:
    """Pretrain masked models of any modality, from one recipe, in one training loop."""


def root() -> Any:
    """Return the command with all sub-commands, including those of plugins. Nothing of a plugin is imported."""
    group: Any = typer.main.get_command(app)
    for command in extra_commands(group.commands):
        group.add_command(command)
    for command in group.commands.values():
        command.help = filled(command.help)
    return group


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command in this process and return its exit code.

    0: done. 1: the run stopped for the reason in the message. 2: the input is invalid, found before anything was written, or a
    component broke its interface, or there was nothing to learn from the first step on. 70: a bug, with traceback. 75: the time of
    ``--max-time`` ended the run, after a checkpoint. 130, 143 and so on: a signal ended it, after a checkpoint.

    Args:
        argv: arguments after ``omnimask``; None: those of the process. Bytes outside the locale's encoding are read as UTF-8.
    """
    arguments = [readable(argument) for argument in (sys.argv[1:] if argv is None else argv)] or ["--help"]
    try:
        code = root().main(arguments, prog_name="omnimask", standalone_mode=False)
    except UserError as error:
        return report(WRONG_INPUT, *untold(error, *error.messages))
    except (BrokenContract, NothingToLearn) as error:
        return report(WRONG_INPUT, *untold(error, str(error)))
    except RunStopped as error:
        return report(STOPPED, *untold(error, str(error)))
    except Interrupted as error:
        code = TIME_IS_UP if error.signum is None else 128 + error.signum
        return report(code, *untold(error, f"{error}; a checkpoint was written"))
    except (KeyboardInterrupt, typer.Abort):
        return report(130, "interrupted")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else STOPPED
    except Exception as error:
        if (usage := _usage_message(error)) is not None:
            return report(WRONG_INPUT, usage)
        traceback.print_exc()
        return report(BUG, _bug(error))
    return code if isinstance(code, int) else DONE


def _bug(error: Exception) -> str:
    """Describe the origin of an unexpected error, as far as the traceback shows it."""
    from omnimask.registry import discover
    from omnimask.registry.blame import blamed

    try:
        plugin = blamed(error, discover())
    except Exception:  # a message about an error must not end with another
        plugin = None
    whose = "omnimask or of a plugin" if plugin is None else f"{plugin}, or of what it calls"
    return (
        f"{type(error).__name__}: this is a bug of {whose}, not an error in your input. Please report it with the "
        "lines above, the command and the output of `omnimask doctor`"
    )


def untold(error: Exception, *messages: str) -> Sequence[str]:
    """Return the messages, unless another rank shows them."""
    return () if getattr(error, "is_told", False) else messages


def entry() -> None:
    """Run the console script."""
    start_in_utf8()
    escape_unprintable()
    wait_briefly()
    from omnimask.run.launch import exit_reporter

    report_exit = exit_reporter()
    code = main()
    report_exit(code)
    sys.exit(code)


def _usage_message(error: Exception) -> str | None:
    """Return the message of the command line's parser; None for any other error.

    The parser's exception classes differ between versions of typer, so this tests for their methods.
    """
    describe = getattr(error, "format_message", None)
    if describe is None or not hasattr(error, "exit_code"):
        return None
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "omnimask")
    return f"{describe().rstrip('.')}; see {command} --help"
