"""Networks and passes: teachers, shared embeddings, inputs, replacements, and what is refused."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.components.encoders.average import Average
from omnimask.components.replacers.base import with_ids
from omnimask.components.targets.features import contrast_within
from omnimask.data.planner import Cursor
from omnimask.errors import UserError
from omnimask.interfaces import MaskedBatch, Run
from omnimask.network.network import CorrectedEmbedding, Network
from omnimask.recipe import load_recipe
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer

sys.path.insert(0, str(Path(__file__).parents[2]))
from toys.conftest import RECIPES, toy_registry

REGISTRY = toy_registry()


def made(name: str, *changes: str) -> Built:
    return build(load_recipe(RECIPES / f"{name}.yaml", changes, registry=REGISTRY))


def refused(name: str, *changes: str) -> str:
    with pytest.raises(UserError) as error:
        made(name, *changes)
    return "\n".join(error.value.messages)


def a_batch(built: Built) -> MaskedBatch:
    batch = built.pipeline(built.planner().step(0, Cursor()).places).batch
    assert batch is not None
    return batch


def trainer(built: Built, folder: Path, after: Callable[[Built, int], None] | None = None) -> Trainer:
    data = TrainingData(lambda cursor, number: built.loader(cursor, number), built.validation_batches)
    return Trainer(built.model, data, built.recipe.train, RunContext(RunDirectory(folder), torch.device("cpu"), 0, show=False))


def teacher(built: Built) -> Average:
    found = built.model.networks["teacher"]
    assert isinstance(found, Average)
    return found


# ---- averages


def test_a_teacher_is_the_average_of_all_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit that of a loop by hand, with the scheduled decay; it is in evaluation mode, and no optimizer moves it."""
    built = made("signal_latent", "train.steps=12", "train.checkpoint_every=6", "train.validate_every=12")
    network = teacher(built)
    weights: list[list[Tensor]] = []
    plain = Average.after_update

    def noted(self: Average, progress: float) -> None:
        weights.append([parameter.detach().clone() for parameter in built.model.networks["main"].parameters()])
        assert not self.training
        plain(self, progress)

    expected = [parameter.detach().clone() for parameter in built.model.networks["main"].parameters()]
    assert all(torch.equal(one, other) for one, other in zip(expected, network.parameters(), strict=True))
    monkeypatch.setattr(Average, "after_update", noted)
    trainer(built, tmp_path / "run").fit()
    assert len(weights) == 12
    for number, now in enumerate(weights):
        decay = 0.98 + min(1.0, number / 12 / 0.5) * 0.019
        expected = [torch.lerp(one, other, 1 - decay) for one, other in zip(expected, now, strict=True)]
    assert all(torch.equal(one, other) for one, other in zip(expected, network.parameters(), strict=True))
    assert not torch.equal(expected[-1], weights[-1][-1])


@pytest.mark.parametrize("name", ["signal_latent", "words_corrected", "pairs_stacked", "words_mirrored"])
def test_a_resumed_run_continues_bit_for_bit(name: str, tmp_path: Path) -> None:
    changes = (
        "train.schedule={name: constant}",
        "train.steps=6",
        "train.checkpoint_every=3",
        "train.validate_every=6",
        "train.keep_checkpoints=4",
    )
    whole = made(name, *changes)
    trainer(whole, tmp_path / "whole").fit()
    half = made(name, *changes)
    later = trainer(half, tmp_path / "half")
    later.restore(tmp_path / "whole" / "checkpoints" / "step-00000003")
    later.fit()
    left, right = whole.model.state_dict(), half.model.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_initial_weights_reach_the_teacher(tmp_path: Path) -> None:
    built = made("signal_latent")
    with torch.no_grad():
        for parameter in built.model.networks["main"].parameters():
            parameter.add_(1.0)
    built.model.settle()
    pairs = zip(teacher(built).parameters(), built.model.networks["main"].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    copied = copy.deepcopy(built.model)
    copied.after_update(0.0)  # follows the copy's own network
    assert torch.equal(next(copied.networks["teacher"].parameters()), next(built.model.networks["teacher"].parameters()))


def test_a_teacher_has_no_gradient_and_no_loss() -> None:
    built = made("signal_latent")
    output = built.model(a_batch(built))
    output.loss.backward()
    assert list(output.terms) == ["decoder"]
    assert all(parameter.grad is None for parameter in teacher(built).parameters())


def test_latent_targets_by_hand() -> None:
    """Mean of the last two MLP outputs, each normalized over the tokens of a sample, then over the width (data2vec 2.0)."""
    built = made("signal_latent")
    model, batch = built.model.eval(), a_batch(built)
    with torch.no_grad():
        for parameter in teacher(built).parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        results = model.predict(batch)
        stack = teacher(built).encoder.stack
        stream = batch.views["whole"].context
        inputs = teacher(built).embeddings["signal"](batch.store["signal"].data) + teacher(built).encoder.position(stream).added
        expected: list[Tensor] = []
        for first, size in zip(stream.layout.offsets.tolist(), stream.layout.lengths.tolist(), strict=False):
            one, outputs = inputs[first : first + size], []
            for block in stack.blocks:
                x = block.norm_attention(one)
                query, key, value = block.attention.qkv(x).unflatten(1, (3, block.attention.heads, -1)).permute(1, 2, 0, 3)
                mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
                one = one + block.attention.project(mixed)
                outputs.append(block.mlp(block.norm_mlp(one)))
                one = one + outputs[-1]
            parts = [torch.nn.functional.instance_norm(part.t()[None]).squeeze(0).t() for part in outputs[-2:]]
            expected.append(torch.nn.functional.layer_norm(sum(parts) / 2, parts[0].shape[1:]))
        (prediction,) = results["main"].predictions.values()
        target = model.predictors["decoder"].target("signal")
        answers = target.answers(prediction, Run(batch, results))
        torch.testing.assert_close(answers, torch.cat(expected)[prediction.targets.of], rtol=1e-4, atol=1e-4)
        loss = target.loss(prediction, answers)
        torch.testing.assert_close(loss, (prediction.head(prediction.features) - answers).square().mean(1))


def test_contrast_within_a_sequence_by_hand() -> None:
    torch.manual_seed(0)
    predicted, answers, sequence = torch.randn(9, 4), torch.randn(9, 4), torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2])
    found = contrast_within(predicted, answers, sequence, 0.5, largest=20)
    similar = torch.nn.functional.cosine_similarity(predicted[:, None], answers[None], dim=2) / 0.5
    expected = [-similar[row, row] + similar[row][sequence == sequence[row]].logsumexp(0) for row in range(len(predicted))]
    torch.testing.assert_close(found, torch.stack(expected))


