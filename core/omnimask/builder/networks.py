"""Construction of a recipe's networks: the main one, and those under ``encoders``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from omnimask.component import Component, named
from omnimask.data.view_names import MAIN
from omnimask.errors import UserError
from omnimask.interfaces import Context, Embedding, TokenSpec
from omnimask.network.network import CorrectedEmbedding, Network
from omnimask.recipe import Recipe
from omnimask.recipe.config import BorrowedEmbeddings, EncoderConfig


def build_networks(recipe: Recipe, specs: Mapping[str, TokenSpec]) -> dict[str, Network]:
    """Build the networks by name, the main one first. Each may refer to earlier ones.

    Raises:
        UserError: an embedding mixes tokens, or embeddings cannot be shared.
    """
    encoder = recipe.encoder(Context(specs=specs, modalities=tuple(specs)))
    networks = {MAIN: Network(_embeddings(recipe, tuple(specs), specs, encoder), encoder)}
    for name, config in recipe.encoders.items():
        networks[name] = _network(recipe, config, specs, networks)
    return networks


def _network(recipe: Recipe, config: EncoderConfig, specs: Mapping[str, TokenSpec], networks: Mapping[str, Network]) -> Network:
    component = config.component
    made: Any = component(Context(specs=specs, modalities=config.of, networks=networks))
    where = component.where or f"encoder {component.name}"
    if isinstance(made, Network):
        if config.embeddings is not None:
            raise UserError(
                f"{where}: encoder {component.name} has embeddings of its own; remove embeddings: {config.embeddings.of}"
            )
        return made
    if config.embeddings is None:
        return Network(_embeddings(recipe, config.of, specs, made), made)
    return _borrowing(config.embeddings, config.of, networks[config.embeddings.of], made, where)


def _borrowing(config: BorrowedEmbeddings, of: tuple[str, ...], source: Network, encoder: nn.Module, where: str) -> Network:
    """Return a network with another one's embeddings."""
    if missing := [name for name in of if name not in source.embeddings]:
        raise UserError(f"{where}: network {config.of} has no embedding of {missing[0]}; set of: {list(source.embeddings)}")
    shared = {name: source.embeddings[name] for name in of}
    if config.gradient == "disentangled":
        return Network(
            {name: CorrectedEmbedding(part) for name, part in shared.items()}, encoder, embedding_width=source.embedding_width
        )
    network = Network(shared, encoder, embedding_width=source.embedding_width)
    if network.adapt is None and type(encoder) is type(source.encoder):
        _share_modules(encoder, source.encoder, where)
    return network


def _share_modules(encoder: nn.Module, source: nn.Module, where: str) -> None:
    """Share the modules that complete the embedding of a slot, if they have weights.

    Raises:
        UserError: their shapes differ.
    """
    for name in getattr(encoder, "embedding_modules", ()):
        own, theirs = getattr(encoder, name), getattr(source, name)
        shapes = [[] if module is None else _shapes(module) for module in (own, theirs)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{where}: the {name} of this encoder and of the one whose embeddings it uses are shared, but their weights differ "
                f"in shape: {dict(shapes[0]) or 'none'} and {dict(shapes[1]) or 'none'}; give both the same options"
            )
        if shapes[0]:
            setattr(encoder, name, theirs)


def _shapes(module: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(parameter.shape)) for name, parameter in module.named_parameters()]


def _embeddings(recipe: Recipe, names: tuple[str, ...], specs: Mapping[str, TokenSpec], encoder: Any) -> dict[str, nn.Module]:
    width = getattr(encoder, "embedding_width", None) or encoder.width
    return {name: _embedding(recipe, name, specs, width) for name in names}


def _embedding(recipe: Recipe, name: str, specs: Mapping[str, TokenSpec], width: int) -> nn.Module:
    default = named("embedding", "table" if specs[name].width is None else "linear")
    component: Component[nn.Module] = recipe.modalities[name].embedding or default
    embedding = component(Context(specs=specs, modalities=(name,), width=width))
    if not as_embedding(embedding).is_local:
        raise UserError(
            f"{component.where or name}: embedding {component.name} mixes tokens, so masked ones would leak into "
            "visible ones; it needs a separate pass over the clean tokens, which recipes do not support yet"
        )
    return embedding


def as_embedding(module: Any) -> Embedding:
    """Return a module as the embedding that it is."""
    return module
