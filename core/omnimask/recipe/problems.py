"""Collects everything that is wrong with a recipe, so that one run shows all of it."""

from __future__ import annotations

from omnimask.errors import UserError
from omnimask.recipe.document import Document, KeyPath, Place, dotted


class Problems:
    """What is wrong, with its place; :meth:`check` raises it in the order of the lines."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, str]] = []

    def add(self, document: Document, path: KeyPath, message: str) -> None:
        """A problem with the value at ``path``."""
        self.at(document.place(path), f"{dotted(path)}: {message}" if path else message)

    def missing(self, document: Document, path: KeyPath, description: str) -> None:
        """A value at ``path`` that must be given; ``description`` says what it is."""
        about = f": {description}" if description else ""
        self.at(document.place(path), f"{dotted(path)} is required{about}")

    def at(self, place: Place, message: str) -> None:
        if (place, message) not in self._found:
            self._found.append((place, message))

    def __len__(self) -> int:
        return len(self._found)

    def messages(self) -> list[str]:
        """What was found, without the places."""
        return [message for _, message in self._found]

    def check(self) -> None:
        """Raise what was found.

        Raises:
            UserError: anything was found; one message for each problem.
        """
        if self._found:
            found = sorted(self._found, key=lambda item: (item[0].order, item[0].line or 0, item[0].column or 0))
            raise UserError(*(f"{place}: {message}" for place, message in found))
