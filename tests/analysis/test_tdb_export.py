from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from mlip_autopipe.analysis.cluster_expansion import fit_cluster_expansion
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.phase_boundaries import PhaseBoundaries
from mlip_autopipe.analysis.phase_slices import PhaseInterval, TemperatureSlice
from mlip_autopipe.analysis.results import GateResult, ValueWithError
from mlip_autopipe.analysis.solution_model import SolutionModel
from mlip_autopipe.analysis.tdb_export import J_PER_MOL_PER_EV, describe_solution, tdb_text
from mlip_autopipe.errors import InvalidInputError

from .lattice_models import NEIGHBOURS, cluster_space, enumerated, primitive

pytest.importorskip("icet")

ENTHALPIES, SLOPES = (0.11, -0.03, 0.02), (2e-5, -1e-5, 4e-6)
ENDS = (0.004, 0.0)


@pytest.fixture(scope="module")
def expansion():
    """B2 and the pure elements as ground states."""
    structures = enumerated("bcc", 4)
    pairs = np.array([cluster_space("bcc", (2.9,)).get_cluster_vector(atoms)[2] for atoms in structures])
    return fit_cluster_expansion(primitive("bcc"), structures, 0.01 * NEIGHBOURS["bcc"] / 2 * (pairs - 1))


def free_energy(x, kelvin):
    mixing = (
        x
        * (1 - x)
        * sum((a + b * kelvin) * (1 - 2 * x) ** k for k, (a, b) in enumerate(zip(ENTHALPIES, SLOPES, strict=True)))
    )
    entropy = -(x * np.log(np.maximum(x, 1e-300)) + (1 - x) * np.log(np.maximum(1 - x, 1e-300)))
    return (1 - x) * ENDS[0] + x * ENDS[1] + mixing - BOLTZMANN_EV_PER_K * kelvin * entropy


def diagram(kelvin=(600.0, 900.0, 1200.0)):
    x = np.linspace(0, 1, 21)
    whole = (PhaseInterval("solution", ValueWithError(0.0, 0.0), ValueWithError(1.0, 0.0)),)
    slices = tuple(TemperatureSlice(t, whole, (), tuple(x), tuple(free_energy(x, t)), 0.0) for t in kelvin)
    baseline = SolutionModel(("Au", "Cu"), (0.1, -0.02), ENDS)
    return PhaseBoundaries(("Au", "Cu"), 250, 100, slices, (), None, baseline, (GateResult("fine", True, ""),))


def test_the_coefficients_of_the_solution_are_found_again(expansion):
    found = describe_solution(expansion, diagram())
    np.testing.assert_allclose(found.enthalpies_eV, ENTHALPIES, atol=1e-9)
    np.testing.assert_allclose(found.slopes_eV_per_K, SLOPES, atol=1e-12)
    assert found.rms_error_eV < 1e-12
    # with one temperature nothing can be said of its influence
    one = describe_solution(expansion, diagram((800.0,)))
    assert one.enthalpies_eV == (0.1, -0.02)
    assert one.slopes_eV_per_K == (0.0, 0.0)
    assert one.n_points == 0


def test_the_text_holds_the_free_energies(expansion):
    """Evaluated as a program would: the sum of the parameters and the ideal entropy, in J/mol."""
    text = tdb_text(expansion, diagram())
    found = dict(re.findall(r"PARAMETER (\S+) 1 (\S+?); 6000 N !", text))
    x, kelvin = 0.3, 750.0
    value = (1 - x) * float(found["G(SOLUTION,AU;0)"]) + x * float(found["G(SOLUTION,CU;0)"])
    for k in range(3):
        constant, slope = re.fullmatch(r"([+-][\d.]+)([+-][\d.]+)\*T", found[f"L(SOLUTION,AU,CU;{k})"]).groups()
        value += x * (1 - x) * (1 - 2 * x) ** k * (float(constant) + float(slope) * kelvin)
    value += J_PER_MOL_PER_EV * BOLTZMANN_EV_PER_K * kelvin * (x * np.log(x) + (1 - x) * np.log(1 - x))
    assert value == pytest.approx(J_PER_MOL_PER_EV * free_energy(x, kelvin), abs=1e-2)
    # B2: eight bonds of 0.02 eV per pair of atoms that are unlike
    assert float(found["G(AUCU,AU:CU;0)"]) == pytest.approx(-2 * 0.08 * J_PER_MOL_PER_EV, rel=1e-4)
    assert "PHASE AUCU % 2 1 1 !" in text
    assert all(len(line) < 80 for line in text.splitlines())
    assert all(line.endswith("!") or line.startswith("$") for line in text.splitlines())


def test_phases_of_one_name_are_told_apart(expansion):
    (b2,) = [state for state in expansion.ground_states if len(set(state.species)) == 2]
    doubled = replace(
        expansion,
        ground_states=(*expansion.ground_states, b2),
        ground_state_energies_eV=(*expansion.ground_state_energies_eV, -0.05),
    )
    phases = re.findall(r"PHASE (\S+) %", tdb_text(doubled, diagram()))
    assert phases == ["SOLUTION", "AUCU", "AUCU_2"]


def test_a_diagram_without_temperatures_gives_no_file(expansion):
    with pytest.raises(InvalidInputError, match="its gates say why"):
        tdb_text(expansion, replace(diagram(), slices=()))
    with pytest.raises(InvalidInputError, match="two elements"):
        describe_solution(expansion, replace(diagram(), baseline=None))
