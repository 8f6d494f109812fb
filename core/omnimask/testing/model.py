"""Contract of models, for any encoder, predictor or recipe under test."""

from __future__ import annotations

import copy
import dataclasses
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from omnimask.builder.build import Built
from omnimask.data.planner import Place
from omnimask.interfaces import CONTENT, MaskedBatch, Packed, Prediction, Sample, View
from omnimask.network.embed import ModalityEmbedding
from omnimask.network.model import MaskedModel
from omnimask.testing.requirements import distance, disturb_global_randomness, gradient, require
from omnimask.testing.visibility import Reach, owner, reach

TOLERANCE = 1e-6
"""Relative tolerance, in float32 (epsilon 1.2e-7).

Sums over other numbers of rows are rounded in another order, which moves a result by a few epsilons. The framework's own components
reach 3.2e-7 in the worst case; a real dependence between samples moves it by 1e-3 or more.
"""


class ModelContract(ABC):
    """Contract of a model. Subclasses implement :meth:`built`, or use the contracts for encoders, predictors and recipes.

    Attributes:
        num_samples: samples of the test batch; at least 2.
        overfit_steps, overfit_factor, overfit_lr: the loss of one batch falls below ``factor`` times its first value within
            ``steps`` steps of AdamW.
        tolerance: relative difference allowed between packed and one by one.
        unused_parameters: names (or prefixes) of parameters allowed to have no gradient.
    """

    num_samples: ClassVar[int] = 8
    overfit_steps: ClassVar[int] = 60
    overfit_factor: ClassVar[float] = 0.8
    overfit_lr: ClassVar[float] = 3e-3
    tolerance: ClassVar[float] = TOLERANCE
    unused_parameters: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def built(self) -> Built:
        """Return a recipe's model and data (``omnimask.build(recipe)``), small: every test builds its own."""

    # ---- what the tests share

    def samples(self, built: Built) -> list[Sample]:
        """Return the first training samples, tokenized."""
        indices = built.train_indices[: self.num_samples].tolist()
        require(len(indices) >= 2, "the contract needs at least two training samples")
        samples, bad = built.pipeline.samples([Place(0, position, index, 0.0) for position, index in enumerate(indices)])
        require(not bad, f"training samples cannot be read: {[(one.key, one.reason) for one in bad]}")
        return samples

    def batch(self, built: Built) -> MaskedBatch:
        """Return one packed batch of all samples."""
        return built.pipeline.pack(self.samples(built))

    # ---- the tests

    def test_loss_and_gradients_are_finite(self) -> None:
        built = self.built()
        model, batch = built.model, self.batch(built)
        self._backward(model, batch)
        if self._without_gradient(model):  # a factor initialized to zero blocks gradients in the first batch only
            _nudge(model)
            model.zero_grad(set_to_none=True)
            self._backward(model, batch)
        for name in self._without_gradient(model):
            is_cut = model.get_parameter(name).grad is None
            raise AssertionError(
                f"parameter {name} got "
                f"{'no gradient' if is_cut else 'a zero gradient, even after all parameters changed'}; it is "
                "unused, or cut off by detach or no_grad (add it to unused_parameters if only streams missing in "
                "this recipe use it)"
            )

    def _backward(self, model: MaskedModel, batch: MaskedBatch) -> None:
        output = model(batch)
        require(bool(torch.isfinite(output.loss)), f"the loss of the first batch is {output.loss.item()}")
        output.loss.backward()
        for name, parameter in model.named_parameters():
            is_finite = parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
            require(is_finite, f"the gradient of {name} is not finite")

    def _without_gradient(self, model: MaskedModel) -> list[str]:
        some = [name for name, module in model.named_modules() if isinstance(module, ModalityEmbedding) and not module.tells_all]
        unused = (*self.unused_parameters, *some)  # the latter embed slots without content, which a stream may lack
        return [
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
            and not name.startswith(unused)
            and (parameter.grad is None or not bool(parameter.grad.any()))
        ]

    def test_packed_equals_one_by_one(self) -> None:
        built = self.built()
        model, samples = built.model.eval(), self.samples(built)
        batch = built.pipeline.pack(samples)
        singles = [built.pipeline.pack([sample]) for sample in samples]
        whole, each = predictions(model, batch), [predictions(model, single) for single in singles]
        for term, values in whole.items():
            joined = torch.cat([one[term] for one in each])
            difference = distance(values, joined)
            require(
                difference <= self.tolerance,
                f"term {term}: predictions of the packed batch differ from those of its samples one by one by {difference:.2e} "
                "(relative); samples influence each other: batch norm, or attention across the borders of sequences",
            )
        model.train()
        groups = [built.pipeline.pack(part) for part in _parts(samples, 1)]
        self._compare_steps(model, [batch], groups, "one by one")

    def test_micro_batches_give_the_same_gradient(self) -> None:
        built = self.built()
        samples = self.samples(built)
        batch = built.pipeline.pack(samples)
        for size in (len(samples) // 2, 1):
            split = [built.pipeline.pack(part) for part in _parts(samples, max(1, size))]
            self._compare_steps(built.model, [batch], split, f"micro-batches of {size}")

    def test_order_of_samples_does_not_matter(self) -> None:
        built = self.built()
        samples = self.samples(built)
        self._compare_steps(
            built.model, [built.pipeline.pack(samples)], [built.pipeline.pack(samples[::-1])], "samples in reverse order"
        )

    def _compare_steps(self, model: MaskedModel, left: Sequence[MaskedBatch], right: Sequence[MaskedBatch], how: str) -> None:
        """Compare loss and whole gradient of one optimizer step under two splits."""
        first, second = step(model, left), step(model, right)
        loss, slope = distance(first[0], second[0]), distance(first[1], second[1])
        require(loss <= self.tolerance, f"{how}: the loss differs by {loss:.2e} (relative)")
        require(
            slope <= self.tolerance,
            f"{how}: the gradient differs by {slope:.2e} (relative); a loss must be a sum with a divisor known to "
            "`counts`, and samples must be independent",
        )

    def test_hidden_content_is_not_read(self) -> None:
        """Check that predictions don't change with the content of tokens shown by no slot."""
        built = self.built()
        model, batch = built.model.eval(), self.batch(built)
        shown = shown_tokens(batch)
        unseen = np.setdiff1d(np.arange(batch.num_tokens), shown)
        if not len(unseen):
            return
        before, after = predictions(model, batch), predictions(model, changed(batch, unseen))
        for term, values in before.items():
            require(
                bool(torch.equal(values, after[term])),
                f"term {term}: predictions change with the content of tokens in no slot; something reads the store",
            )

    @torch.no_grad()
    def test_tokens_reach_only_slots_that_may_see_them(self) -> None:
        built = self.built()
        model, batch = built.model.eval(), self.batch(built)
        shown = shown_tokens(batch)
        chosen = shown[np.linspace(0, len(shown) - 1, num=min(6, len(shown))).astype(int)] if len(shown) else shown
        before, moved = model.predict(batch), False
        for token in chosen.tolist():
            after = model.predict(changed(batch, np.array([token])))
            for part in model.each():
                allowed = reach(batch.views[part.view], token).context
                features = [results[part.name].encoded.features.data for results in (before, after)]
                where = f"token {token}, pass {part.name}"
                self._same_outside(features[0], features[1], allowed, f"{where}: encoder features")
                for wired in part.wired(batch):
                    for term in wired.predictor.select(wired.view):
                        old, new = (results[part.name].predictions[term] for results in (before, after))
                        rows = _may_move(old, wired.view, reach(wired.view, token))
                        moved |= self._same_outside(_values(old), _values(new), rows, f"{where}: term {term}")
        require(moved, "predictions do not depend on any visible token; does the model read its input?")

    def _same_outside(self, before: Tensor, after: Tensor, may_move: np.ndarray, where: str) -> bool:
        """Check that rows outside ``may_move`` stay within the tolerance. Return whether any other row moved."""
        fixed = torch.from_numpy(~may_move)
        difference = float((before[fixed] - after[fixed]).abs().max()) if bool(fixed.any()) else 0.0
        scale = float(before.abs().max()) if before.numel() else 1.0
        require(
            difference <= self.tolerance * max(scale, 1e-12),
            f"{where}: a slot that must not see this token moves by {difference:.2e}; attention ignores rank, block or the borders "
            "of sequences",
        )
        return not torch.equal(before[~fixed], after[~fixed])

    def test_overfits_one_batch(self) -> None:
        built = self.built()
        model, batch = built.model.train(), self.batch(built)
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.overfit_lr, weight_decay=0.0)
        losses: list[float] = []
        for _ in range(self.overfit_steps):
            optimizer.zero_grad()
            loss = model(batch).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        require(
            min(losses[-3:]) <= self.overfit_factor * losses[0],
            f"the loss of one batch went from {losses[0]:.4f} to {losses[-1]:.4f} in {self.overfit_steps} steps, "
            f"but must fall below {self.overfit_factor} of its start; add positions, capacity or overfit_steps, "
            "or look for a cut gradient",
        )

    def test_state_dict_round_trip(self) -> None:
        built = self.built()
        model, batch = built.model.eval(), self.batch(built)
        other = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(0.1)
        before = predictions(model, batch)
        other.load_state_dict(stored(model.state_dict()), strict=True)
        after = predictions(other, batch)
        require(
            all(torch.equal(values, after[term]) for term, values in before.items()),
            "a model with a loaded state_dict gives other predictions; keep all learned state in parameters or buffers",
        )

    def test_torch_seeds_decide(self) -> None:
        """Check that a training step depends on the batch and torch's generators only, which the loop seeds."""
        built = self.built()
        model, batch, losses = built.model.train(), self.batch(built), []
        for number in range(2):
            disturb_global_randomness(number)
            torch.manual_seed(0)
            losses.append(model(batch).loss.item())
        require(
            losses[0] == losses[1],
            f"the same batch under the same torch seed gave the losses {losses[0]:.6f} and {losses[1]:.6f}; draw random numbers "
            "from torch's generators or from Stream.noise, not from NumPy's or Python's, and keep no state from step to step",
        )

    def test_half_precision_is_finite(self) -> None:
        """Check bfloat16 autocast, used by ``train.precision: bf16`` and, on most devices, ``auto``."""
        built = self.built()
        with torch.autocast("cpu", torch.bfloat16):
            output = built.model(self.batch(built))
        output.loss.backward()
        require(
            output.loss.dtype == torch.float32 and bool(torch.isfinite(output.loss)),
            f"under bfloat16 autocast the loss is {output.loss.item()} in {output.loss.dtype}; compute losses in float32: "
            "prediction.head(...).float()",
        )
        require(bool(torch.isfinite(gradient(built.model)).all()), "under bfloat16 autocast a gradient is not finite")

    def test_counts_need_no_forward(self) -> None:
        built = self.built()
        model, batch = built.model, self.batch(built)
        counts, output = model.counts(batch), model(batch)
        require(counts.keys() == output.terms.keys(), f"counts has {sorted(counts)}, but the loss has terms {sorted(output.terms)}")
        require(any(counts.values()), "the batch has no targets; check the masker")


