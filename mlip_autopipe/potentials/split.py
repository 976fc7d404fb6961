"""Split labelled configurations into those to train on and those to test with."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet


def split_held_out(configurations: TrainingSet, fraction: float, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Return training and held-out configurations.

    Every k-th one is held out of a list sorted by composition and number of atoms and shuffled among equals, so that
    each kind is held out about as often as it occurs. Single atoms, and the only configurations with an element, stay
    in the training set: nothing could be learned of them without.

    Parameters
    ----------
    configurations
        At least two.
    fraction
        Of the configurations, rounded, from 0 to below 1; if not 0, at least one is held out, and at least one trained.
    seed
        Of the shuffle. The held-out configurations come in random order, the others as they came.

    Raises
    ------
    InvalidInputError
        The fraction is out of range, or there are fewer than two configurations.
    """
    if not (math.isfinite(fraction) and 0 <= fraction < 1):
        raise InvalidInputError(f"the held-out fraction is {fraction:g}, must be at least 0 and below 1, e.g. 0.2")
    if len(configurations) < 2:
        raise InvalidInputError(
            f"{len(configurations)} configuration is too little to train on; label at least two, better ten or more"
        )
    if fraction == 0:
        return configurations, TrainingSet.of([])
    rng = np.random.default_rng(seed)
    wanted = min(max(1, round(fraction * len(configurations))), len(configurations) - 1)
    shuffled = rng.permutation(len(configurations))
    order = sorted(shuffled, key=lambda i: _kind(configurations.configurations[i]))
    order = [int(i) for i in order if len(configurations.configurations[i].atoms) > 1]
    chosen = _every_kth(order, wanted, rng)
    held_out = _without_sole_bearers(configurations, chosen)
    training = [one for i, one in enumerate(configurations) if i not in held_out]
    return TrainingSet.of(training), TrainingSet.of(configurations.configurations[i] for i in rng.permutation(held_out))


def _kind(one: Configuration) -> tuple[str, int]:
    return one.atoms.get_chemical_formula(empirical=True), len(one.atoms)


def _every_kth(order: list[int], wanted: int, rng: np.random.Generator) -> list[int]:
    step = len(order) / min(wanted, len(order)) if order else 1.0
    return [order[int(k)] for k in np.arange(rng.uniform(0, step), len(order), step)]


def _without_sole_bearers(configurations: TrainingSet, chosen: list[int]) -> list[int]:
    """Return the chosen ones, less those whose absence would leave an element out of the training set."""
    left = Counter(symbol for one in configurations for symbol in set(one.atoms.get_chemical_symbols()))
    kept = []
    for i in sorted(chosen):
        symbols = set(configurations.configurations[i].atoms.get_chemical_symbols())
        if all(left[symbol] > 1 for symbol in symbols):
            left.subtract(symbols)
            kept.append(i)
    return kept
