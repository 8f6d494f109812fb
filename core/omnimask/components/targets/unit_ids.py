"""Ids of whole units as a target, for maskers that number units of tokens. N targets, V outputs."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from omnimask.components.targets.cross_entropy import head_cross_entropy
from omnimask.components.targets.scores import score_ids
from omnimask.interfaces import Context, Module, Prediction, Run


class UnitIds(Module):
    """The id of a whole unit, by cross-entropy in float32 (the explicit n-grams of ERNIE-Gram [0]).

    Ids below the vocabulary are units of one token; ids from the vocabulary on are numbered units.

    It answers rows for whole units (``Targets.index`` below 0), so its predictor must ask for them: ``unit_mlm``.

    Args:
        num_units: number of outputs for units besides single tokens; at least as many as the masker numbers (for ``lexicon`` the
            sum of its ``sizes``, or the number of n-grams in its file). It is set in the recipe, so that the recipe alone
            determines the size of the model.

    [0] Xiao et al.: ERNIE-Gram: Pre-Training with Explicitly N-Gram Masked Language Modeling for Natural Language Understanding,
    2020.
    """

    smoke: ClassVar[Any] = {"num_units": 300}

    def __init__(
        self,
        context: Context,
        *,
        num_units: Annotated[int, Field(ge=0, description="units beside single tokens that the head can name")],
    ) -> None:
        super().__init__()
        (name,) = context.modalities
        vocabulary = context.specs[name].vocabulary
        if vocabulary is None:
            raise ValueError(f"target unit_ids needs units of ids, but the tokens of {name!r} are continuous")
        self.name, self.num_outputs = name, vocabulary + num_units

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N,) unit ids. Raise ``ValueError`` on CPU for rows of single tokens."""
        answers = prediction.targets.literal
        if answers.device.type == "cpu" and len(answers) and int(answers.min()) < 0:
            raise ValueError("target unit_ids applies to whole units, but its predictor predicts tokens; use unit_mlm, or ids")
        return answers

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        return head_cross_entropy(prediction.features, prediction.head, answers)

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: a unit isn't the content of one token."""

    def scores(self, prediction: Prediction, answers: Tensor) -> dict[str, Tensor]:
        return score_ids(prediction, answers, self.num_outputs)
