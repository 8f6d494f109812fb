"""Hidden tokens are not read at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from omnimask.corruptors.base import joint_targets, joint_visible, joint_weight, level_of
from omnimask.interfaces import NOTHING, Context, Masking, Sample, View
from omnimask.streams import sequence, stack, targets


class Drop:
    """The encoder reads visible tokens only; a decoder is asked at the places of the hidden ones (MAE [0]).

    The context holds the visible tokens in order. The query holds one sequence per modality, with a slot that shows nothing but its
    position for every token that must be answered. Hidden tokens that nobody asks for appear nowhere.

    [0] He et al.: Masked Autoencoders Are Scalable Vision Learners, 2021.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "query"
    specials: tuple[str, ...] = ()
    num_answers = 0

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        is_target, weight = joint_targets(sample, masking), joint_weight(sample, masking)
        level = level_of(masking)
        context = sequence(sample, np.flatnonzero(joint_visible(sample, masking)), level=level)
        queries = []
        for name, tokens in sample.tokens.items():
            start = sample.start[name]
            asked = start + np.flatnonzero(is_target[start : start + len(tokens)])
            table = targets(np.arange(len(asked)), asked, weight=weight[asked])
            queries.append(sequence(sample, asked, literal=np.full(len(asked), NOTHING), targets=table, level=level))
        return View(context, stack(queries))
