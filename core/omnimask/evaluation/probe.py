"""Protocol of all probes: scaling of features, classifiers and their constants. N samples, D width, K classes.

Nothing here is tuned by hand per feature set or data set. Every set of features goes through the same steps, so that a difference
between two of them is a difference between the features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.errors import UserError

Matrix = NDArray[np.float64]
"""Matrix (N, D). Counts of ids are sparse arrays (CSR) and stay sparse in the linear probe."""
Classes = NDArray[np.int64]

NEIGHBOURS = 20
TEMPERATURE = 0.07
"""kNN of [1, 2]: the 20 nearest by cosine (all, if there are fewer) vote with weight exp(cosine / 0.07)."""

FEW_LABEL_C = 100.0
"""Inverse strength of the L2 penalty with few labels.

It is fixed: with 2 to 10 labels per class, cross-validation would choose from a handful of samples. Once features have one scale,
accuracy hardly changes from C = 10 to 300. If it does, for untrained encoders, a weak penalty is better (measured on the digits'
training part, docs/evaluation.md).
"""

GRID_C = (0.1, 1.0, 10.0, 100.0)
FOLDS = 3
"""Grid for C with all labels, by stratified cross-validation inside the labelled samples."""

_ITERATIONS = 1000


@dataclass(frozen=True)
class Scaling:
    """Scaling of features to mean zero and a mean squared length of one, with a single divisor.

    Dividing every dimension by its own deviation would turn almost constant ones (pixels at the border) into noise and weaken the
    raw baseline. Computed over all training samples, without labels.
    """

    mean: Matrix
    scale: float

    @classmethod
    def of(cls, features: Any) -> Scaling:
        """Compute from features (N, D) of the training part."""
        if is_sparse(features):
            mean = np.asarray(features.mean(axis=0, dtype=np.float64)).reshape(-1)
            length = float(np.sqrt(max(features.power(2).sum(dtype=np.float64) / features.shape[0] - mean @ mean, 0.0)))
        else:
            mean = features.mean(axis=0, dtype=np.float64)
            length = float(np.sqrt(np.mean(np.sum((features - mean) ** 2, axis=1, dtype=np.float64))))
        return cls(mean, length if length > 0 else 1.0)

    def __call__(self, features: Any) -> Matrix:
        """Return scaled dense features (N, D)."""
        return ((features.toarray() if is_sparse(features) else features) - self.mean) / self.scale

    def without_shift(self, features: Any) -> Matrix:
        """Return scaled features (N, D) for the linear probe. Its intercept absorbs the mean, so sparse features stay sparse."""
        return features.astype(np.float64) / self.scale if is_sparse(features) else self(features)


def is_sparse(features: Any) -> bool:
    """Return whether features are one of scipy's sparse arrays."""
    return not isinstance(features, np.ndarray)


Probe = Callable[[Matrix, Classes, Matrix, bool], Classes]
"""(N, D) labelled features, (N,) classes, (M, D) features, whether all labels are used -> (M,) predicted classes."""


def knn(train: Matrix, classes: Classes, test: Matrix, is_all: bool = False) -> Classes:
    """Predict by a weighted vote of the nearest labelled samples by cosine [1, 2]; ties go to the lower class.

    [1] Wu et al.: Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018.
    [2] Caron et al.: Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021.
    """
    del is_all
    count = min(NEIGHBOURS, len(train))
    similarity = _unit(test) @ _unit(train).T  # (M, N)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    weight = np.exp(np.take_along_axis(similarity, nearest, axis=1) / TEMPERATURE)
    votes = np.zeros((len(test), int(classes.max()) + 1))
    np.add.at(votes, (np.arange(len(test))[:, None], classes[nearest]), weight)
    return votes.argmax(axis=1)


def linear(train: Matrix, classes: Classes, test: Matrix, is_all: bool = False) -> Classes:
    """Predict by multinomial logistic regression with an L2 penalty (scikit-learn, L-BFGS).

    If there are more dimensions than labelled samples, features are first rotated into the span of the labelled samples. This saves
    time and changes neither the penalty nor any prediction.
    """
    if len(np.unique(classes)) == 1:
        return np.full(test.shape[0], classes[0])
    train, test = _into_span(train, test)
    strength = _choose(train, classes) if is_all else FEW_LABEL_C
    return _fitted(train, classes, strength).predict(test)


LINEAR = "linear"
PROBES: Mapping[str, Probe] = {"knn": knn, LINEAR: linear}


def accuracy(predicted: Classes, truth: Classes) -> float:
    """Return the share of right answers."""
    return float(np.mean(predicted == truth))


def _unit(features: Matrix) -> Matrix:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _into_span(train: Matrix, test: Matrix) -> tuple[Matrix, Matrix]:
    """Return both in an orthonormal basis of the labelled samples' span, if it has fewer dimensions."""
    if train.shape[1] <= train.shape[0]:
        return train, test
    basis, _ = np.linalg.qr((train.toarray() if is_sparse(train) else train).T)  # pyright: ignore[reportAttributeAccessIssue]
    return train @ basis, test @ basis


def _choose(train: Matrix, classes: Classes) -> float:
    """Return the C of the grid with the best mean accuracy over stratified folds; the strongest penalty on a tie."""
    model_selection = _sklearn("sklearn.model_selection")
    if np.bincount(classes)[np.unique(classes)].min() < FOLDS:
        return FEW_LABEL_C
    folds = list(model_selection.StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(train, classes))
    scores = [
        np.mean([accuracy(_fitted(train[fit], classes[fit], c).predict(train[held]), classes[held]) for fit, held in folds])
        for c in GRID_C
    ]
    return GRID_C[int(np.argmax(scores))]


def _fitted(train: Matrix, classes: Classes, strength: float) -> Any:
    model = _sklearn("sklearn.linear_model").LogisticRegression(C=strength, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*failed to converge.*")
        return model.fit(train, classes)


def _sklearn(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError("probes need scikit-learn; install it with: pip install 'omnimask[evaluation]'") from error
