"""Features of another pass as targets. N targets, T slots, P store tokens, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from omnimask.components.targets.continuous import LossKind, errors_of
from omnimask.components.targets.cross_entropy import LARGEST
from omnimask.interfaces import Context, Encoded, LearnedVectors, Module, Prediction, Run
from omnimask.packed import index_tensor

Normalisation: TypeAlias = Literal["layer", "instance", "none"]
_REMEDY = (
    "Let the network of that pass follow the trained one more slowly (`decay` of `average` nearer to 1), lower the learning rate, "
    "or standardize the features over each sample (`norm: instance`)"
)


class Features(Module):
    """The features of the target's token in an earlier pass, without gradient: a latent target.

    By default they are the pass's last features, normalized per token (I-JEPA [0]). ``last: K`` is the mean of the last K blocks
    (data2vec [1, 2]): each block's output is normalized, the mean over blocks taken, and normalized again by ``final_norm``. With
    ``mlp`` a block's output is that of its MLP before the residual addition, as in data2vec. A token in several sequences of the
    pass has the mean of its features. ``cosine`` similarity of prediction and target is reported.

    Args:
        of: the earlier pass.
        last: number of blocks, counted from the last; None for the pass's features behind its last norm.
        mlp: whether blocks give the outputs of their MLPs.
        norm: of each block's output: ``layer`` over the width of a token, ``instance`` over the tokens of a sequence for every
            number of the width, or ``none``. Without learned weights.
        final_norm: of the mean.
        loss: ``mse``, ``l1`` or ``smooth_l1`` of the numbers of a target, ``cosine`` for 1 minus the cosine similarity, or
            ``contrast``: the target must be more similar to the prediction than the other targets of the same sequence (InfoNCE
            [3], in each sequence).
        temperature: of ``contrast``, divides the cosine similarities.
        beta: difference at which ``smooth_l1`` becomes linear.
        reduction: over the D numbers of a target: ``mean``, ``sum``, or ``root`` for the sum over the square root of D (data2vec on
            images).

    [0] Assran et al.: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture, 2023. [1] Baevski et
    al.: data2vec, 2022. [2] Baevski et al.: Efficient Self-supervised Learning with Contextualized Target Representations for
    Vision, Speech and Language, 2023. [3] van den Oord et al.: Representation Learning with Contrastive Predictive Coding, 2018.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"last": 2}

    def __init__(
        self,
        context: Context,
        *,
        of: str,
        last: Annotated[int, Field(gt=0)] | None = None,
        mlp: bool = False,
        norm: Normalisation = "layer",
        final_norm: Normalisation = "none",
        loss: LossKind | Literal["cosine", "contrast"] = "mse",
        beta: Annotated[float, Field(gt=0)] = 1.0,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        reduction: Literal["mean", "sum", "root"] = "mean",
    ) -> None:
        super().__init__()
        earlier = context.earlier(of)
        if mlp and last is None:
            raise ValueError("mlp: true reads the MLPs of the last blocks; set their number, last")
        self.blocks = () if last is None else tuple(range(earlier.depth - last + 1, earlier.depth + 1))
        self._source = earlier.name
        self._encoded = earlier.encoded(**{"mlps" if mlp else "layers": self.blocks})
        self.mlp, self.beta, self.num_outputs = mlp, beta, earlier.width
        self.norm: Normalisation = norm
        self.final_norm: Normalisation = final_norm
        self.kind: LossKind | Literal["cosine", "contrast"] = loss
        self.temperature = temperature
        self.reduction = reduction

    @torch.no_grad()
    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, D) float32."""
        encoded = self._encoded(run)
        parts = self._parts(encoded)
        mean = torch.zeros_like(parts[0], dtype=torch.float32)
        for part in parts:
            mean = mean + normalised(part.float(), self.norm, encoded) / len(parts)
        return encoded.to_store(normalised(mean, self.final_norm, encoded), run.batch.num_tokens)[prediction.targets.of]

    def _parts(self, encoded: Encoded) -> list[Tensor]:
        """Return the features (T, D) of each block."""
        taps = encoded.mlps if self.mlp else encoded.layers
        return [taps[number] for number in self.blocks] or [encoded.features.data]

    @torch.no_grad()
    def learned_vectors(self, prediction: Prediction, run: Run) -> LearnedVectors:
        """Return the mean of the blocks before ``norm`` and ``final_norm``, and the predictions."""
        encoded = self._encoded(run)
        mean = torch.stack([part.float() for part in self._parts(encoded)]).mean(0)
        answers = encoded.to_store(mean, run.batch.num_tokens)[prediction.targets.of]
        return LearnedVectors(self._source, answers, prediction.head(prediction.features), _REMEDY)

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        predicted = prediction.head(prediction.features).float()
        if self.kind == "cosine":
            return 1 - functional.cosine_similarity(predicted, answers, dim=1)
        if self.kind == "contrast":
            layout = prediction.stream.layout
            sequence = index_tensor(np.repeat(np.arange(layout.num_sequences), layout.lengths), predicted.device)
            return contrast_within(predicted, answers, sequence[prediction.targets.at[:, 0]], self.temperature)
        losses = errors_of(self.kind, predicted, answers, self.beta)
        return losses.sum(1) / {"mean": self.num_outputs, "sum": 1.0, "root": self.num_outputs**0.5}[self.reduction]

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: features cannot be rendered."""

    def scores(self, prediction: Prediction, answers: Tensor) -> Mapping[str, Tensor]:
        """Return ``cosine`` (N,), the similarity of prediction and target."""
        return {"cosine": functional.cosine_similarity(prediction.head(prediction.features).float(), answers, dim=1)}


def normalised(features: Tensor, kind: Normalisation, encoded: Encoded) -> Tensor:
    """Return features (T, D) of a stream's slots with mean 0 and variance 1, per slot or per sequence and number of the width."""
    if kind == "none":
        return features
    if kind == "layer":
        return functional.layer_norm(features, features.shape[1:])
    layout = encoded.stream.layout
    number, count = np.repeat(np.arange(layout.num_sequences), layout.lengths), np.maximum(layout.lengths, 1)
    of_slot = index_tensor(number, features.device)
    counts = torch.from_numpy(count).to(features.device, features.dtype)[:, None]

    def mean(values: Tensor) -> Tensor:
        total = values.new_zeros(layout.num_sequences, values.shape[1]).index_add(0, of_slot, values)
        return (total / counts)[of_slot]

    centred = features - mean(features)
    return centred / (mean(centred.square()) + 1e-5).sqrt()


def contrast_within(predicted: Tensor, answers: Tensor, sequence: Tensor, temperature: float, largest: int = LARGEST) -> Tensor:
    """Return (N,) cross-entropy of each row's own answer among the answers of its sequence, natural logarithm.

    Args:
        predicted, answers: (N, D), compared by cosine similarity.
        sequence: (N,) of each row.
        temperature: divides the similarities.
        largest: maximum number of similarities in memory; a chunk has at least one row.
    """
    keys = functional.normalize(answers, dim=1)
    queries = functional.normalize(predicted, dim=1)

    def of(part: Tensor, own: Tensor, right: Tensor) -> Tensor:
        logits = (part @ keys.t() / temperature).masked_fill(own[:, None] != sequence, -torch.inf)
        return functional.cross_entropy(logits, right, reduction="none")

    rows = max(1, largest // max(1, len(keys)))
    places = torch.arange(len(keys), device=keys.device)
    parts = zip(queries.split(rows), sequence.split(rows), places.split(rows), strict=True)
    return torch.cat([checkpoint(of, *part, use_reentrant=False) for part in parts])  # pyright: ignore[reportArgumentType]
