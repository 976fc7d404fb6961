from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.potentials.polymlp_features import ASE_VOIGT, FeatureSet, polymlp_structure
from mlip_autopipe.potentials.polymlp_yaml import polymlp_yaml
from tests.potentials.helpers import emt_set
from tests.potentials.toys import ShiftedEMT

FEATURES = [FeatureSet("pair", "pair", 2, 2, 4), FeatureSet("angular", "gtinv", 3, 2, 4, (4, 2))]


def trained(features: FeatureSet, elements: tuple[str, ...]) -> PolymlpPotential:
    potential = PolymlpPotential(features=features)
    potential.fit(emt_set(8, 0, elements, 3.7))
    return potential


def by_pypolymlp(path: Path, atoms: Atoms, elements: tuple[str, ...]) -> tuple[float, Any, Any]:
    from pypolymlp.calculator.properties_single import PropertiesSingle

    structure = polymlp_structure(atoms, elements, 6.0)
    energy, forces, virial = PropertiesSingle(pot=str(path)).eval(structure)
    return energy, np.asarray(forces).T, -np.asarray(virial)[ASE_VOIGT] / structure.volume


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("elements", [("Ni",), ("Cu", "Au")])
def test_pypolymlp_reads_the_same_forces(tmp_path: Path, features: FeatureSet, elements: tuple[str, ...]) -> None:
    potential = trained(features, elements)
    text, _ = polymlp_yaml(potential)
    (tmp_path / "polymlp.yaml").write_text(text)
    atoms = emt_set(2, 1, elements, 3.8).configurations[1].atoms
    energy, forces, stress = by_pypolymlp(tmp_path / "polymlp.yaml", atoms, potential.elements)
    expected = potential.predict(atoms)
    assert np.allclose(forces, expected.forces_eV_per_A, atol=1e-9)
    assert np.allclose(stress, expected.stress_eV_per_A3, atol=1e-11)
    stored = yaml.safe_load(text)
    atomic = dict(zip(stored["elements"], stored["atomic_energy"], strict=True))
    total = energy + sum(atomic[symbol] for symbol in atoms.get_chemical_symbols())
    assert total == pytest.approx(expected.energy_eV, abs=1e-9)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    potential = trained(FEATURES[0], ("Cu", "Au"))
    text, notes = polymlp_yaml(potential)
    assert "Cu-Au" in notes[0]
    assert all(f"# {note}" in text for note in notes)
    reach = {part.split()[0]: float(part.split()[1]) for part in notes[0].split("nearer than ")[1].split(", ")}
    (tmp_path / "polymlp.yaml").write_text(text)
    for distance, same in ((reach["Cu-Au"] + 0.01, True), (reach["Cu-Au"] - 0.2, False)):
        pair = Atoms("CuAu", [[0, 0, 0], [distance, 0, 0]], cell=[20] * 3, pbc=True)
        forces = by_pypolymlp(tmp_path / "polymlp.yaml", pair, potential.elements)[1]
        assert np.allclose(forces, potential.predict(pair).forces_eV_per_A, atol=1e-9) == same


def test_numpy_prints_as_before_and_other_backends_are_refused() -> None:
    before = np.get_printoptions()
    polymlp_yaml(trained(FEATURES[0], ("Ni",)))
    assert np.get_printoptions() == before
    with pytest.raises(InvalidInputError, match="only a potential of backend polymlp"):
        polymlp_yaml(ShiftedEMT())
