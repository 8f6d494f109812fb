"""Views of a whole micro-batch: its samples are masked and corrupted all at once where components can, else one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from omnimask.columns import corrupted_each, has_whole_batch, masked_samples, repeated
from omnimask.data.border import check_whole_view
from omnimask.data.checked_masker import fault_of
from omnimask.data.view_plan import ViewPlan
from omnimask.data.view_sequences import joined_repetitions, of_repeated_samples
from omnimask.interfaces import Draws, MaskingColumns, SampleColumns, Stream, TokenSpec, View, WholeBatchCorruptor

Maskings = Mapping[str, MaskingColumns]


def whole_views(
    plans: Mapping[str, ViewPlan], samples: SampleColumns, specs: Mapping[str, TokenSpec]
) -> dict[str, View | Sequence[View]]:
    """Return each view of the samples: one in batch coordinates, or one for each sample.

    A masker runs once for each drawing, over all repetitions of all samples.

    Raises:
        WholeBatchFault: a component failed.
    """
    # Kept by the copies of other stages.
    _ = samples.owner, samples.modality, samples.positions
    most: dict[tuple[int, str | None], int] = {}
    for plan in plans.values():
        most[plan.drawing] = max(plan.repeat, most.get(plan.drawing, 1))
    drawn: dict[tuple[tuple[str, ...], int], SampleColumns] = {}
    maskings: dict[tuple[int, str | None], Maskings | None] = {}

    def repetitions(plan: ViewPlan, times: int) -> SampleColumns:
        key = plan.stage, times
        if key not in drawn:
            drawn[key] = repeated(samples.at(*plan.stage), times, "repeat")
            _ = drawn[key].owner, drawn[key].modality, drawn[key].positions
        return drawn[key]

    views: dict[str, View | Sequence[View]] = {}
    for name, plan in plans.items():
        times = most[plan.drawing]
        if plan.drawing not in maskings:
            maskings[plan.drawing] = masked_samples(plan.masker, repetitions(plan, times).at("masker"))
        own = maskings[plan.drawing]
        if own is None:
            views[name] = [plan(sample) for sample in samples.samples]
        else:
            views[name] = _view(plan, samples, repetitions(plan, plan.repeat), _first(own, times, plan.repeat), specs)
    return views


def _first(maskings: Maskings, times: int, repeat: int) -> Maskings:
    """Return the maskings of the first ``repeat`` of every sample's ``times`` repetitions."""
    if repeat == times:
        return maskings
    return {
        name: masking.take(np.arange(len(masking.lengths)).reshape(-1, times)[:, :repeat].reshape(-1))
        for name, masking in maskings.items()
    }


def _view(
    plan: ViewPlan, samples: SampleColumns, repetitions: SampleColumns, maskings: Maskings, specs: Mapping[str, TokenSpec]
) -> View | Sequence[View]:
    """Return a view of the samples from their repetitions, which have the plan's draws, and the maskings of these."""
    if has_whole_batch(plan.corruptor, WholeBatchCorruptor):
        with fault_of(plan.origin):
            view = plan.corruptor.corrupt_batch(repetitions.at("corruptor"), maskings)
            if view is not None:
                view = _with_noise(plan, check_whole_view(view, repetitions, specs), repetitions.draws)
                return of_repeated_samples(plan.changed(view, repetitions, maskings), samples, plan.repeat, plan.origin)
    each = corrupted_each(plan.drawn, repetitions, maskings)
    return [joined_repetitions(each[i : i + plan.repeat], plan.origin) for i in range(0, len(each), plan.repeat)]


def _with_noise(plan: ViewPlan, view: View, draws: Draws) -> View:
    if not plan.noise:
        return view
    query = None if view.query is None else _noisy(view.query, draws.at("noise", "query"))
    return dataclasses.replace(view, context=_noisy(view.context, draws.at("noise", "context")), query=query)


def _noisy(stream: Stream, draws: Draws) -> Stream:
    """Give every slot the uniform number that it has in its sample's own stream."""
    counts = np.bincount(stream.layout.parent, weights=stream.layout.lengths, minlength=len(draws)).astype(np.int64)
    return dataclasses.replace(stream, noise=draws.uniform(counts))
