"""Collection of all problems of a recipe, so that one run reports all of them."""

from __future__ import annotations

from omnimask.errors import UserError
from omnimask.recipe.document import Document, KeyPath, SourceLocation, dotted


class Problems:
    """Problems with their origins. :meth:`check` raises them in line order."""

    def __init__(self) -> None:
        self._found: list[tuple[SourceLocation, str]] = []
        self._to_give: dict[tuple[SourceLocation, str], str] = {}

    def add(self, document: Document, path: KeyPath, message: str) -> None:
        """Add a problem with the value at ``path``."""
        self.at(document.place(path), f"{dotted(path)}: {message}" if path else message)

    def missing(self, document: Document, path: KeyPath, description: str, *, example: str = "") -> None:
        """Add a missing required value at ``path``.

        Args:
            document: the recipe.
            path: of the value.
            description: of the value.
            example: placeholder for the value in the command of :meth:`check`. Empty values are omitted there.
        """
        about = f": {description.removesuffix('.')}" if description else ""
        message = f"{dotted(path)} is required{about}"
        self.at(document.place(path), message)
        if example:
            self._to_give[document.place(path), message] = f"{dotted(path)}={example}"

    def at(self, place: SourceLocation, message: str) -> None:
        if (place, message) not in self._found:
            self._found.append((place, message))

    def __len__(self) -> int:
        return len(self._found)

    def messages(self) -> list[str]:
        """Return the messages without their origins."""
        return [message for _, message in self._found]

    def check(self, recipe: str = "") -> None:
        """Raise all problems.

        Args:
            recipe: name on the command line. The last message about a missing value shows a command with all of them.

        Raises:
            UserError: with one message for each problem.
        """
        if self._found:
            found = sorted(self._found, key=lambda item: (item[0].order, item[0].line or 0, item[0].column or 0))
            told = [item for item in found if item in self._to_give]
            changes = " ".join(self._to_give[item] for item in told)
            command = f"; for example: omnimask pretrain {recipe} {changes}" if recipe else ""
            raise UserError(*(f"{item[0]}: {item[1]}{command if item in told[-1:] else ''}" for item in found))
