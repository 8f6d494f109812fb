"""Prediction of several blocks from a context block around them."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.maskers.grid_places import axes_of, block_sides, check_range, grid_places, in_blocks, starts_inside
from omnimask.interfaces import Context, Draw, Masking, Tokens

Positive = Annotated[float, Field(gt=0)]
Part = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Axis = Annotated[int, Field(ge=0)]
_ATTEMPTS = 10


class MultiBlockMasker:
    """Several target blocks, and one large visible context block without them (I-JEPA [0], V-JEPA [1]).

    Works on tokens at integer positions with any number of axes. The grid is the bounding box of the sample's positions. Target
    blocks are drawn independently and may overlap; each is its own set in ``Masking.groups``. The context block is drawn like them,
    and its tokens are visible unless they are targets. Tokens outside of both are neither shown nor asked for.

    Blocks are never cut to the size of another sample, so a sample's masking depends on its own draw alone. Blocks lie inside the
    grid: along an axis of n places, a target of side s covers place i with probability min(i + 1, n - i, s, n - s + 1) / (n - s +
    1), which is symmetric, flat from s - 1 to n - s, and 1 along a full axis. (Reference implementations cut index lists to the
    shortest of a batch in raster order, which takes targets and context from the last rows or frames.)

    In very small samples, ten draws may all give an empty context or an empty target. The context is then the complement of the
    last draw's targets, and targets are removed, the last first, until the context is not empty.

    Args:
        num_targets: number of target blocks.
        scale: smallest and largest share of the grid's places in a target block, in (0, 1); uniform.
        aspect: smallest and largest side of a target along the first axis in units of the second; uniform. Only for blocks drawn
            along two axes. None: sides are as equal as the grid allows.
        context_scale: smallest and largest share of the grid's places in the context block, with sides in the grid's proportions; 1
            keeps all tokens visible except targets.
        full_axes: axes, counted from 0, along which all blocks extend from end to end.
        together: join all targets into one group (V-JEPA); otherwise each block is asked for separately (I-JEPA).

    I-JEPA: num_targets 4, scale (0.15, 0.2), aspect (0.75, 1.5), context_scale (0.85, 1.0). V-JEPA's short-range masks: num_targets
    8, scale (0.15, 0.15), aspect (0.75, 1.5), context_scale (1.0, 1.0), full_axes (0,), together; its long-range masks: 2 targets
    of scale (0.7, 0.7).

    [0] Assran et al.: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture, 2023. [1] Bardes et al.:
    Revisiting Feature Prediction for Learning Visual Representations from Video, 2024.
    """

    def __init__(
        self,
        context: Context,
        *,
        num_targets: Annotated[int, Field(gt=0, description="number of target blocks")] = 4,
        scale: Annotated[tuple[Part, Part], Field(description="minimum and maximum share of the grid in a target")] = (0.15, 0.2),
        aspect: Annotated[
            tuple[Positive, Positive] | None,
            Field(description="minimum and maximum aspect ratio of a target; none: square"),
        ] = None,
        context_scale: Annotated[
            tuple[Share, Share], Field(description="minimum and maximum share of the grid in the context block")
        ] = (0.85, 1.0),
        full_axes: Annotated[tuple[Axis, ...], Field(description="axes that blocks span completely")] = (),
        together: Annotated[bool, Field(description="join all targets into one group")] = False,
    ) -> None:
        self.num_targets, self.scale, self.aspect, self.context_scale = num_targets, scale, aspect, context_scale
        self.full_axes, self.together = full_axes, together
        check_range("scale", *scale)
        check_range("context_scale", *context_scale)
        if aspect is not None:
            check_range("aspect", *aspect)
        for axes in axes_of(context):
            self._free_axes(axes)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        places, box = grid_places(tokens)
        groups, is_visible = np.zeros((0, len(tokens)), bool), np.zeros(len(tokens), bool)
        for attempt in range(_ATTEMPTS if len(tokens) else 0):
            # (U + 1, L), the context block last.
            inside = np.ascontiguousarray(in_blocks(places, *self._blocks(box, draw.at("blocks", attempt))).T)
            groups, is_visible = inside[:-1], inside[-1] & ~inside[:-1].any(axis=0)
            if is_visible.any() and groups.any(axis=1).all():
                break
        else:
            groups = groups[groups.any(axis=1)]
            while len(groups) and groups.any(axis=0).all():
                groups = groups[:-1]
            is_visible = ~groups.any(axis=0)
        is_target = groups.any(axis=0)
        level = float(is_target.mean()) if len(tokens) else 0.0
        return Masking(is_visible, is_target, level=level, groups=None if self.together else groups)

    def _blocks(self, box: NDArray[np.int32], draw: Draw) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return (U + 1, A) starts and sides of the targets, followed by the context block."""
        free = self._free_axes(len(box))
        count = self.num_targets + 1
        uniform = draw.uniform((2 + len(box)) * count, "shape and place").reshape(count, 2 + len(box))
        low, high = (np.array([*[end] * self.num_targets, last]) for end, last in zip(self.scale, self.context_scale, strict=True))
        share = low + uniform[:, 0] * (high - low)
        sides = np.repeat(box[None], count, axis=0)
        aspect = None if self.aspect is None else self.aspect[0] + uniform[:-1, 1] * (self.aspect[1] - self.aspect[0])
        sides[:-1, free] = block_sides(share[:-1] * math.prod(box[free].tolist()), box[free], aspect)
        # The same factor along all free axes gives the share of the places.
        sides[-1, free] = np.maximum(np.rint(box[free] * share[-1] ** (1 / len(free))), 1)
        return starts_inside(uniform[:, 2:], box, sides), sides

    def _free_axes(self, axes: int) -> list[int]:
        """Return the axes along which blocks are drawn.

        Raises:
            ValueError: the options do not fit tokens with this number of axes.
        """
        free = [axis for axis in range(axes) if axis not in self.full_axes]
        if not free or any(axis >= axes for axis in self.full_axes):
            raise ValueError(
                f"full_axes {list(self.full_axes)} must contain some of the tokens' {axes} position axes (counted "
                "from 0), but not all"
            )
        if self.aspect is not None and len(free) != 2:
            raise ValueError(
                f"aspect needs two axes, but blocks are drawn along {len(free)}; remove it, or add the others to full_axes"
            )
        return free
