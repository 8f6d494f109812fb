"""Views of a whole micro-batch: its samples are masked and corrupted all at once where components can, else one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from omnimask.columns import corrupted_each, has_whole_batch, masked_samples
from omnimask.data.border import check_whole_view
from omnimask.data.checked_masker import fault_of
from omnimask.data.view_plan import ViewPlan
from omnimask.interfaces import SPECIAL, Draws, MaskingColumns, SampleColumns, Stream, TokenSpec, View, WholeBatchCorruptor


def whole_views(
    plans: Mapping[str, ViewPlan], samples: SampleColumns, specs: Mapping[str, TokenSpec]
) -> dict[str, View | Sequence[View]]:
    """Return each view of the samples: one in batch coordinates, or one for each sample. A masker runs once for each drawing.

    Raises:
        WholeBatchFault: a component failed.
    """
    # Kept by the copies of other stages.
    _ = samples.owner, samples.modality, samples.positions
    maskings: dict[tuple[int, str | None], Mapping[str, MaskingColumns] | None] = {}
    views: dict[str, View | Sequence[View]] = {}
    for name, plan in plans.items():
        if plan.drawing not in maskings:
            maskings[plan.drawing] = masked_samples(plan.masker, samples.at(*plan.stage, "masker"))
        own = maskings[plan.drawing]
        views[name] = [plan(sample) for sample in samples.samples] if own is None else _view(plan, samples, own, specs)
    return views


def _view(
    plan: ViewPlan, samples: SampleColumns, maskings: Mapping[str, MaskingColumns], specs: Mapping[str, TokenSpec]
) -> View | Sequence[View]:
    draws = samples.at(*plan.stage)
    if has_whole_batch(plan.corruptor, WholeBatchCorruptor):
        with fault_of(plan.origin):
            view = plan.corruptor.corrupt_batch(draws.at("corruptor"), maskings)
            if view is not None:
                view = check_whole_view(view, samples, specs)
                return dataclasses.replace(_with_noise(plan, view, draws.draws), hidden=_hidden(samples, maskings))
    # The plan corrupts in its own stage, so the samples keep theirs.
    return corrupted_each(plan, samples, maskings)


def _with_noise(plan: ViewPlan, view: View, draws: Draws) -> View:
    if not plan.noise:
        return view
    query = None if view.query is None else _noisy(view.query, draws.at("noise", "query"))
    return dataclasses.replace(view, context=_noisy(view.context, draws.at("noise", "context")), query=query)


def _noisy(stream: Stream, draws: Draws) -> Stream:
    """Give every slot the uniform number that it has in its sample's own stream."""
    counts = np.bincount(stream.layout.parent, weights=stream.layout.lengths, minlength=len(draws)).astype(np.int64)
    return dataclasses.replace(stream, noise=draws.uniform(counts))


def _hidden(samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> dict[str, tuple[int, int]]:
    """Return the numbers of hidden tokens and of maskable tokens, by modality."""
    counts: dict[str, tuple[int, int]] = {}
    for name, tokens in samples.tokens.items():
        special = tokens.fields.get(SPECIAL)
        candidates = tokens.num_tokens - (0 if special is None else int(np.count_nonzero(special)))
        counts[name] = tokens.num_tokens - int(np.count_nonzero(maskings[name].is_visible)), candidates
    return counts
