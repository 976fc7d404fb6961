"""Structures that wait for labels, and what is trained on."""

from __future__ import annotations

import numpy as np
from ase.build import bulk

from mlip_autopipe.learning.candidates import FRESH, NOT_TRAINED, candidate, configuration_of
from mlip_autopipe.potentials.dataset import atoms_of
from mlip_autopipe.reference.labels import label_id
from mlip_autopipe.schemas.label import ReferenceLabel
from mlip_autopipe.schemas.otf import Candidate, UsedLabel


def test_a_candidate_keeps_what_names_its_label_and_nothing_else():
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([2.0, 2.5])
    atoms.set_velocities(np.ones((2, 3)))
    atoms.info["note"] = "x"
    one = Candidate.model_validate(candidate(atoms, "trigger", "unsure", walker=1).model_dump(mode="json"))
    again = atoms_of(one.structure)
    assert label_id(again, "s") == label_id(atoms, "s")
    assert again.get_initial_magnetic_moments().tolist() == [2.0, 2.5]
    assert not again.get_velocities().any()
    assert again.info == {}
    assert (one.origin, one.detail, one.walker) == ("trigger", "unsure", 1)


def test_weights_belong_to_the_use_of_a_label():
    atoms = bulk("Cu", cubic=True)
    label = ReferenceLabel(
        label_id="a",
        settings_hash="s",
        engine="ase",
        engine_version="1",
        state="done",
        structure=candidate(atoms, "seed").structure,
        energy_eV=1.0,
        forces_eV_per_A=[(0.0, 0.0, float(k)) for k in range(4)],
        stress_eV_per_A3=(1, 2, 3, 4, 5, 6),
        wall_time_s=0,
        core_time_s=0,
    )
    plain = configuration_of(label, UsedLabel(label_id="a", generation=1, origin="seed"))
    assert plain.force_weights.tolist() == [1.0] * 4
    assert (plain.energy_weight, plain.stress_weight) == (1.0, 1.0)
    masked = configuration_of(
        label,
        UsedLabel(
            label_id="a",
            generation=1,
            origin="trigger",
            force_weights=[1.0, 0.0, 0.0, 0.5],
            energy_weight=0.0,
            stress_weight=100.0,
        ),
    )
    assert masked.force_weights.tolist() == [1.0, 0.0, 0.0, 0.5]
    assert (masked.energy_weight, masked.stress_weight) == (0.0, 100.0)
    assert masked.label_id == "a"
    np.testing.assert_array_equal(masked.forces_eV_per_A[:, 2], range(4))


def test_what_calibrates_is_trained_on_and_what_judges_is_not():
    assert not set(FRESH) & set(NOT_TRAINED)
    assert "seed" not in FRESH
    assert "property" not in FRESH