# ---- shared embeddings


def test_a_generator_trains_the_table_of_the_main_network() -> None:
    built = made("words_corrected")
    main, generator = built.model.networks["main"], built.model.networks["generator"]
    assert generator.embeddings["words"] is main.embeddings["words"]
    assert generator.encoder.position is main.encoder.position and generator.encoder.norm is main.encoder.norm
    assert built.model.predictors["generated"].dense.weight.shape == (48, 32)
    names = [name for name, _ in built.model.named_parameters()]
    assert len(names) == len(set(names)) and not any(name.startswith("networks.generator.embeddings") for name in names)


def test_a_narrow_network_maps_the_shared_embeddings() -> None:
    change = "encoders.generator={name: bert, width: 32, depth: 1, heads: 4, embeddings: main}"
    predictors = "passes.0.predictors=[{name: mlm, label: generated, tied: false}]"
    network = made("words_corrected", change, predictors).model.networks["generator"]
    assert isinstance(network, Network) and network.adapt is not None
    assert network.adapt.weight.shape == (32, 48)


def test_a_disentangled_table_moves_by_its_own_loss_alone() -> None:
    """The sum of both tables is used, and the other network's gets no gradient from it."""
    change = "encoders.generator.embeddings={of: main, gradient: disentangled}"
    built = made("words_corrected", change, "passes.1.predictors=[]", "passes=[]", "predictors=[{name: mlm}]")
    built = made("words_corrected", change, "passes.1={name: unused, predictors: [mlm]}")
    model, batch = built.model, a_batch(built)
    own = model.networks["generator"].embeddings["words"]
    assert isinstance(own, CorrectedEmbedding)
    shared = model.networks["main"].embeddings["words"]
    with torch.no_grad():
        before = own(torch.arange(4))
        assert torch.equal(before, shared(torch.arange(4)))
        own.correction.weight[:4] += 1.0
        torch.testing.assert_close(own(torch.arange(4)), before + 1)
        torch.testing.assert_close(own.weight[:4], before + 1)
    loss = model.passes["generator"](batch, {}).predictions["generated"]
    target = model.predictors["generated"].target("words")
    run = Run(batch, {})
    target.loss(loss, target.answers(loss, run)).sum().backward()
    assert shared.weight.grad is None and own.correction.weight.grad is not None


# ---- replacements


def test_errors_show_true_ids_where_the_earlier_pass_was_right() -> None:
    built = made("words_corrected", "passes.1={name: main, replace: {name: errors, by: generator}}")
    model, batch = built.model.eval(), a_batch(built)
    with torch.no_grad():
        results = model.predict(batch)
    (generated,) = results["generator"].predictions.values()
    guessed = generated.head(generated.features).argmax(1)
    true = batch.store["words"].data[generated.targets.of]
    stream, shown = batch.views["main"].context, results["main"].encoded.stream.literal
    expected = stream.literal.clone()
    is_right = guessed == true
    assert bool(is_right.any()) and not bool(is_right.all())
    expected[generated.targets.at[:, 0][is_right]] = true[is_right]
    assert torch.equal(shown, expected)


