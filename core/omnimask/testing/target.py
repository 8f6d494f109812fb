"""Contract of targets."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.component import Component
from omnimask.components.predictors.base import rows
from omnimask.interfaces import FieldSpec, Prediction, Run, Target
from omnimask.testing.model import ModelContract
from omnimask.testing.requirements import require
from omnimask.testing.synthetic import synthetic_recipe


class TargetContract(ModelContract):
    """Contract of a target. Subclasses implement :meth:`target`; a linear head answers with it, for synthetic letters or vectors.

    Attributes:
        modality: ``letters`` (ids) or ``vectors`` (continuous content).
        is_exact: the loss of a target does not depend on the other targets of the batch.
        fields: token fields with synthetic values, for a target reading them.
    """

    modality: ClassVar[str] = "letters"
    is_exact: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, FieldSpec]] = {}

    @abstractmethod
    def target(self) -> Component[Any]:
        """Return the target: ``named("target", "my")``, or ``Component("target", "my", {...}, cls=MyTarget)``."""

    def built(self) -> Built:
        return build(synthetic_recipe(target=self.target(), modality=self.modality, fields=self.fields))

    def asked(self) -> Iterator[tuple[Target, Prediction, Run, Built]]:
        """Yield the target with its predictions in one batch."""
        built = self.built()
        model, batch = built.model.eval(), self.batch(built)
        results = model.predict(batch)
        for part in model.each():
            for prediction in results[part.name].predictions.values():
                for predictor in part.predictors.values():
                    yield predictor.target(prediction.modality), prediction, Run(batch, results), built

    def test_one_loss_for_each_target(self) -> None:
        for target, prediction, run, _ in self.asked():
            loss, number = target.loss(prediction, target.answers(prediction, run)), len(prediction.targets)
            require(
                tuple(loss.shape) == (number,),
                f"the loss must have shape ({number},), one number for each target, not {tuple(loss.shape)}; "
                "sums, weights and divisors belong to the predictor",
            )
            require(loss.dtype == torch.float32 and bool(torch.isfinite(loss).all()), "losses must be finite float32")

    def test_answers_are_not_trained(self) -> None:
        for target, prediction, run, _ in self.asked():
            answers = target.answers(prediction, run)
            require(
                len(answers) == len(prediction.targets), f"answers has {len(answers)} rows for {len(prediction.targets)} targets"
            )
            require(not answers.requires_grad, "answers require a gradient; detach them")

    def test_number_of_outputs(self) -> None:
        for target, prediction, _, _ in self.asked():
            outputs = prediction.head(prediction.features)
            require(isinstance(target.num_outputs, int) and target.num_outputs > 0, "num_outputs must be a positive integer")
            require(outputs.shape[1:] == (target.num_outputs,), f"the head returns shape {tuple(outputs.shape)}")

    def test_targets_are_independent(self) -> None:
        if not self.is_exact:
            return
        for target, prediction, run, _ in self.asked():
            whole = target.loss(prediction, target.answers(prediction, run))
            half = len(whole) // 2
            part = _cut(prediction, half)
            cut = target.loss(part, target.answers(part, run))
            require(
                torch.allclose(cut, whole[:half], rtol=1e-5, atol=1e-7),
                "the loss of a target depends on other targets; for a loss over the batch set is_exact = False, "
                "and exact=False for the term in the predictor",
            )

    def test_no_targets_are_no_error(self) -> None:
        for target, prediction, run, _ in self.asked():
            empty = _cut(prediction, 0)
            loss = target.loss(empty, target.answers(empty, run))
            require(tuple(loss.shape) == (0,), f"without targets the loss must have shape (0,), not {tuple(loss.shape)}")

    def test_content_can_be_looked_at(self) -> None:
        for target, prediction, run, built in self.asked():
            content = target.content(prediction, run)
            if content is not None:
                _check_content(content, len(prediction.targets), built.specs[prediction.modality].width)


def _cut(prediction: Prediction, count: int) -> Prediction:
    """Return the first targets of a prediction."""
    return dataclasses.replace(prediction, features=prediction.features[:count], targets=rows(prediction.targets, 0, count))


def _check_content(content: Tensor, number: int, width: tuple[int, ...] | None) -> None:
    expected = (number,) if width is None else (number, *width)
    require(
        tuple(content.shape) == expected,
        f"content must have shape {expected}, as in the tokenizer's spec, not {tuple(content.shape)}; return None "
        "if a prediction cannot be rendered",
    )
    require(width is not None or not content.is_floating_point(), "content of ids must be integers")