@torch.no_grad()
def predictions(model: MaskedModel, batch: MaskedBatch, *, only_asked: bool = False) -> dict[str, Tensor]:
    """Return predictions (N, outputs) of every term of every pass."""
    results = model.predict(batch, only_asked=only_asked)
    return {
        f"{name}.{term}": _values(prediction) for name, result in results.items() for term, prediction in result.predictions.items()
    }


def _values(prediction: Prediction) -> Tensor:
    return prediction.head(prediction.features)


@torch.no_grad()
def _nudge(model: MaskedModel) -> None:
    """Perturb every parameter slightly, including zero-initialized ones."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def stored(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state_dict after saving and loading it as plain tensors, like a checkpoint."""
    file = io.BytesIO()
    try:
        torch.save(dict(state), file)
        file.seek(0)
        return torch.load(file, weights_only=True)
    except Exception as error:
        raise AssertionError(
            f"the state_dict cannot be stored as plain tensors ({type(error).__name__}: {error}); get_extra_state "
            "may only return tensors, numbers, strings, lists and dictionaries"
        ) from error


def step(model: MaskedModel, batches: Sequence[MaskedBatch]) -> tuple[Tensor, Tensor]:
    """Return loss and gradient of one optimizer step over micro-batches, as computed by the training loop."""
    total: dict[str, float] = {}
    for batch in batches:
        for term, count in model.counts(batch).items():
            total[term] = total.get(term, 0.0) + count
    model.zero_grad(set_to_none=True)
    loss = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        output = model(batch, total)
        output.loss.backward()
        loss += output.loss.detach().double()
    return loss, gradient(model)


