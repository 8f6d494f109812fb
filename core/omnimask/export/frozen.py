"""The network of an earlier run as a network that is not trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.builder.build import BuiltModel, build_without_data
from omnimask.data.view_names import MAIN
from omnimask.export.weights import load_exported
from omnimask.interfaces import Context
from omnimask.network.network import Network, UntrainedNetwork
from omnimask.run.trained_run import load_checkpoint, open_trained
from omnimask.training.checkpoints.contents import MODEL

_DIGEST = "digest"


class Frozen(UntrainedNetwork):
    """Embeddings and encoder of an earlier run, as they were then: a teacher of self-distillation [0], or a source of targets.

    It has no weights to train and is always in evaluation mode. With a path, checkpoints contain a digest of its weights instead of
    the weights, and a resumed run refuses others.

    Args:
        path: folder written by ``omnimask export --to safetensors``, or a run's folder, whose best checkpoint is used. None: the
            initial weights of the network ``main``, which ``init`` may have read from a file.

    [0] Furlanello et al.: Born Again Neural Networks, 2018.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"path": None}

    def __init__(
        self,
        context: Context,
        *,
        path: Annotated[
            Path | None, Field(description="exported folder, or a run's folder; default: main's initial weights")
        ] = None,
    ) -> None:
        source = context.networks[MAIN] if path is None else _network_of(path, context)
        assert isinstance(source, Network)
        super().__init__(source, context.modalities)
        # A tuple keeps the other network out of this one's parameters.
        self._initial = (source,) if path is None else ()
        if path is not None:
            self.register_buffer(_DIGEST, _digest_of(self))
            self.register_state_dict_post_hook(_without_weights)
            self.register_load_state_dict_pre_hook(_with_weights)

    def settle(self) -> None:
        """Take the initial weights of ``main`` if there is no path."""
        for source in self._initial:
            self.copy_from(source)

    def after_update(self, progress: float) -> None:
        """Do nothing: it follows no update."""


def _digest_of(module: nn.Module) -> Tensor:
    """Return the SHA-256 digest of all weights, (32,) uint8."""
    digest = hashlib.sha256()
    for name, tensor in _weights(module):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def _network_of(path: Path, context: Context) -> Network:
    """Return the backbone's network of an exported folder or a run.

    Raises:
        UserError: the folder is neither.
        ValueError: its tokens differ from the recipe's, or its encoder reads other passes.
    """
    built = load_exported(path) if (path / MODEL).is_file() else _of_run(path)
    part = built.model.passes[built.model.backbone]
    if part.reads:
        raise ValueError(f"the encoder of {path} reads features of other passes, {', '.join(part.reads)}; it cannot be used alone")
    for name in context.modalities:
        theirs, ours = built.specs.get(name), context.specs[name]
        if theirs is None:
            raise ValueError(f"{path} has no modality {name!r}; its modalities: {', '.join(built.specs)}")
        if (theirs.vocabulary, theirs.width) != (ours.vocabulary, ours.width):
            raise ValueError(f"{path} reads other tokens of {name!r} than this recipe's tokenizer makes; use the same tokenizer")
    return part.network


def _of_run(path: Path) -> BuiltModel:
    recipe, checkpoint = open_trained(path, "best")
    built = build_without_data(recipe)
    load_checkpoint(built.model, checkpoint)
    return built


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and persistent buffers by name, without the digest."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if name != _DIGEST:
            yield name, tensor


def _without_weights(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Leave only the digest in a state dict."""
    for name, _ in _weights(module):
        state.pop(prefix + name, None)


def _with_weights(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    metadata: Any,
    strict: bool,
    missing: Any,
    unexpected: Any,
    errors: list[str],
) -> None:
    """Complete a state dict with the present weights, if its digest is theirs."""
    saved, own = state.get(prefix + _DIGEST), module.get_buffer(_DIGEST)
    if saved is not None and not torch.equal(saved.cpu(), own.cpu()):
        errors.append(f"the frozen network {prefix.rstrip('.')} has other weights than in the run; restore the files of its path")
    for name, part in module.named_children():
        state.update(part.state_dict(prefix=f"{prefix}{name}."))
