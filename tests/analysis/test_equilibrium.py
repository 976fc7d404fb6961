from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.transform import Rotation

from mlip_autopipe.analysis.equilibrium import equilibrium_state
from mlip_autopipe.analysis.npt_run import NPTRun
from mlip_autopipe.analysis.symmetry import crystal_symmetry
from mlip_autopipe.errors import AnalysisError

from .exact_crystal import GPA, ExactCrystal
from .series import autoregressive

CRYSTAL = ExactCrystal()
CUBIC = crystal_symmetry(AseAtomsAdaptor.get_structure(bulk("Cu", cubic=True))).rotations


def exact_run(crystal=CRYSTAL, n=1500, seed=0, tau=20.0, stresses=True, **options):
    """Isotropic frames of the exactly known crystal, as 3 x 3 x 3 cubic cells; volumes relax slowly."""
    v, u2 = crystal.sample(n, seed, tau)
    pressure = crystal.virial_pressure_GPa(v, u2)
    rng = np.random.default_rng(seed + 50_000)
    return NPTRun(
        cells_A=np.cbrt(v)[:, None, None] * np.eye(3),
        energies_eV=crystal.energy(v, u2),
        temperatures_K=rng.normal(crystal.temperature_K, 20, n),
        masses_amu=np.full(crystal.n_atoms, 63.546),
        target_temperature_K=crystal.temperature_K,
        target_pressure_GPa=crystal.pressure_GPa,
        stresses_GPa=-pressure[:, None] * np.array([1, 1, 1, 0, 0, 0]) if stresses else None,
        repetitions=(3, 3, 3),
        rotations=CUBIC,
        kinetic_degrees_of_freedom=3 * crystal.n_atoms,
        **options,
    )


@pytest.mark.parametrize("stresses", [True, False])
@pytest.mark.parametrize("crystal", [CRYSTAL, replace(CRYSTAL, n_atoms=32, temperature_K=600.0, pressure_GPa=5.0)])
def test_volume_and_lattice_constant_are_exact_and_their_errors_hold(crystal, stresses):
    truth = crystal.mean_volume() / crystal.n_atoms
    states = [equilibrium_state(exact_run(crystal, seed=s, stresses=stresses)) for s in range(150)]
    error = np.array([s.volume_A3_per_atom.value - truth for s in states])
    stderr = np.array([s.volume_A3_per_atom.stderr for s in states])
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))
    assert 0.57 < np.mean(np.abs(error) < stderr) < 0.80
    a = np.array([s.lattice_parameters["a_A"].value for s in states])
    # the crystals' cells are 3 x 3 x 3 cubes, whatever is in them
    difference = 3 * a / np.cbrt(crystal.mean_volume()) - 1
    assert abs(difference.mean()) < 3e-5 + 4 * difference.std() / np.sqrt(len(a))


def test_the_pressure_makes_the_error_many_times_smaller():
    plain, better = (equilibrium_state(exact_run(stresses=s)).volume_A3_per_atom.stderr for s in (False, True))
    assert better < plain / 10


def test_bulk_modulus_by_both_ways():
    truth = CRYSTAL.bulk_modulus_GPa()
    states = [equilibrium_state(exact_run(seed=s)) for s in range(120)]
    slope = np.array([s.bulk_modulus_GPa for s in states])
    fluctuation = np.array([s.bulk_modulus_fluctuation_GPa for s in states])
    assert slope[:, 0].mean() == pytest.approx(truth, rel=0.015)
    assert 0.57 < np.mean(np.abs(slope[:, 0] - truth) < slope[:, 1]) < 0.80
    # a wide and skewed distribution; its correction is of first order only
    assert np.median(fluctuation[:, 0]) == pytest.approx(truth, rel=0.10)
    assert np.mean(np.abs(fluctuation[:, 0] - truth) < 2 * fluctuation[:, 1]) > 0.85
    assert slope[:, 1].mean() < fluctuation[:, 1].mean() / 5
    without = equilibrium_state(exact_run(stresses=False))
    assert without.bulk_modulus_GPa == without.bulk_modulus_fluctuation_GPa


