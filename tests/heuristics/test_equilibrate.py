"""Rules of the equilibrate goal: a difference needs two sides, and a cell must be large."""

import numpy as np
import pytest

from mlip_autopipe.heuristics.engine import HeuristicEngine
from mlip_autopipe.schemas.loading import parse_user_config


def plan(**changes):
    user = {
        "project_name": "x",
        "target_system": {"elements": ["Cu"], "crystal_structure": "fcc"},
        "simulation_goal": "equilibrate",
        "reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
    }
    return HeuristicEngine().expand(parse_user_config(user | changes))


def test_every_asked_temperature_has_runs_on_both_sides():
    found = plan(temperatures_K=[600, 300]).equilibrate
    assert found.expansion_at_K == [300, 600]
    assert found.temperatures_K == [200, 300, 400, 600, 800]


def test_room_temperature_unless_something_is_asked():
    assert plan().equilibrate.expansion_at_K == [300]


@pytest.mark.parametrize(("element", "structure"), [("Cu", "fcc"), ("Cu", "hcp"), ("Ni", "bcc")])
def test_the_cell_holds_a_hundred_atoms_and_is_compact(element, structure):
    from pymatgen.core import Structure

    system = plan(target_system={"elements": [element], "crystal_structure": structure})
    primitive = Structure.from_dict(system.material.structure)
    cell = np.array(system.equilibrate.supercell) @ primitive.lattice.matrix
    n_atoms = abs(np.linalg.det(system.equilibrate.supercell)) * len(primitive)
    assert 100 <= n_atoms <= 180
    lengths = np.linalg.norm(cell, axis=1)
    assert lengths.max() < 1.5 * lengths.min()


def test_the_budget_covers_the_checks():
    from mlip_autopipe.flows.otf import reserved_labels

    system = plan()
    assert reserved_labels(system) == 3 * system.equilibrate.check_labels
    assert system.budget.max_reference_calculations > reserved_labels(system)
