"""Data set ``tokens``: a store made by ``omnimask tokenize``."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.data.whole_parts import WholeParts
from omnimask.errors import RunStopped
from omnimask.interfaces import Context, Draws, TokenColumns, Tokens
from omnimask.token_store.manifest import Manifest
from omnimask.token_store.scan import open_tokens
from omnimask.token_store.stored import DamagedStore


class TokenStore:
    """Tokens made once by ``omnimask tokenize``, mapped from disk. Training reads them without the original data.

    Keys, order and masks are those of the original data set, so a run gives the same losses. The recipe keeps its tokenizer, which
    must be the store's. Augmentation and transforms of groups need raw values.

    Args:
        path: folder of the store.
    """

    def __init__(self, context: Context, *, path: Path) -> None:
        del context
        self.path = path
        self.manifest = Manifest.read(path)
        stored = open_tokens(path, {name: part.spec for name, part in self.manifest.modalities.items()})
        if stored is None:
            raise ValueError(f"{path} is not complete; repeat the `omnimask tokenize` command that began it")
        self.stored = stored

    def read_fields(self, names: Mapping[str, Collection[str]]) -> None:
        """Read only the named fields of the tokens of each modality from now on."""
        self.stored.specs = {
            modality: dataclasses.replace(spec, fields={name: spec.fields[name] for name in names[modality]})
            for modality, spec in self.stored.specs.items()
        }

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def counts(self) -> NDArray[Any]:
        """Tokens of every sample (N,), in the smallest unsigned type."""
        return self.stored.index.tokens

    def key(self, index: int) -> str:
        """Return the sample's key, with the start of the part unless it is the only one."""
        whole, parts = self.whole(index), self.stored.index
        return whole if parts.is_alone(parts.sample(index)) else f"{whole}#{parts.start[index]}"

    def whole(self, index: int) -> str:
        """Return the key of the sample that a part belongs to."""
        return self.stored.key(index)

    def wholes(self) -> WholeParts:
        """Return the keys of the samples that have parts, and the location of their parts."""
        return WholeParts(self._sample_key, self.stored.index.first, self._identity)

    def _sample_key(self, sample: int) -> str:
        return self.stored.key(int(self.stored.index.first[sample]))

    def _identity(self) -> str:
        return repr((self.manifest.fingerprint, self.stored.checksums.tolist()))

    def held(self, index: int) -> tuple[Mapping[str, Tokens], Mapping[str, Any]]:
        """Return the tokens of a sample by modality, and the values of its kept fields.

        Raises:
            ValueError: the sample was unreadable when the tokens were made.
            RunStopped: a file is missing or damaged.
        """
        with _stopping():
            return self.stored.held(index)

    def held_columns(
        self, indices: Sequence[int], draws: Draws
    ) -> tuple[Mapping[str, TokenColumns], Mapping[str, NDArray[np.int64]]] | None:
        """Return the tokens of many samples; see :class:`omnimask.interfaces.HoldsColumns`.

        Raises:
            RunStopped: a file is missing or damaged.
        """
        with _stopping():
            return self.stored.columns(indices, draws)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return the tokens under the main field of each modality, and the kept fields."""
        tokens, fields = self.held(index)
        return {**fields, **{self.manifest.modalities[name].main_field: part for name, part in tokens.items()}}

    def fingerprint(self) -> str:
        """Return a digest of the parts and of the files' checksums."""
        digest = blake2b(self._identity().encode(), digest_size=16)
        self.stored.index.update(digest)
        return digest.hexdigest()


@contextmanager
def _stopping() -> Iterator[None]:
    """Stop the run at a damaged file."""
    try:
        yield
    except DamagedStore as damage:
        raise RunStopped(f"{damage}; repeat the `omnimask tokenize` command, which makes damaged files anew") from damage