def test_density_energy_temperature_and_counts():
    run = exact_run(n=3000)
    state = equilibrium_state(run, n_discarded=500)
    assert (state.n_frames, state.n_discarded) == (2500, 500)
    mass_g, volume_cm3 = 63.546 * 1.66053906660e-24, state.volume_A3_per_atom.value * 1e-24
    assert state.density_g_per_cm3.value == pytest.approx(mass_g / volume_cm3)
    relative = state.volume_A3_per_atom.stderr / state.volume_A3_per_atom.value
    assert state.density_g_per_cm3.stderr / state.density_g_per_cm3.value == pytest.approx(relative)
    assert state.energy_eV_per_atom.value == pytest.approx(run.energies_eV[500:].mean() / 108)
    assert abs(state.temperature_K.value - 300) < 4 * state.temperature_K.stderr
    assert abs(state.pressure_GPa.value) < 4 * state.pressure_GPa.stderr
    assert state.effective_samples > 10 * state.effective_volume_samples
    assert state.volume_series_A3.mean() == pytest.approx(state.volume_A3_per_atom.value)


def test_the_transient_is_left_out():
    run = exact_run(n=2000)
    swelling = 1 - 0.05 * np.exp(-np.arange(2000) / 60)
    changed = replace(run, cells_A=run.cells_A * swelling[:, None, None])
    state = equilibrium_state(replace(changed, stresses_GPa=None))
    assert 100 <= state.n_discarded <= 1000
    assert abs(state.volume_A3_per_atom.value * 108 - CRYSTAL.mean_volume()) < 4 * 108 * state.volume_A3_per_atom.stderr


def test_cubic_parameters_are_equal_and_angles_exact():
    state = equilibrium_state(exact_run())
    parameters = state.lattice_parameters
    assert state.free_parameters == ("a_A",)
    assert parameters["a_A"] == parameters["b_A"] == parameters["c_A"]
    assert parameters["alpha_deg"] == (90.0, 0.0)
    assert state.shape_sampled
    assert not state.warnings


def hexagonal_run(n=4000, seed=0, anisotropic=True, target_GPa=0.0):
    """Hexagonal cells with known stiffness: strains are Gaussian, the stress follows them with fast noise.

    Energy per volume E = e' S e / 2 of the strains along x, y (noise kept symmetric only on average) and z.
    """
    rng = np.random.default_rng(seed)
    stiffness = np.array([[60.0, 25.0, 20.0], [25.0, 60.0, 20.0], [20.0, 20.0, 65.0]])
    cell = bulk("Mg").repeat((6, 6, 4))
    reference = cell.cell.array
    volume = abs(np.linalg.det(reference))
    covariance = 8.617333262e-5 * 300 * GPA / volume * np.linalg.inv(stiffness)
    if anisotropic:
        strain = autoregressive(20, n, repeats=3, seed=seed + 50_000).T @ np.linalg.cholesky(covariance).T
    else:
        strain = 0.003 * rng.standard_normal(n)[:, None] * np.ones(3)
    true_strain = np.array([0.010, 0.010, 0.004])
    stretches = (1 + true_strain) * (1 + strain)
    stress = strain @ stiffness + rng.normal(0, 0.2, (n, 3))
    dof = 3 * len(cell) - 3
    cells = reference * stretches[:, None, :]
    kinetic = dof / 3 * 8.617333262e-5 * 300 * GPA / np.abs(np.linalg.det(cells))
    stresses = np.concatenate([stress + kinetic[:, None] - target_GPa, np.zeros((n, 3))], axis=1)
    run = NPTRun(
        cells_A=cells,
        energies_eV=rng.normal(0, 1, n),
        temperatures_K=rng.normal(300, 10, n),
        masses_amu=cell.get_masses(),
        target_temperature_K=300.0,
        target_pressure_GPa=target_GPa,
        stresses_GPa=stresses,
        repetitions=(6, 6, 4),
        rotations=crystal_symmetry(AseAtomsAdaptor.get_structure(bulk("Mg"))).rotations,
        reference_cell_A=reference,
    )
    a, c = bulk("Mg").cell.lengths()[[0, 2]]
    return run, a * (1 + true_strain[0]), c * (1 + true_strain[2])


