from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from pymatgen.io.ase import AseAtomsAdaptor

from mlip_autopipe.analysis.displacements import mean_square_displacements, nearest_neighbour_distance
from mlip_autopipe.analysis.equilibrium import equilibrium_state
from mlip_autopipe.analysis.equilibrium_gates import equilibrium_gates
from mlip_autopipe.analysis.npt_run import NPTRun
from mlip_autopipe.analysis.symmetry import crystal_symmetry
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.trajectory import Trajectory

# 32 atoms, 300 K: 240 ps give 3.61125 +- 0.00006 A
COPPER_A = 3.61125
COPPER_B_GPA = 122.2


def run_of(stresses, target=0.0, dof=None):
    n = len(stresses)
    return NPTRun(
        cells_A=np.tile(10 * np.eye(3), (n, 1, 1)),
        energies_eV=np.zeros(n),
        temperatures_K=np.full(n, 300.0),
        masses_amu=np.full(40, 27.0),
        target_temperature_K=300.0,
        target_pressure_GPa=target,
        stresses_GPa=stresses,
        kinetic_degrees_of_freedom=dof,
    )


def test_pressure_is_virial_plus_mean_kinetic_part():
    stress = np.array([[-1.0, -2.0, -3.0, 0.4, 0.5, 0.6]])
    kinetic = 39 * 8.617333262e-5 * 300 * 160.2176634 / 1000
    assert run_of(stress).pressures_GPa == pytest.approx(2 + kinetic)
    assert run_of(stress, dof=120).pressures_GPa == pytest.approx(2 + kinetic * 40 / 39)
    np.testing.assert_allclose(run_of(stress, target=1.5).pressures_GPa, run_of(stress).pressures_GPa)


def test_stress_excess_vanishes_on_target():
    kinetic = 39 * 8.617333262e-5 * 300 * 160.2176634 / 1000
    stress = np.array([[kinetic - 4.0, kinetic - 4.0, kinetic - 4.0, 0.1, 0.2, 0.3]])
    excess = run_of(stress, target=4.0).stress_excess_GPa[0]
    np.testing.assert_allclose(excess, [[0, 0.3, 0.2], [0.3, 0, 0.1], [0.2, 0.1, 0]], atol=1e-12)


def test_copper_by_molecular_dynamics(tmp_path):
    """Five picoseconds of 32 atoms: lattice constant to 0.03 %, the error covers a run fifty times as long."""
    atoms = bulk("Cu", a=3.6, cubic=True).repeat(2)
    sites = atoms.get_scaled_positions()
    settings = MDSettings(ensemble="npt", temperature_K=300, time_step_fs=4, compressibility_per_GPa=0.0075, seed=3)
    run_md(settings, atoms, EMT(), 1250, trajectory_path=tmp_path / "md.h5", frame_interval=10)
    with Trajectory(tmp_path / "md.h5") as trajectory:
        positions, cells = trajectory.read(), np.asarray(trajectory.cells)
        energies, temperatures = np.asarray(trajectory.energies_eV), np.asarray(trajectory.temperatures_K)
    stresses = []
    frame = atoms.copy()
    frame.calc = EMT()
    for place, cell in zip(positions, cells, strict=True):
        frame.set_cell(cell)
        frame.positions[:] = place
        stresses.append(frame.get_stress() / units.GPa)
    run = NPTRun(
        cells_A=cells,
        energies_eV=energies,
        temperatures_K=temperatures,
        masses_amu=atoms.get_masses(),
        target_temperature_K=300.0,
        stresses_GPa=np.array(stresses),
        repetitions=(2, 2, 2),
        rotations=crystal_symmetry(AseAtomsAdaptor.get_structure(bulk("Cu", cubic=True))).rotations,
        reference_cell_A=atoms.cell.array,
    )
    state = equilibrium_state(run)
    a, modulus = state.lattice_parameters["a_A"], state.bulk_modulus_GPa
    assert abs(a.value - COPPER_A) < 2.5 * a.stderr
    assert a.stderr < 3e-4 * COPPER_A
    assert abs(modulus.value - COPPER_B_GPA) < 2.5 * modulus.stderr
    assert modulus.stderr < 0.15 * COPPER_B_GPA
    squares = mean_square_displacements(positions, cells, sites)
    gates = equilibrium_gates(run, state, squares, nearest_neighbour_distance(atoms.cell.array, sites))
    assert all(gate.passed for gate in gates), gates
