"""Fields of tokens that a recipe reads."""

from __future__ import annotations

from omnimask.errors import UserError
from omnimask.recipe import Recipe
from omnimask.recipe.components import components_of, texts_of
from omnimask.registry import discover

_READERS = frozenset(
    (
        "masker",
        "joint_masker",
        "corruptor",
        "embedding",
        "position",
        "encoder",
        "replacer",
        "predictor",
        "target",
        "initializer",
        "renderer",
    )
)
"""Kinds of components that see tokens."""


def fields_read(recipe: Recipe) -> frozenset[str] | None:
    """Return names that include all fields of tokens read by a recipe's components, besides ``special``. None: any field.

    The fields are known if all components promise to read only those that their options name, see
    :meth:`omnimask.registry.Registrar.reads_named_fields`.
    """
    names: set[str] = set()
    for component in components_of(recipe):
        if component.kind not in _READERS:
            continue
        try:
            if not discover().entry(component.kind, component.name).reads_named_fields:
                return None
        except UserError:  # a class given directly
            return None
        names |= set(texts_of(component.options))
    names |= {view.split for view in recipe.views.values() if view.split is not None}
    return frozenset(names | {f"{name}.class" for name in names})
