"""Contract of position components."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.component import Component
from omnimask.errors import BrokenContract
from omnimask.interfaces import Context, FieldSpec, MaskedBatch, Placement, Position, Stream
from omnimask.testing.model import ModelContract, predictions
from omnimask.testing.requirements import distance, require
from omnimask.testing.synthetic import synthetic_recipe

WIDTH, HEADS = 16, 2


class PositionContract(ModelContract):
    """Contract of a position component. Subclasses implement :meth:`position`; a small transformer over synthetic letters uses it.

    Attributes:
        modality: ``letters`` (ids) or ``vectors`` (continuous content).
        is_used: whether predictions depend on positions at all.
        fields: token fields with synthetic values, for a position component reading them.
    """

    modality: ClassVar[str] = "letters"
    is_used: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, FieldSpec]] = {}

    @abstractmethod
    def position(self) -> Component[Any]:
        """Return the component.

        For example ``named("position", "my", scale=2.0)``, or ``Component("position", "my", {...}, cls=MyPosition)``.
        """

    def built(self) -> Built:
        return build(synthetic_recipe(position=self.position(), modality=self.modality, fields=self.fields))

    def alone(self, built: Built) -> Position:
        """Return the component alone, for a width of 16 and two heads."""
        context = Context(specs=built.specs, modalities=tuple(built.specs), width=WIDTH, num_heads=HEADS, head_width=WIDTH // HEADS)
        return self.position()(context)

    def test_placement_fits_the_stream(self) -> None:
        built = self.built()
        stream = self.batch(built).views["main"].context
        try:
            placement, slots = self.alone(built)(stream), stream.layout.num_slots
        except BrokenContract as breach:
            raise AssertionError(str(breach)) from breach
        require(isinstance(placement, Placement), f"a position must return a Placement, not {type(placement).__name__}")
        parts: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {"added": (placement.added, (slots, WIDTH))}
        if placement.rotation is not None:
            cosine, sine = placement.rotation
            parts |= {"rotation[0]": (cosine, (slots, WIDTH // HEADS)), "rotation[1]": (sine, (slots, WIDTH // HEADS))}
        if placement.bias is not None:
            rows = torch.arange(2)[None]
            parts["bias(queries, keys)"] = (placement.bias(rows, rows), (1, HEADS, 2, 2))
        for name, (value, shape) in parts.items():
            if value is not None:
                require(tuple(value.shape) == shape, f"{name} must have shape {shape}, not {tuple(value.shape)}")
                require(bool(torch.isfinite(value).all()), f"{name} is not finite")

    def test_positions_matter(self) -> None:
        built = self.built()
        batch = self.batch(built)
        moved = _with_context(batch, lambda stream: dataclasses.replace(stream, positions=stream.positions.flip(0)))
        same = _is_same(built, batch, moved)
        require(
            same != self.is_used,
            "predictions do not change with the positions; use stream.positions, or set is_used = False"
            if self.is_used
            else "predictions change with the positions, but is_used is False",
        )

    def test_slots_without_a_position_get_nothing(self) -> None:
        """Check that values of ``positions`` are ignored if ``has_position`` is False."""
        built = self.built()
        batch = self.batch(built)

        def hidden(fill: float) -> Callable[[Stream], Stream]:
            def change(stream: Stream) -> Stream:
                has = stream.has_position.clone()
                has[::3] = False
                return dataclasses.replace(stream, has_position=has, positions=torch.where(has[:, None], stream.positions, fill))

            return change

        require(
            _is_same(built, _with_context(batch, hidden(0.0)), _with_context(batch, hidden(3.0))),
            "predictions change with the positions of slots without one; use stream.has_position",
        )


def _with_context(batch: MaskedBatch, change: Callable[[Stream], Stream]) -> MaskedBatch:
    views = {name: dataclasses.replace(view, context=change(view.context)) for name, view in batch.views.items()}
    return dataclasses.replace(batch, views=views)


def _is_same(built: Built, left: MaskedBatch, right: MaskedBatch) -> bool:
    model = built.model.eval()
    before, after = predictions(model, left), predictions(model, right)
    return all(distance(values, after[term]) < 1e-6 for term, values in before.items())