def _parts(samples: Sequence[Sample], size: int) -> list[list[Sample]]:
    """Split samples into contiguous parts of at most ``size``. Larger groups are never split."""
    groups = [list(group) for _, group in groupby(samples, lambda sample: sample.draw.group or sample.draw.key)]
    found: list[list[Sample]] = [[]]
    for group in groups:
        if found[-1] and len(found[-1]) + len(group) > size:
            found.append([])
        found[-1] += group
    return found


def _may_move(prediction: Prediction, view: View, allowed: Reach) -> np.ndarray:
    """Return (N,) whether each row of a prediction may depend on a token; answers of sequences depend on all of their slots."""
    at = np.asarray(prediction.targets.at)[:, 0]
    reads_query = prediction.stream is not view.context and view.query is not None
    stream, may = (view.query, allowed.query) if reads_query else (view.context, allowed.context)
    assert stream is not None and may is not None
    if prediction.targets.arity:
        return may[at]
    sequences = np.zeros(stream.layout.num_sequences, bool)
    sequences[owner(stream.layout)[may]] = True
    return sequences[at]


def shown_tokens(batch: MaskedBatch) -> np.ndarray:
    """Return store indices of the tokens whose content is shown by any slot of any view."""
    found = []
    for view in batch.views.values():
        for stream in (view.context, view.query):
            if stream is not None:
                source = np.asarray(stream.source)
                found.append(source[(source >= 0) & (np.asarray(stream.literal) == CONTENT)])
    return np.unique(np.concatenate(found))


