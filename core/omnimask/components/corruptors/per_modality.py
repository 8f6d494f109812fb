"""Combines corruptors of single modalities to one over a sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from omnimask.interfaces import Corruptor, Masking, Sample, View
from omnimask.streams import join_views, no_sequences


class PerModalityCorruptor:
    """A corruptor for each modality. Contexts become one sequence; queries stay separate.

    If any of the corruptors answers in a query stream, every view has one, empty if the sample lacks this modality.
    """

    def __init__(self, corruptors: Mapping[str, Corruptor]) -> None:
        self.corruptors = corruptors
        self.has_query = any(corruptor.answers_in == "query" for corruptor in corruptors.values())

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        parts = [(name, self.corruptors[name](sample.only(name), {name: masking[name]})) for name in sample.tokens]
        view = parts[0][1] if len(parts) == 1 else join_views(sample, parts)
        return dataclasses.replace(view, query=no_sequences()) if self.has_query and view.query is None else view
