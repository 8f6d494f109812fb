"""Replacement of hidden tokens by similar ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from omnimask.components.corruptors.base import check_ids
from omnimask.components.corruptors.pools import Ints, Pools, drawable
from omnimask.components.corruptors.substitute import shown_instead, shown_instead_each, substituted, substituted_each
from omnimask.components.units.clusters import find_clusters, read_clusters
from omnimask.interfaces import Context, Masking, MaskingColumns, Sample, SampleColumns, TokenSpec, View


class ClusterSubstitute:
    """A random id of the same cluster in place of every hidden token, answered in place (after C-RTS [0]).

    Substitutes are harder to detect than those of ``substitute``. They are never the token's own id or one of the tokenizer's
    special ids. A token alone in its cluster, or in none, shows any id. For modalities with ids. C-RTS asks whether each token is
    the original, in a view with ``ask: all``.

    C-RTS also counts the model's errors for every pair of clusters during training, and draws the substitute's cluster by these
    counts. Here the cluster is always the token's own.

    Args:
        clusters: a file: ``.npy`` with an integer for every id, or text with one per line; ids with negative numbers are never
            drawn. ``random`` is a control with random clusters of equal size.
        embeddings: a safetensors file with a matrix of one row per id, clustered by k-means; the result is cached
            (``$OMNIMASK_CACHE``).
        tensor: name of the matrix; None: the only one that fits.
        num_clusters: number of clusters to find; no effect if a file defines them.

    [0] Di Liello et al.: Effective Pretraining Objectives for Transformer-based Autoencoders, 2022; 100 clusters of BERT's ids.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ()
    num_answers = 0
    smoke: ClassVar[Mapping[str, Any]] = {"clusters": "random", "embeddings": None, "num_clusters": 4}

    def __init__(
        self,
        context: Context,
        *,
        clusters: Annotated[Literal["random"] | Path | None, Field(description="file with the cluster of every id")] = None,
        embeddings: Annotated[Path | None, Field(description="safetensors file whose rows are clustered")] = None,
        tensor: Annotated[str | None, Field(description="name of the matrix; default: the only one of matching shape")] = None,
        num_clusters: Annotated[int, Field(gt=0, description="number of clusters")] = 100,
    ) -> None:
        check_ids(context, "cluster_substitute")
        if (clusters is None) == (embeddings is None):
            raise ValueError("cluster_substitute needs either clusters (a file), or embeddings to compute them from")
        self.pools: dict[str, Pools] = {}
        for name in context.modalities:
            spec = context.specs[name]
            number = _clusters(spec, clusters, embeddings, tensor, num_clusters)
            self.pools[name] = Pools.of(np.where(drawable(spec), number, -1), name)

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        return substituted(sample, masking, shown_instead(sample, masking, self.pools))

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        """Corrupt all samples of a micro-batch at once."""
        return substituted_each(samples, maskings, shown_instead_each(samples, maskings, self.pools))


def _clusters(
    spec: TokenSpec, clusters: Literal["random"] | Path | None, embeddings: Path | None, tensor: str | None, num_clusters: int
) -> Ints:
    """Return (V,) cluster of every id."""
    vocabulary = spec.vocabulary or 0
    if embeddings is not None:
        return find_clusters(embeddings, tensor, num_clusters, drawable(spec))
    if isinstance(clusters, Path):
        return read_clusters(clusters, vocabulary)
    return np.random.Generator(np.random.Philox(0)).permutation(vocabulary) % num_clusters
