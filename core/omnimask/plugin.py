"""The core's own components, registered through the same hook as any plugin's. Imports no torch."""

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
    """Register maskers, corruptors, embeddings, positions, encoders, predictors, targets, optimizers, schedules and recipes."""
    registry.reads_named_fields()
    _register_host(registry)
    _register_model(registry)
    _register_training(registry)
    folder = configs_folder()
    for modality in sorted(path for path in folder.iterdir() if path.is_dir()):
        registry.add_recipes(modality.name, modality)


@hookimpl
def omnimask_parameter_groups(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Exempt parameters from weight decay where appropriate."""
    from omnimask.training.optim.weight_decay import exempt

    exempt(model, groups)


@hookimpl
def omnimask_observers(run: RunInfo) -> Sequence[Observer]:
    """Create the observers for progress on stderr, a warning on slowdowns, and TensorBoard events."""
    from omnimask.training.monitoring.slowdown import Slowdown

    observers: list[Observer] = [Slowdown(run)]
    if run.show:
        from omnimask.training.monitoring.display import Display

        observers.append(Display(run))
    if run.config.tensorboard:
        from omnimask.training.monitoring.tensorboard import TensorBoard

        observers.append(TensorBoard(run))
    return observers


def _register_host(registry: Registrar) -> None:
    registry.add_masker("random", "omnimask.components.maskers.random:RandomMasker")
    registry.add_masker("span", "omnimask.components.maskers.span:SpanMasker")
    registry.add_masker("block", "omnimask.components.maskers.block:BlockMasker")
    registry.add_masker("multi_block", "omnimask.components.maskers.multi_block:MultiBlockMasker")
    registry.add_masker("grid", "omnimask.components.maskers.grid:GridMasker")
    registry.add_masker("units", "omnimask.components.maskers.units:UnitMasker")
    registry.add_masker("ngram", "omnimask.components.maskers.ngram:NGramMasker")
    registry.add_masker("lexicon", "omnimask.components.maskers.lexicon:LexiconMasker")
    registry.add_masker("annotated", "omnimask.components.maskers.annotated:AnnotatedMasker")
    registry.add_masker("scored", "omnimask.components.maskers.scored:ScoredMasker")
    registry.add_masker("scheduled", "omnimask.components.maskers.scheduled:ScheduledMasker")
    registry.add_masker("choose", "omnimask.components.maskers.choose:ChooseMasker")
    registry.add_masker("none", "omnimask.components.maskers.none:NoMasker")
    registry.add_corruptor("drop", "omnimask.components.corruptors.drop:Drop")
    registry.add_corruptor("mask_token", "omnimask.components.corruptors.mask_token:MaskToken")
    registry.add_corruptor("bert", "omnimask.components.corruptors.bert:BertCorruptor")
    registry.add_corruptor("substitute", "omnimask.components.corruptors.substitute:Substitute")
    registry.add_corruptor("cluster_substitute", "omnimask.components.corruptors.cluster_substitute:ClusterSubstitute")
    registry.add_corruptor("swap", "omnimask.components.corruptors.swap:Swap")
    registry.add_corruptor("replace_units", "omnimask.components.corruptors.replace_units:ReplaceUnits")
    registry.add_corruptor("unit_token", "omnimask.components.corruptors.unit_token:UnitToken")
    registry.add_corruptor("sketch", "omnimask.components.corruptors.sketch:Sketch")
    registry.add_corruptor("scheduled", "omnimask.components.corruptors.scheduled:ScheduledCorruptor")
    registry.add_corruptor("by_kind", "omnimask.components.corruptors.by_kind:ByKind")
    registry.add_corruptor("keep", "omnimask.components.corruptors.keep:Keep")
    registry.add_corruptor("withhold_position", "omnimask.components.corruptors.withhold_position:WithholdPosition")
    registry.add_corruptor("sentinel_spans", "omnimask.components.corruptors.sentinel_spans:SentinelSpans")


def _register_model(registry: Registrar) -> None:
    registry.add_embedding("linear", "omnimask.components.embeddings.linear:LinearEmbedding")
    registry.add_embedding("table", "omnimask.components.embeddings.table:TableEmbedding")
    registry.add_position("sincos", "omnimask.components.positions.sincos:SinCos")
    registry.add_position("learned", "omnimask.components.positions.learned:Learned")
    registry.add_position("rotary", "omnimask.components.positions.rotary:Rotary")
    registry.add_position("alibi", "omnimask.components.positions.alibi:Alibi")
    registry.add_position("none", "omnimask.components.positions.none:NoPosition")
    registry.add_encoder("transformer", "omnimask.components.encoders.transformer:TransformerEncoder")
    registry.add_encoder("bert", "omnimask.components.encoders.bert:BertEncoder")
    registry.add_encoder("deberta", "omnimask.components.encoders.deberta:DebertaEncoder")
    registry.add_encoder("cross_transformer", "omnimask.components.encoders.cross_transformer:CrossTransformerEncoder")
    registry.add_encoder("average", "omnimask.components.encoders.average:Average")
    registry.add_encoder("frozen", "omnimask.export.frozen:Frozen")
    registry.add_encoder("modernbert", "omnimask.components.encoders.modernbert:ModernBertEncoder")
    registry.add_replacer("sampled", "omnimask.components.replacers.sampled:Sampled")
    registry.add_replacer("errors", "omnimask.components.replacers.errors:Errors")
    registry.add_replacer("soft", "omnimask.components.replacers.soft:Soft")
    registry.add_predictor("decoder", "omnimask.components.predictors.decoder:Decoder")
    registry.add_predictor("cross_decoder", "omnimask.components.predictors.cross_decoder:CrossDecoder")
    registry.add_predictor("conv_decoder", "omnimask.components.predictors.conv_decoder:ConvDecoder")
    registry.add_predictor("pick", "omnimask.components.predictors.pick:Pick")
    registry.add_predictor("in_place", "omnimask.components.predictors.in_place:InPlace")
    registry.add_predictor("mlm", "omnimask.components.predictors.mlm:MaskedLM")
    registry.add_predictor("deep_mlm", "omnimask.components.predictors.deep_mlm:DeepMLM")
    registry.add_predictor("unit_mlm", "omnimask.components.predictors.unit_mlm:UnitMLM")
    registry.add_predictor("unit_tokens", "omnimask.components.predictors.unit_tokens:UnitTokens")
    registry.add_predictor("bottleneck", "omnimask.components.predictors.bottleneck:Bottleneck")
    registry.add_predictor("bag_of_words", "omnimask.components.predictors.bag_of_words:BagOfWords")
    registry.add_predictor("matryoshka", "omnimask.components.predictors.matryoshka:Matryoshka")
    registry.add_predictor("sequence", "omnimask.components.predictors.sequence:SequenceHead")
    registry.add_predictor("contrast", "omnimask.components.predictors.contrast:Contrast")
    registry.add_predictor("preference", "omnimask.components.predictors.preference:Preference")
    registry.add_predictor("autoregressive", "omnimask.components.predictors.autoregressive:Autoregressive")
    registry.add_target("patch", "omnimask.components.targets.patch:Patch")
    registry.add_target("frequency", "omnimask.components.targets.frequency:Frequency")
    registry.add_target("ids", "omnimask.components.targets.ids:Ids")
    registry.add_target("smoothed", "omnimask.components.targets.smoothed:Smoothed")
    registry.add_target("label", "omnimask.components.targets.label:Label")
    registry.add_target("unit_ids", "omnimask.components.targets.unit_ids:UnitIds")
    registry.add_target("features", "omnimask.components.targets.features:Features")
    registry.add_target("position", "omnimask.components.targets.position:PositionTarget")
    registry.add_target("was_replaced", "omnimask.components.targets.was_replaced:WasReplaced")
    registry.add_dataset("tokens", "omnimask.token_store.dataset:TokenStore")
    registry.add_initializer("exported", "omnimask.export.weights:FromExported")
    registry.add_exporter("safetensors", "omnimask.export.weights:Safetensors")


def _register_training(registry: Registrar) -> None:
    registry.add_optimizer("adamw", "omnimask.training.optim.optimizers:AdamW")
    registry.add_optimizer("sgd", "omnimask.training.optim.optimizers:SGD")
    registry.add_schedule("cosine", "omnimask.training.optim.schedules:Cosine")
    registry.add_schedule("linear", "omnimask.training.optim.schedules:Linear")
    registry.add_schedule("constant", "omnimask.training.optim.schedules:Constant")
    registry.add_schedule("step", "omnimask.training.optim.step_schedule:Step")
    registry.add_schedule("warmup_stable_decay", "omnimask.training.optim.schedules:WarmupStableDecay")


def configs_folder() -> Path:
    """Return the folder with ``<modality>/<recipe>.yaml``.

    A checkout's own folder comes first: an editable install may hold an outdated copy in the package.

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
        f"this installation of omnimask has no recipes: neither {checkout / 'configs'} nor {package / 'configs'}"
    )
