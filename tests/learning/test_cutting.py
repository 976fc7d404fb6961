"""Large frames become small cells whose masked labels teach the same forces."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.learning.cutting import small_enough
from mlip_autopipe.potentials.dataset import atoms_of
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.schemas.otf import OTFSettings
from tests.potentials.helpers import emt_set


@pytest.fixture(scope="module")
def potential() -> PolymlpPotential:
    found = PolymlpPotential(largest=100)
    found.fit(emt_set(8, 1))
    return found


@pytest.fixture(scope="module")
def frame() -> Atoms:
    atoms = bulk("Ni", "fcc", a=3.49, cubic=True) * (5, 5, 5)
    atoms.rattle(0.06, seed=3)
    return atoms


def settings(max_atoms: int) -> OTFSettings:
    return OTFSettings.model_construct(label_max_atoms=max_atoms, seed=1)


def test_small_frames_stay(potential, frame):
    one = candidate(frame, "trigger")
    assert small_enough(one, settings(500), potential, 1) is one


@pytest.mark.parametrize("origin", ["trigger", "audit", "held_out", "random"])
def test_the_core_keeps_its_forces(potential, frame, origin):
    one = candidate(frame, origin, "frame", step=10)
    cut = small_enough(one, settings(200), potential, 1)
    small = atoms_of(cut.structure)
    assert len(small) <= 200
    weights = np.array(cut.force_weights)
    assert set(weights) == {0.0, 1.0}
    number = int(cut.detail.rsplit(" ", 1)[1])
    # what judges the potential must not be chosen by it
    assert (number == int(np.argmax(potential.force_std(frame)))) is (origin == "trigger")
    small.calc, large = EMT(), frame.copy()
    large.calc = EMT()
    # effective-medium forces reach a little farther than the buffer that fits into 200 atoms
    assert small.get_forces()[0] == pytest.approx(large.get_forces()[number], abs=0.05)


def test_audits_look_at_different_atoms(potential, frame):
    one = candidate(frame, "audit", "frame", step=10)
    atoms = {small_enough(one, settings(200), potential, g).detail.rsplit(" ", 1)[1] for g in range(3)}
    assert len(atoms) > 1
