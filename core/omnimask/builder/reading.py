"""Reading of a recipe's samples: the options that determine their tokens, and their parts with or without stored tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from omnimask.cache import code_digest
from omnimask.data.fields import names_of
from omnimask.data.part_index import list_parts
from omnimask.data.pipeline import ModalityPipeline
from omnimask.data.sample_parts import SampleParts
from omnimask.errors import UserError
from omnimask.interfaces import Dataset, HoldsTokens, TokenizesMany
from omnimask.recipe import Recipe
from omnimask.recipe.options import plain
from omnimask.recipe.yaml_text import inline

if TYPE_CHECKING:
    from omnimask.token_store.dataset import TokenStore
    from omnimask.token_store.manifest import Manifest, StoredModality
    from omnimask.token_store.tokenize import TokenSource


def reading_options(recipe: Recipe, readers: Mapping[str, ModalityPipeline]) -> str:
    """Return the reading options of samples, besides the data set, as text."""
    options = [inline(plain([m.name, m.field, m.tokenizer, m.decoder])) for m in recipe.modalities.values()]
    components = [part for reader in readers.values() for part in (reader.tokenizer, reader.decoder) if part is not None]
    return "\n".join([*options, code_digest(*components)])


def parts_of(recipe: Recipe, dataset: Dataset, reader: ModalityPipeline) -> SampleParts:
    """Return the parts of a data set's samples, with their tokens in the cache if they are always the same and few enough.

    Args:
        recipe: of one modality.
        dataset: the whole samples.
        reader: of the modality; its tokenizer is a :class:`~omnimask.interfaces.Splits`.
    """
    readers = dict.fromkeys(recipe.modalities, reader)
    options, most = reading_options(recipe, readers), recipe.data.options.cache_tokens
    if most and find_spec("pyarrow") is not None and not refusals(recipe, readers):
        from omnimask.token_store.cached import cached_parts

        return cached_parts(token_source(recipe, dataset, readers), options=options, most=most)
    return SampleParts(dataset, reader, list_parts(dataset, reader, options=options))


def token_source(recipe: Recipe, dataset: Dataset, readers: Mapping[str, ModalityPipeline]) -> TokenSource:
    """Return the samples of a recipe, to be tokenized once."""
    from omnimask.token_store.tokenize import TokenSource

    plain_readers = {name: dataclasses.replace(reader, augment=()) for name, reader in readers.items()}
    # Evaluations read the field "label", whether or not the recipe does.
    fields = dict.fromkeys([*(label.field for label in recipe.labels.values()), "label"])
    return TokenSource(dataset, plain_readers, tuple(fields))


def manifest_of(recipe: Recipe, source: TokenSource) -> Manifest:
    """Return the manifest of a store of these samples."""
    from omnimask.token_store.manifest import Manifest

    dataset = source.dataset
    data, fingerprint = plain(recipe.data.dataset), dataset.fingerprint()
    return Manifest(data, fingerprint, len(dataset), stored_modalities(recipe, source.readers), list(source.fields))


def stored_modalities(recipe: Recipe, readers: Mapping[str, ModalityPipeline]) -> dict[str, StoredModality]:
    """Return the reading of a recipe's modalities, as a store records it."""
    from omnimask.token_store.manifest import StoredModality

    found: dict[str, StoredModality] = {}
    for name, config in recipe.modalities.items():
        tokenizer = readers[name].tokenizer
        offered = getattr(tokenizer, "fingerprint", None)
        vocabulary = str(offered()) if callable(offered) else ""
        found[name] = StoredModality(
            plain(config.field), plain(config.tokenizer), plain(config.decoder), vocabulary, tokenizer.spec
        )
    return found


def check_held(recipe: Recipe, dataset: HoldsTokens, readers: Mapping[str, ModalityPipeline]) -> None:
    """Check that the tokens held by a data set are those of the recipe.

    Raises:
        UserError: the recipe reads other tokens, needs raw values, or needs labels that a store lacks.
    """
    where = recipe.data.dataset.where or "data"
    if reasons := refusals(recipe, readers):
        raise UserError(*(f"{where}: stored tokens cannot be used: {reason}" for reason in reasons))
    from omnimask.token_store.dataset import TokenStore

    if isinstance(dataset, TokenStore):
        _check_store(recipe, dataset, readers, where)


def _check_store(recipe: Recipe, store: TokenStore, readers: Mapping[str, ModalityPipeline], where: str) -> None:
    if differences := list(store.manifest.reading_differences(stored_modalities(recipe, readers))):
        shown = "; ".join(f"{name} was {before}, and the recipe has {now}" for name, before, now in differences)
        raise UserError(f"{where}: {store.place} holds other tokens: {shown}; tokenize again, or change the recipe")
    if missing := [label.field for label in recipe.labels.values() if label.field not in store.manifest.fields]:
        raise UserError(f"{where}: {store.place} has no labels {', '.join(missing)}; tokenize again with this recipe")
    store.read_fields({name: list(reader.tokenizer.spec.fields) for name, reader in readers.items()})


def refusals(recipe: Recipe, readers: Mapping[str, ModalityPipeline]) -> list[str]:
    """Return the reasons why the tokens of a recipe's samples cannot be made once and stored."""
    reasons: list[str] = []
    for name, reader in readers.items():
        tokenizer, where = reader.tokenizer, f"modalities.{name}"
        if reader.augment:
            reasons.append(f"{where}.augment: tokens of augmented samples differ in every epoch; remove it")
        if not isinstance(tokenizer, TokenizesMany):
            reasons.append(f"{where}.tokenizer: {reader.origin} has no tokenize_many, so its tokens may differ in every epoch")
        if pairs := [field for field, spec in tokenizer.spec.fields.items() if spec.arity == 2]:
            reasons.append(f"{where}.tokenizer: {reader.origin} has fields of pairs ({', '.join(pairs)}), which cannot be stored")
    mains = [names_of(reader.field)[0] for reader in readers.values()]
    if shared := sorted({name for name in mains if mains.count(name) > 1}):
        reasons.append(f"modalities: several read the field {', '.join(shared)}; store the tokens of one")
    if recipe.data.group.transform is not None:
        reasons.append("data.group.transform: a transform changes raw values; remove it")
    return reasons
