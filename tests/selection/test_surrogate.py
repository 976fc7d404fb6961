"""Screening by a surrogate."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.perturb import rattle, volume_scan
from mlip_autopipe.potentials.base import ForceField, Prediction
from mlip_autopipe.potentials.errors import PotentialFileError, PredictionError
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.selection.surrogate import ScreeningLimits, load_surrogate, screen
from tests.potentials.helpers import emt_set


class EmtField(ForceField):
    elements = ("Cu", "Au")

    def __init__(self):
        self.asked = []

    def predict(self, atoms):
        self.asked.append(len(atoms))
        if len(atoms) == 7:
            raise PredictionError("the energy is not finite")
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, calculator=EMT())
        return Prediction(bare.get_potential_energy(), bare.get_forces(), np.zeros(6))


@pytest.fixture(scope="module")
def potential():
    trained = PolymlpPotential()
    trained.fit(emt_set(6, 0))
    return trained


def reasons(screening):
    return {one.index: one.why for one in screening.dropped}


def test_every_limit_drops_what_breaks_it_and_says_why():
    copper = bulk("Cu", a=3.6, cubic=True)
    close = copper.copy()
    close.positions[1] *= 0.55
    pushed = copper.copy()
    pushed.positions[1] *= 0.8
    odd = Atoms("Cu7", np.random.default_rng(0).random((7, 3)), cell=[20] * 3, pbc=True)
    odd.set_scaled_positions(np.linspace(0, 0.9, 7)[:, None] * np.ones(3))
    lost = copper.copy()
    lost.positions[0, 0] = np.nan
    loose = volume_scan(copper, [2.5])[0]
    field = EmtField()
    found = screen(
        [copper, close, pushed, odd, lost, loose],
        field,
        ScreeningLimits(max_force_eV_per_A=3.0, max_energy_above_lowest_eV_per_atom=0.5),
    )
    assert found.kept == (0,)
    assert reasons(found) == {1: "distance", 2: "force", 3: "prediction", 4: "distance", 5: "energy"}
    assert "atoms 0 and 1 are 1.40 A apart; the limit is 1.58 A" in found.dropped[0].message
    assert "force on atom" in found.dropped[1].message
    assert "not finite" in found.dropped[2].message
    assert "above the lowest of its composition; the limit is 0.5" in found.dropped[4].message
    # what is too near, or no structure, is not predicted
    assert field.asked == [4, 4, 7, 4]
    assert found.energies_eV_per_atom[0] == pytest.approx(field.predict(copper).energy_eV / 4)


def test_energies_are_compared_within_a_composition_whatever_the_size():
    gold, copper = bulk("Au", cubic=True), bulk("Cu", cubic=True)
    alloy = bulk("Cu", a=3.9, cubic=True)
    alloy.symbols[:2] = "Au"
    stretched = volume_scan(copper, [1.8])[0]
    window = ScreeningLimits(max_energy_above_lowest_eV_per_atom=0.3)
    found = screen([gold, copper, alloy, copper.repeat(2), stretched], EmtField(), window)
    assert found.kept == (0, 1, 2, 3)
    assert screen([stretched], EmtField(), window).kept == (0,)
    anchored = screen([stretched], EmtField(), window, known=[copper.repeat((1, 1, 2))])
    assert reasons(anchored) == {0: "energy"}


def test_no_limits_keep_all_and_order():
    cells = [rattle(bulk("Cu", cubic=True), 0.1, s) for s in range(4)]
    none = ScreeningLimits(None, None, None)
    assert screen(cells, EmtField(), none).kept == (0, 1, 2, 3)
    assert screen([], EmtField()).kept == ()
    close = Atoms("Cu2", [[0, 0, 0], [0, 0, 0.9]], cell=[9, 9, 9], pbc=True)
    assert screen([close], EmtField(), none).kept == (0,)


def test_most_uncertain_first(potential):
    cells = [rattle(bulk("Ni", cubic=True, a=3.5), sigma, 1) for sigma in (0.05, 0.3, 0.15)]
    found = screen(cells, potential, ScreeningLimits(None, None, None), rank_by_uncertainty=True)
    assert found.kept == (1, 2, 0)
    assert found.force_std_eV_per_A == tuple(sorted(found.force_std_eV_per_A, reverse=True))
    assert found.force_std_eV_per_A[0] == pytest.approx(potential.force_std(cells[1]).max())
    assert screen(cells, potential).force_std_eV_per_A is None
    with pytest.raises(InvalidInputError, match="uncertainty"):
        screen(cells, EmtField(), rank_by_uncertainty=True)


def test_unknown_elements_are_dropped(potential):
    assert "train it" in screen([bulk("Cu")], potential).dropped[0].message


def test_loading_by_content(potential, tmp_path):
    file = tmp_path / "potential.bin"
    file.write_bytes(potential.save().data)
    atoms = bulk("Ni", cubic=True)
    assert load_surrogate(file).predict(atoms).energy_eV == pytest.approx(potential.predict(atoms).energy_eV)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(PotentialFileError):
        load_surrogate(file)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_surrogate(tmp_path / "absent")


def test_files_of_mace_go_to_its_reader(monkeypatch, tmp_path):
    reader = types.ModuleType("mlip_autopipe.potentials.mace")
    reader.force_field_from_mace_file = lambda path: ("mace", path)
    monkeypatch.setitem(sys.modules, reader.__name__, reader)
    assert load_surrogate(tmp_path / "foundation.model") == ("mace", tmp_path / "foundation.model")


@pytest.mark.parametrize("name", ["min_distance_ratio", "max_force_eV_per_A", "max_energy_above_lowest_eV_per_atom"])
def test_limits_are_positive(name):
    with pytest.raises(InvalidInputError, match=name):
        ScreeningLimits(**{name: 0.0})
