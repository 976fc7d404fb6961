"""A trained fit as numbers and arrays of a file, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.bayesian_ridge import BayesianRidge, NormalEquations, Posterior
from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.dataset_arrays import below, training_arrays, training_from_arrays
from mlip_autopipe.potentials.polymlp_features import FeatureSet, feature_count

FloatArray = NDArray[np.float64]

_TRAINING = "training"


@dataclass(eq=False)
class Trained:
    """A fit with everything that more labels need.

    Attributes
    ----------
    features, elements
        The feature set for these elements.
    reference_eV
        (e,) atomic energies that the labels' energies are taken relative to.
    ridge, posterior
        Normal equations, and what follows from them.
    training
        The labels.
    configurations_at_choice
        How many there were when the feature set was chosen.
    changes
        By how much the mean moves without each label; computed when it is asked for, and not stored.
    """

    features: FeatureSet
    elements: tuple[str, ...]
    reference_eV: FloatArray
    ridge: BayesianRidge
    posterior: Posterior
    training: TrainingSet
    configurations_at_choice: int
    changes: FloatArray | None = None


def to_parts(trained: Trained) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the header and the arrays of a file."""
    posterior = trained.posterior
    label_ids, labels = training_arrays(trained.training)
    arrays = {f"{_TRAINING}/{key}": array for key, array in labels.items()}
    arrays |= {"mean": posterior.mean, "factor": _upper(posterior.factor), "reference_eV": trained.reference_eV}
    sums: dict[str, Any] = {}
    for kind, one in trained.ridge.sums.items():
        sums[kind] = {"square": one.square, "count": one.count, "log_weight": one.log_weight}
        arrays |= {f"gram_{kind}": _upper(one.gram), f"moment_{kind}": one.moment}
    header = {
        "elements": list(trained.elements),
        "features": trained.features.as_dict(),
        "noise": posterior.noise,
        "prior_precision": posterior.prior_precision,
        "log_evidence": posterior.log_evidence,
        "effective_parameters": posterior.effective_parameters,
        "sums": sums,
        "label_ids": label_ids,
        "configurations_at_choice": trained.configurations_at_choice,
    }
    return header, arrays


def from_parts(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Trained:
    """Return the fit of `to_parts`.

    Raises
    ------
    KeyError, TypeError, ValueError, IndexError
        Parts are missing or do not belong together.
    """
    features, elements = FeatureSet.from_dict(header["features"]), tuple(header["elements"])
    size = len(arrays["mean"])
    if not np.isfinite(arrays["mean"]).all() or feature_count(features, elements) + len(elements) != size:
        raise ValueError("coefficients do not belong to the feature set")
    sums = {
        kind: NormalEquations(_symmetric(arrays[f"gram_{kind}"], size), arrays[f"moment_{kind}"], **numbers)
        for kind, numbers in header["sums"].items()
    }
    posterior = Posterior(
        arrays["mean"],
        _triangle(arrays["factor"], size),
        header["noise"],
        header["prior_precision"],
        header["log_evidence"],
        header["effective_parameters"],
    )
    ridge = BayesianRidge(size - len(elements), len(elements), sums=sums)
    training = training_from_arrays(header["label_ids"], below(_TRAINING, arrays))
    at_choice = int(header["configurations_at_choice"])
    return Trained(features, elements, arrays["reference_eV"], ridge, posterior, training, at_choice)


def _upper(matrix: FloatArray) -> FloatArray:
    return matrix[np.triu_indices(len(matrix))]


def _triangle(values: FloatArray, size: int) -> FloatArray:
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = values
    return matrix


def _symmetric(values: FloatArray, size: int) -> FloatArray:
    upper = _triangle(values, size)
    return upper + np.triu(upper, 1).T
