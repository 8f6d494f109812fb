"""Combines corruptors of single modalities to one over a sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from omnimask.columns import arranged, chained, corrupted, within
from omnimask.columns.calls import all_found
from omnimask.interfaces import Corruptor, Masking, MaskingColumns, Sample, SampleColumns, View
from omnimask.streams import join_views, no_sequences


class PerModalityCorruptor:
    """A corruptor for each modality. Contexts become one sequence; queries stay separate.

    If any of the corruptors answers in a query stream, every view has one, empty if the sample lacks this modality.
    """

    def __init__(self, corruptors: Mapping[str, Corruptor]) -> None:
        self.corruptors = corruptors
        self.has_query = any(corruptor.answers_in == "query" for corruptor in corruptors.values())

    @property
    def withholds_positions(self) -> bool:
        """Whether any of them shows content without its position."""
        return any(getattr(corruptor, "withholds_positions", False) for corruptor in self.corruptors.values())

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        parts = [(name, self.corruptors[name](sample.only(name), {name: masking[name]})) for name in sample.tokens]
        view = parts[0][1] if len(parts) == 1 else join_views(sample, parts)
        return dataclasses.replace(view, query=no_sequences()) if self.has_query and view.query is None else view

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View | None:
        """Corrupt all samples of a micro-batch at once."""
        names = [name for name in samples.tokens if len(samples.rows[name])]
        if not np.all(np.bincount(np.concatenate([samples.rows[name] for name in names]), minlength=samples.num_samples)):
            return None
        parts = {name: samples.only(name) for name in names}
        found = all_found({name: corrupted(self.corruptors[name], part, {name: maskings[name]}) for name, part in parts.items()})
        if found is None or any(view.fields for view in found.values()):
            return None
        views = {name: within(view, samples, name) for name, view in found.items()}
        rows = [samples.rows[name] for name in names]
        context = chained(arranged([view.context for view in views.values()], rows), samples.num_samples)
        queries = {name: view.query for name, view in views.items() if view.query is not None}
        if not queries:
            return View(context, no_sequences() if self.has_query else None)
        if not self.has_query and len(queries) < len(views):
            return None
        owners = [samples.rows[name][query.layout.parent] for name, query in queries.items()]
        return View(context, arranged(list(queries.values()), owners))
