"""Commands of plugins, listed without an import. The real commands replace their placeholders when called."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from inspect import cleandoc
from itertools import groupby
from typing import Any

import typer
import typer.core
import typer.main

from omnimask.errors import UserError
from omnimask.registry.commands import Command, ambiguous, find
from omnimask.registry.distributions import OWN
from omnimask.registry.references import indented, trace


def extra_commands(builtin: Collection[str]) -> Iterator[Placeholder]:
    """Yield the commands of installed plugins, except for names of built-in commands, which `plugins` reports."""
    for name, several in groupby(find(), key=lambda command: command.name):
        if name not in builtin:
            yield Placeholder(list(several))


def filled(text: str | None) -> str | None:
    """Return a help text with one line per paragraph, so that it wraps at the terminal's width instead of the source's."""
    if text is None:
        return None
    return "\n\n".join(part if _is_laid_out(part) else " ".join(part.split()) for part in cleandoc(text).split("\n\n"))


def _is_laid_out(paragraph: str) -> bool:
    """Return whether a paragraph is a list or an example, whose line breaks matter."""
    return any(line.startswith((" ", "- ", "* ", "$ ", "\b")) for line in paragraph.splitlines())


class Placeholder(typer.core.TyperCommand):
    """Placeholder of a command in the list. Calling it imports the plugin's function.

    Args:
        claims: the commands with this name; more than one is an error when it is called.
    """

    def __init__(self, claims: Sequence[Command]) -> None:
        first = claims[0]
        origin = " and ".join(f"{command.distribution} {command.version}" for command in claims)
        panel = None if {command.distribution for command in claims} == {OWN} else "Commands of plugins"
        help_text = first.summary() if len(claims) == 1 else ""
        super().__init__(name=first.name, help=help_text or f"Of {origin}.", rich_help_panel=panel)
        self.claims = claims

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Return the context of the real command, which then runs."""
        return self.loaded().make_context(*args, **options)

    def loaded(self) -> Any:
        """Return the real command.

        Raises:
            UserError: several distributions claim the name, or the function cannot be imported or converted to a command.
        """
        if len(self.claims) > 1:
            raise UserError(ambiguous(self.claims))
        (command,) = self.claims
        app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
        app.command(name=command.name)(command.load())
        try:
            real: Any = typer.main.get_command(app)
            real.help = filled(real.help)
            return real
        except Exception as error:
            reason = f"{type(error).__name__}: {error}\n{indented(trace(error))}"
            raise UserError(f"{command}: {command.reference} is not a valid command: {reason}") from error
