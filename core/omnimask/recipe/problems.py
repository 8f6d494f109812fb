"""Collects everything that is wrong with a recipe, so that one run shows all of it."""

from __future__ import annotations

from omnimask.errors import UserError
from omnimask.recipe.document import Document, KeyPath, Place, dotted


class Problems:
    """What is wrong, with its place; :meth:`check` raises it in the order of the lines."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, str]] = []
        self._to_give: dict[tuple[Place, str], str] = {}

    def add(self, document: Document, path: KeyPath, message: str) -> None:
        """A problem with the value at ``path``."""
        self.at(document.place(path), f"{dotted(path)}: {message}" if path else message)

    def missing(self, document: Document, path: KeyPath, description: str, *, example: str = "") -> None:
        """A value at ``path`` that must be given.

        Args:
            document: the recipe.
            path: of the value.
            description: says what it is.
            example: stands for the value in the command that :meth:`check` shows. Empty: it is not shown there.
        """
        about = f": {description.removesuffix('.')}" if description else ""
        message = f"{dotted(path)} is required{about}"
        self.at(document.place(path), message)
        if example:
            self._to_give[document.place(path), message] = f"{dotted(path)}={example}"

    def at(self, place: Place, message: str) -> None:
        if (place, message) not in self._found:
            self._found.append((place, message))

    def __len__(self) -> int:
        return len(self._found)

    def messages(self) -> list[str]:
        """What was found, without the places."""
        return [message for _, message in self._found]

    def check(self, recipe: str = "") -> None:
        """Raise what was found.

        Args:
            recipe: as the command line names it. The last message about a missing value shows the command that gives all of them.

        Raises:
            UserError: anything was found; one message for each problem.
        """
        if self._found:
            found = sorted(self._found, key=lambda item: (item[0].order, item[0].line or 0, item[0].column or 0))
            told = [item for item in found if item in self._to_give]
            changes = " ".join(self._to_give[item] for item in told)
            command = f"; for example: omnimask pretrain {recipe} {changes}" if recipe else ""
            raise UserError(*(f"{item[0]}: {item[1]}{command if item in told[-1:] else ''}" for item in found))
