"""A named component with its options, before it is built. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask.interfaces import Context

T = TypeVar("T")

_MODULES = ("embedding", "encoder", "position")
"""Kinds of components called as modules. Every call is checked against their interface."""


@dataclass(frozen=True)
class Component(Generic[T]):
    """A recipe's entry for one component. Calling it with a context builds the component.

    Annotate a constructor option for a nested component as ``Component[Protocol]`` (``Component[Position]``). The recipe gives it
    as ``{name: sincos, temperature: 10000}``, and the parent calls it with the context for the part.

    Args:
        kind: one of ``omnimask.registry.KINDS``: ``masker``, ``position``, ...
        name: the registered name.
        options: keyword arguments of the constructor; from a recipe they are validated and complete, including defaults.
        where: place in the recipe, ``file:line: dotted.path``, for messages.
        cls: the class, if already loaded; otherwise it is looked up in the registry when the component is built.
    """

    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    where: str | None = field(default=None, compare=False)
    cls: type[T] | None = field(default=None, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def load(self) -> type[T]:
        """Return the component's class.

        Raises:
            UserError: no component of this name is installed, or it cannot be imported.
        """
        if self.cls is not None:
            return self.cls
        from omnimask.registry import discover

        return discover().load(self.kind, self.name)

    def __call__(self, context: Context) -> T:
        """Build the component for ``context``.

        Raises:
            UserError: the constructor refused its options (any ``ValueError``), cannot read its files, or exceeds the range of
                numbers or the memory; the message begins with the place in the recipe.
        """
        cls: Any = self.load()
        try:
            made = cls(context, **self.options)
        except UserError:
            raise
        except (ValueError, OSError) as error:
            raise UserError(f"{self._place}: {error}") from error
        except (ArithmeticError, MemoryError) as error:
            raise UserError(f"{self._place}: options out of range: {error or type(error).__name__}") from error
        if self.kind in _MODULES:
            from omnimask.network.border import watch

            watch(made, self.kind, origin(self), context.width)
        return made

    @property
    def _place(self) -> str:
        return self.where or f"{self.kind} {self.name}"


def origin(component: Component[Any] | None) -> str:
    """Describe a component and its distribution for messages: ``masker 'waves.period' of omnimask-waves 0.1.0``."""
    if component is None:
        return "the component"
    from omnimask.registry import discover

    about = f"{component.kind.replace('_', ' ')} {component.name!r}"
    try:
        plugin = discover().entry(component.kind, component.name).plugin
    except UserError:  # a class given directly
        return about if component.cls is None else f"{about} ({component.cls.__module__}.{component.cls.__qualname__})"
    return f"{about} of {plugin.distribution} {plugin.version}"


def kind_of(annotation: Any) -> str:
    """Return the kind of a ``Component[Protocol]`` annotation: the protocol's name in lower case with underscores.

    Raises:
        TypeError: the annotation doesn't name a protocol.
    """
    arguments = get_args(annotation)
    if len(arguments) != 1 or not isinstance(arguments[0], type):
        raise TypeError("annotate nested components with their interface: Component[Position]")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", arguments[0].__name__).lower()


def named(kind: str, name: str, /, **options: Any) -> Component[Any]:
    """Return a component by kind and name, as a constructor's default or without a recipe: ``named("position", "sincos")``."""
    return Component(kind, name, options)