def test_soft_ids_are_embedded_as_means() -> None:
    built = made("words_corrected")
    model, batch = built.model.eval(), a_batch(built)
    results = model.predict(batch)
    (generated,) = results["generator"].predictions.values()
    reads = model.passes["soft"].replace(batch.views["main"].context, Run(batch, results)).reads["words"]
    spec = built.specs["words"]
    probabilities = generated.head(generated.features)[:, : spec.vocabulary].softmax(1)
    at = generated.targets.at[:, 0]
    rows = torch.argsort(at)
    assert torch.equal(reads.literal_slots, at[rows])
    torch.testing.assert_close(reads.literals[:, : spec.vocabulary], probabilities[rows])
    table = model.networks["main"].embeddings["words"]
    torch.testing.assert_close(table.ids(reads.literals), probabilities[rows] @ table.weight[: spec.vocabulary])


def test_with_ids_changes_what_is_shown_and_nothing_else() -> None:
    built = made("words_corrected")
    stream = a_batch(built).views["main"].context
    reads = stream.reads["words"]
    changed = with_ids(stream, "words", torch.zeros_like(reads.literals))
    assert torch.equal(changed.source, stream.source) and changed.layout is stream.layout and changed.targets is stream.targets
    assert int(changed.literal[reads.literal_slots].abs().sum()) == 0


# ---- inputs


def test_input_is_the_sum_of_earlier_features_at_their_tokens() -> None:
    built = made("pairs_stacked")
    model, batch = built.model.eval(), a_batch(built)
    stream = batch.views["main"].context
    seen: list[Tensor] = []
    model.networks["main"].encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].data))
    with torch.no_grad():
        results = model.predict(batch)
    is_content = stream.literal == -1
    for name in ("words", "signal"):
        encoded = results[name].encoded
        features = dict(zip(encoded.stream.source.tolist(), encoded.features.data, strict=True))
        own = [slot for slot in torch.nonzero(is_content).flatten().tolist() if int(stream.source[slot]) in features]
        assert own
        expected = torch.stack([features[int(stream.source[slot])] for slot in own])
        torch.testing.assert_close(seen[0][own], expected)
    specials = model.networks["main"].embeddings
    for place, name in enumerate(built.specs):
        here = (stream.literal >= 0) & (stream.modality == place)
        torch.testing.assert_close(seen[0][here], specials[name].ids(stream.literal[here]))


def test_evaluation_runs_the_passes_below_the_backbone() -> None:
    built = made("pairs_stacked")
    assert [part.name for part in built.model.needed("main")] == ["words", "signal", "main"]
    assert [part.name for part in made("signal_latent", "backbone=teacher").model.needed("teacher")] == ["teacher"]


# ---- errors


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("signal_latent", "passes.0.encoder=teach", "unknown encoder 'teach' (did you mean 'teacher'?)"),
        ("signal_latent", "encoders.teacher.follows=other", "network 'other' does not exist; earlier networks: main"),
        ("signal_latent", "predictors.0.target.of=techer", "earlier pass 'techer' does not exist; earlier passes: teacher"),
        ("signal_latent", "predictors.0.target.last=4", "pass teacher has layers 1 to 3; layer 0 does not exist"),
        ("signal_latent", "predictors.0.target={name: patch}", "nothing reads this pass"),
        ("signal_latent", "backbone=teach", "unknown pass 'teach'"),
        ("words_corrected", "passes.0.predictors=[]", "pass generator has 0 predictors"),
        ("words_corrected", "passes.1.predictors=[generated]", "this pass has width 48; write a predictor of its own"),
        ("words_corrected", "encoders.generator.embeddings=other", "unknown earlier network 'other'"),
        ("words_corrected", "encoders.main={name: bert, width: 8, depth: 1, heads: 1}", "the network main is the one of encoder:"),
        ("words_corrected", "passes.1.replace.by=main", "earlier pass 'main' does not exist; earlier passes: generator"),
        ("pairs_stacked", "passes.3.input=[words, later]", "unknown earlier pass 'later'"),
        ("pairs_stacked", "encoders.words.width=16", "takes embeddings of width 32"),
        ("pairs_stacked", "passes.1.nme=x", "unknown"),
    ],
)
def test_what_does_not_fit_is_named(name: str, change: str, message: str) -> None:
    assert message in refused(name, change)


def test_negatives_are_those_of_the_group() -> None:
    """InfoNCE by hand in each group, both directions; micro-batches of whole groups have the gradient of one."""
    built = made("words_mirrored")
    model, batch = built.model.eval(), a_batch(built)
    with torch.no_grad():
        output = model(batch)
        results = model.predict(batch)
        lengths = batch.views["main"].context.layout.lengths.tolist()
        features = [results[name].encoded.features.data.split(lengths) for name in ("main", "again")]
        means = [torch.stack([part.mean(0) for part in parts]) for parts in features]
        mine, theirs = (torch.nn.functional.normalize(part, dim=1) for part in means)
        total, group = 0.0, torch.from_numpy(batch.group)
        for number in group.unique():
            one, other = mine[group == number], theirs[group == number]
            similar, right = one @ other.t() / 0.2, torch.arange(len(one))
            total += 0.5 * float(
                torch.nn.functional.cross_entropy(similar, right, reduction="sum")
                + torch.nn.functional.cross_entropy(similar.t(), right, reduction="sum")
            )
    assert output.terms["contrast"].item() == pytest.approx(total / batch.num_samples, rel=1e-5)
