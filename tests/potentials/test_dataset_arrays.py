from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.dataset_arrays import training_arrays, training_from_arrays
from tests.potentials.helpers import emt_set


def test_a_training_set_comes_back_from_arrays() -> None:
    pair = Atoms("CuAu", [(0, 0, 0), (0, 0, 2.4)], pbc=(True, False, False), cell=(5, 0, 0))
    weighted = Configuration(pair, 1.5, force_weights=np.array([0.0, 2.0]), energy_weight=0.5, stress_weight=0.0)
    forces_only = Configuration(pair, forces_eV_per_A=np.arange(6.0).reshape(2, 3), label_id="x")
    training = TrainingSet.of([*emt_set(2, 1), weighted, forces_only])
    label_ids, arrays = training_arrays(training)
    assert label_ids == ["1-0", "1-1", None, "x"]
    again = training_from_arrays(label_ids, arrays)
    assert len(again) == len(training)
    for before, after in zip(training, again, strict=True):
        assert before.atoms == after.atoms
        assert (before.atoms.pbc == after.atoms.pbc).all()
        for name in ("energy_eV", "energy_weight", "stress_weight", "label_id"):
            assert getattr(before, name) == getattr(after, name)
        for name in ("forces_eV_per_A", "stress_eV_per_A3", "force_weights"):
            first, second = getattr(before, name), getattr(after, name)
            assert (first is None and second is None) or np.array_equal(first, second)


def test_arrays_that_do_not_fit_together() -> None:
    label_ids, arrays = training_arrays(TrainingSet(emt_set(2, 1).configurations))
    with pytest.raises(ValueError, match="zip"):
        training_from_arrays(label_ids[:1], arrays)
    with pytest.raises(KeyError):
        training_from_arrays(label_ids, {})
