"""Where a model's weights come from and where they go: initializers read the files of other programs, exporters write them."""

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
    """A masked model, as initializers and exporters see it.

    Attributes:
        passes: modules by name, in order; each has ``embeddings`` by modality, an ``encoder`` and ``predictors`` by label.
        backbone: name of the pass whose encoder is evaluated and exported.
    """

    passes: nn.ModuleDict
    backbone: str

    def each(self) -> Sequence[Any]:
        """Return the passes, in order."""
        ...

    def predict(self, batch: MaskedBatch, *, only_asked: bool = False) -> Mapping[str, Result]:
        """Return features and predictions by pass; no answer is read."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Copy tensors in by name."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield trained tensors by name, shared ones once."""
        ...


@runtime_checkable
class Initializer(Protocol):
    """Gives a model that was just built the weights that it begins with, from a file of another program."""

    def __call__(self, model: Model, tokenizers: Mapping[str, Tokenizer]) -> None:
        """Copies weights into ``model``.

        Args:
            model: just built from the recipe.
            tokenizers: the recipe's, by modality. Where tokens are ids, a row of a table belongs to what its id means, and in the
                file another tokenizer may have numbered the same things otherwise.

        Raises:
            ValueError: the file is not there or of a form that is not read, or names or shapes do not fit; it says which.
        """
        ...


@dataclass(frozen=True)
class Trained:
    """What an exporter writes; new fields never break a plugin.

    ``model`` on the CPU, in float32 and in evaluation mode; ``tokenizers`` and ``specs`` by modality; ``recipe`` the resolved one
    as YAML; ``batch`` a few held-out samples with the masks of validation, to compare outputs on.
    """

    model: Model
    tokenizers: Mapping[str, Tokenizer]
    specs: Mapping[str, TokenSpec]
    recipe: str
    batch: MaskedBatch


@dataclass(frozen=True)
class Exported:
    """What an exporter measured: ``outputs`` says what was compared, ``difference`` is the largest absolute one between the model
    and what was read back, ``scale`` the largest absolute output of the model."""

    outputs: str
    difference: float
    scale: float


@runtime_checkable
class Exporter(Protocol):
    """Writes a trained model in the format of another program; all its constructor's options have defaults.

    ``format`` is what ``omnimask export --to`` calls it. ``tolerance``: at most how large the difference may be in units of the
    scale; beyond it nothing is kept.
    """

    format: ClassVar[str]
    tolerance: ClassVar[float]

    def __call__(self, trained: Trained, folder: Path) -> Exported:
        """Writes into ``folder``, which is empty, reads it back as its users will, and compares the outputs of both.

        Raises:
            ValueError: the format cannot say this model; it says why.
            OSError: a file cannot be written.
        """
        ...