def changed(batch: MaskedBatch, tokens: np.ndarray) -> MaskedBatch:
    """Return the batch with other content at the store indices ``tokens``. The rest, including positions and fields, stays."""
    store: dict[str, Packed] = {}
    for name, packed in batch.store.items():
        rows = tokens[(tokens >= batch.base[name]) & (tokens < batch.base[name] + packed.layout.num_slots)] - batch.base[name]
        data, index = packed.data.clone(), torch.from_numpy(rows)
        data[index] = _other(data, index)
        store[name] = Packed(data, packed.layout)
    return dataclasses.replace(batch, store=store)


def _other(data: Tensor, index: Tensor) -> Tensor:
    """Return other legal content: another id that occurs, inverted bytes, or the numbers of the next different token."""
    if data.is_floating_point():
        return _next_different(data, index)
    if data.dtype == torch.uint8:
        return 255 - data[index]
    known = torch.unique(data)
    return known[(torch.searchsorted(known, data[index]) + 1) % max(len(known), 1)]


def _next_different(data: Tensor, index: Tensor) -> Tensor:
    """Return the content of the next different token, legal even if numbers have meanings. If all are alike, shift numbers."""
    found = data[index]
    is_open = torch.ones(len(index), dtype=torch.bool)
    for shift in range(1, len(data)):
        candidate = data[(index + shift) % len(data)]
        differs = is_open & (candidate != data[index]).flatten(1).any(1)
        found[differs] = candidate[differs]
        is_open &= ~differs
        if not bool(is_open.any()):
            break
    if bool(is_open.any()):
        found[is_open] += torch.linspace(1.0, 2.0, data[0].numel()).reshape(data.shape[1:])
    return found