@pytest.mark.parametrize("target", [0.0, 10.0])
def test_both_constants_of_a_hexagonal_crystal(target):
    score, plain = [], []
    for seed in range(100):
        run, a, c = hexagonal_run(1500, seed, target_GPa=target)
        state = equilibrium_state(run)
        assert state.free_parameters == ("a_A", "c_A")
        assert state.shape_sampled
        found = [state.lattice_parameters[k] for k in ("a_A", "c_A")]
        score.append([(f.value - t) / f.stderr for f, t in zip(found, (a, c), strict=True)])
        plain.append([f.stderr for f in found])
        assert state.lattice_parameters["b_A"].value == pytest.approx(found[0].value, rel=1e-12)
        assert state.lattice_parameters["gamma_deg"].value == pytest.approx(120, abs=1e-9)
    held = np.mean(np.abs(score) < 1, axis=0)
    assert ((held > 0.55) & (held < 0.82)).all()
    assert (np.abs(np.mean(score, axis=0)) < 0.4).all()
    without = equilibrium_state(replace(run, stresses_GPa=None))
    assert np.mean(plain, axis=0)[0] < without.lattice_parameters["a_A"].stderr / 3


def test_an_isotropic_barostat_does_not_find_the_shape():
    run, _, _ = hexagonal_run(anisotropic=False)
    state = equilibrium_state(run)
    assert not state.shape_sampled
    assert "1 of the 2 strains" in state.warnings[0]
    assert "GPa" in state.warnings[0]
    assert state.lattice_parameters["c_A"].value / state.lattice_parameters["a_A"].value == pytest.approx(
        run.cells_A[0, 2, 2] / 4 / np.linalg.norm(run.cells_A[0, 0]) * 6, rel=1e-9
    )


def test_conventional_cell_of_a_primitive_supercell():
    run = exact_run(n=400)
    primitive = bulk("Cu", a=3.6)
    structure = AseAtomsAdaptor.get_structure(primitive)
    supercell = primitive.repeat(3).cell.array
    cells = supercell * (run.cells_A[:, :1, :1] / 10.8)
    changed = replace(
        run,
        cells_A=cells,
        masses_amu=np.full(27, 63.546),
        reference_cell_A=supercell,
        rotations=crystal_symmetry(structure).rotations,
        conventional=[[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
        kinetic_degrees_of_freedom=27 * 3,
        stresses_GPa=None,
    )
    state = equilibrium_state(changed)
    a = state.lattice_parameters["a_A"].value
    assert state.lattice_parameters["alpha_deg"].value == pytest.approx(90)
    assert a**3 / 4 == pytest.approx(state.volume_A3_per_atom.value, rel=1e-4)


def test_rotated_coordinates_do_not_matter():
    """Cell, stress and operations turned together give the same answer."""
    run, _, _ = hexagonal_run(600)
    turn = Rotation.from_euler("xyz", [0.3, -0.5, 1.1]).as_matrix()
    voigt = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    tensors = np.array([np.diag(s[:3]) for s in run.stresses_GPa])
    turned_stress = turn @ tensors @ turn.T
    other = replace(
        run,
        cells_A=run.cells_A @ turn.T,
        reference_cell_A=run.reference_cell_A @ turn.T,
        rotations=turn @ run.rotations @ turn.T,
        stresses_GPa=np.stack([turned_stress[:, i, j] for i, j in voigt], axis=1),
    )
    one, two = equilibrium_state(run), equilibrium_state(other)
    for name in ("a_A", "c_A"):
        np.testing.assert_allclose(two.lattice_parameters[name], one.lattice_parameters[name], rtol=1e-7)


def test_wrong_input_is_refused():
    run = exact_run(n=100)
    with pytest.raises(AnalysisError, match=r"stresses_GPa of 100 frames must have the shape \(100, 6\)"):
        replace(run, stresses_GPa=np.zeros((99, 6)))
    with pytest.raises(AnalysisError, match="energies_eV holds"):
        replace(run, energies_eV=np.full(100, np.nan))
    with pytest.raises(AnalysisError, match="positive target temperature"):
        replace(run, target_temperature_K=0.0)
    with pytest.raises(AnalysisError, match="cell that changes"):
        equilibrium_state(replace(run, cells_A=np.tile(10 * np.eye(3), (100, 1, 1))))
    with pytest.raises(AnalysisError, match="cell that changes"):
        equilibrium_state(run, n_discarded=95)
    with pytest.raises(AnalysisError, match="no operations of the lattice"):
        equilibrium_state(replace(run, rotations=Rotation.from_euler("xyz", [[0.3, -0.5, 1.1]]).as_matrix()))
    with pytest.raises(AnalysisError, match="holds no stresses"):
        _ = replace(run, stresses_GPa=None).pressures_GPa
