"""Import and export of weights: initializers read other programs' files, exporters write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from omnimask.interfaces.batch import MaskedBatch, Result
    from omnimask.interfaces.data_protocols import Tokenizer
    from omnimask.interfaces.tokens import TokenSpec


class Model(Protocol):
    """A masked model as seen by initializers and exporters.

    Attributes:
        networks: modules by name; each has ``embeddings`` by modality and an ``encoder``.
        predictors: modules by label.
        passes: by name, in order; each has the ``embeddings`` and the ``encoder`` of its network, and ``predictors`` by label.
        backbone: name of the pass whose encoder is evaluated and exported.
    """

    networks: nn.ModuleDict
    predictors: nn.ModuleDict
    passes: Mapping[str, Any]
    backbone: str

    def each(self) -> Sequence[Any]:
        """Return the passes, in order."""
        ...

    def predict(self, batch: MaskedBatch, *, only_asked: bool = False) -> Mapping[str, Result]:
        """Return features and predictions by pass, without reading answers."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Copy tensors in by name."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield trainable tensors by name, shared ones once."""
        ...


@runtime_checkable
class Initializer(Protocol):
    """Initialization of a newly built model from another program's file."""

    def __call__(self, model: Model, tokenizers: Mapping[str, Tokenizer]) -> None:
        """Copy weights into ``model``.

        Args:
            model: newly built from the recipe.
            tokenizers: the recipe's, by modality. Match rows of id tables by meaning: the file's tokenizer may number the same
                tokens differently.

        Raises:
            ValueError: the file is missing or in an unsupported format, or names or shapes differ; the message gives the reason.
        """
        ...


@dataclass(frozen=True)
class Trained:
    """Input of an exporter. New fields never break a plugin.

    ``model`` on the CPU, in float32 and evaluation mode; ``tokenizers`` and ``specs`` by modality; ``recipe`` the resolved recipe
    as YAML; ``batch`` a few held-out samples with validation masks, for comparing outputs.
    """

    model: Model
    tokenizers: Mapping[str, Tokenizer]
    specs: Mapping[str, TokenSpec]
    recipe: str
    batch: MaskedBatch


@dataclass(frozen=True)
class Exported:
    """Result of an export: ``outputs`` describes the compared outputs, ``difference`` is the largest absolute difference between
    the model and the exported copy, ``scale`` the largest absolute output of the model."""

    outputs: str
    difference: float
    scale: float


@runtime_checkable
class Exporter(Protocol):
    """Export of a trained model in another program's format. All constructor options have defaults.

    ``format`` is the name for ``omnimask export --to``. ``tolerance`` is the maximum difference in units of the scale; an export
    beyond it is discarded.
    """

    format: ClassVar[str]
    tolerance: ClassVar[float]

    def __call__(self, trained: Trained, folder: Path) -> Exported:
        """Write into the empty ``folder``, read it back as its users will, and compare the outputs of both.

        Raises:
            ValueError: the format cannot represent this model; the message gives the reason.
            OSError: a file cannot be written.
        """
        ...
