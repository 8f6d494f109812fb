"""The core's own components, registered through the same hook as everybody's. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimask.registry import Registrar
from omnimask.registry.hooks import hookimpl

if TYPE_CHECKING:
    from torch import nn

    from omnimask.registry.observers import Observer, RunInfo


@hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Maskers, corruptors, embeddings, positions, encoders, predictors, targets, optimisers, schedules, and the recipes."""
    _register_host(registry)
    _register_model(registry)
    _register_training(registry)
    folder = configs_folder()
    for modality in sorted(path for path in folder.iterdir() if path.is_dir()):
        registry.add_recipes(modality.name, modality)


@hookimpl
def omnimask_parameter_groups(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Weight decay where it belongs."""
    from omnimask.training.weight_decay import exempt

    exempt(model, groups)


@hookimpl
def omnimask_observers(run: RunInfo) -> Sequence[Observer]:
    """Progress on stderr, a warning where the run becomes slow, and events for TensorBoard."""
    from omnimask.training.slowdown import Slowdown

    observers: list[Observer] = [Slowdown(run)]
    if run.show:
        from omnimask.training.display import Display

        observers.append(Display(run))
    if run.config.tensorboard:
        from omnimask.training.tensorboard import TensorBoard

        observers.append(TensorBoard(run))
    return observers


def _register_host(registry: Registrar) -> None:
    registry.add_masker("random", "omnimask.maskers.random:RandomMasker")
    registry.add_masker("span", "omnimask.maskers.span:SpanMasker")
    registry.add_masker("block", "omnimask.maskers.block:BlockMasker")
    registry.add_masker("multi_block", "omnimask.maskers.multi_block:MultiBlockMasker")
    registry.add_masker("grid", "omnimask.maskers.grid:GridMasker")
    registry.add_masker("units", "omnimask.maskers.units:UnitMasker")
    registry.add_masker("ngram", "omnimask.maskers.ngram:NGramMasker")
    registry.add_masker("lexicon", "omnimask.maskers.lexicon:LexiconMasker")
    registry.add_masker("annotated", "omnimask.maskers.annotated:AnnotatedMasker")
    registry.add_masker("scored", "omnimask.maskers.scored:ScoredMasker")
    registry.add_masker("scheduled", "omnimask.maskers.scheduled:ScheduledMasker")
    registry.add_masker("choose", "omnimask.maskers.choose:ChooseMasker")
    registry.add_masker("none", "omnimask.maskers.none:NoMasker")
    registry.add_corruptor("drop", "omnimask.corruptors.drop:Drop")
    registry.add_corruptor("mask_token", "omnimask.corruptors.mask_token:MaskToken")
    registry.add_corruptor("bert", "omnimask.corruptors.bert:Bert")
    registry.add_corruptor("substitute", "omnimask.corruptors.substitute:Substitute")
    registry.add_corruptor("cluster_substitute", "omnimask.corruptors.cluster_substitute:ClusterSubstitute")
    registry.add_corruptor("swap", "omnimask.corruptors.swap:Swap")
    registry.add_corruptor("replace_units", "omnimask.corruptors.replace_units:ReplaceUnits")
    registry.add_corruptor("unit_token", "omnimask.corruptors.unit_token:UnitToken")
    registry.add_corruptor("sketch", "omnimask.corruptors.sketch:Sketch")
    registry.add_corruptor("scheduled", "omnimask.corruptors.scheduled:ScheduledCorruptor")
    registry.add_corruptor("by_kind", "omnimask.corruptors.by_kind:ByKind")
    registry.add_corruptor("keep", "omnimask.corruptors.keep:Keep")
    registry.add_corruptor("sentinel_spans", "omnimask.corruptors.sentinel_spans:SentinelSpans")


def _register_model(registry: Registrar) -> None:
    registry.add_embedding("linear", "omnimask.embeddings.linear:LinearEmbedding")
    registry.add_embedding("table", "omnimask.embeddings.table:TableEmbedding")
    registry.add_position("sincos", "omnimask.positions.sincos:SinCos")
    registry.add_position("learned", "omnimask.positions.learned:Learned")
    registry.add_position("rotary", "omnimask.positions.rotary:Rotary")
    registry.add_position("alibi", "omnimask.positions.alibi:Alibi")
    registry.add_position("none", "omnimask.positions.none:NoPosition")
    registry.add_encoder("transformer", "omnimask.encoders.transformer:TransformerEncoder")
    registry.add_encoder("bert", "omnimask.encoders.bert:BertEncoder")
    registry.add_encoder("modernbert", "omnimask.encoders.modernbert:ModernBertEncoder")
    registry.add_predictor("decoder", "omnimask.predictors.decoder:Decoder")
    registry.add_predictor("cross_decoder", "omnimask.predictors.cross_decoder:CrossDecoder")
    registry.add_predictor("in_place", "omnimask.predictors.in_place:InPlace")
    registry.add_predictor("mlm", "omnimask.predictors.mlm:MaskedLM")
    registry.add_predictor("deep_mlm", "omnimask.predictors.deep_mlm:DeepMLM")
    registry.add_predictor("unit_mlm", "omnimask.predictors.unit_mlm:UnitMLM")
    registry.add_predictor("unit_tokens", "omnimask.predictors.unit_tokens:UnitTokens")
    registry.add_predictor("bottleneck", "omnimask.predictors.bottleneck:Bottleneck")
    registry.add_predictor("bag_of_words", "omnimask.predictors.bag_of_words:BagOfWords")
    registry.add_predictor("matryoshka", "omnimask.predictors.matryoshka:Matryoshka")
    registry.add_predictor("sequence", "omnimask.predictors.sequence:SequenceHead")
    registry.add_predictor("preference", "omnimask.predictors.preference:Preference")
    registry.add_predictor("autoregressive", "omnimask.predictors.autoregressive:Autoregressive")
    registry.add_target("patch", "omnimask.targets.patch:Patch")
    registry.add_target("frequency", "omnimask.targets.frequency:Frequency")
    registry.add_target("ids", "omnimask.targets.ids:Ids")
    registry.add_target("smoothed", "omnimask.targets.smoothed:Smoothed")
    registry.add_target("label", "omnimask.targets.label:Label")
    registry.add_target("unit_ids", "omnimask.targets.unit_ids:UnitIds")
    registry.add_target("was_replaced", "omnimask.targets.was_replaced:WasReplaced")
    registry.add_initializer("exported", "omnimask.export.weights:FromExported")
    registry.add_exporter("safetensors", "omnimask.export.weights:Safetensors")


def _register_training(registry: Registrar) -> None:
    registry.add_optimizer("adamw", "omnimask.training.optimizers:AdamW")
    registry.add_optimizer("sgd", "omnimask.training.optimizers:SGD")
    registry.add_schedule("cosine", "omnimask.training.schedules:Cosine")
    registry.add_schedule("linear", "omnimask.training.schedules:Linear")
    registry.add_schedule("constant", "omnimask.training.schedules:Constant")
    registry.add_schedule("step", "omnimask.training.step_schedule:Step")
    registry.add_schedule("warmup_stable_decay", "omnimask.training.schedules:WarmupStableDecay")


def configs_folder() -> Path:
    """The folder that holds ``<modality>/<recipe>.yaml``.

    A checkout's own folder comes first: an editable install may hold a copy in the package that is out of date.

    Raises:
        FileNotFoundError: the installation holds no recipes.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "configs").is_dir():
        return checkout / "configs"
    if (package / "configs").is_dir():
        return package / "configs"
    raise FileNotFoundError(
        f"this installation of omnimask holds no recipes: neither {checkout / 'configs'} nor {package / 'configs'}"
    )
