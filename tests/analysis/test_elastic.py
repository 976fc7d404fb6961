from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.analysis.elastic import (
    cauchy_from_lagrangian,
    fit_elastic_constants,
    generate_strained_structures,
    lagrangian_from_cauchy,
    pressure,
    strain_set,
)
from mlip_autopipe.analysis.strain import choose_strain_directions, deformation_gradient
from mlip_autopipe.analysis.symmetry import crystal_symmetry, rotate_stiffness
from mlip_autopipe.errors import AnalysisError

from .synthetic import CRYSTALS, cubic_tensor, random_tensor, rotated

CUBIC = np.asarray(crystal_symmetry(CRYSTALS["Al"][0]).rotations)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("constants", [(113.8, 61.6, 31.6), (169.9, 122.6, 76.2), (151.4, 76.4, 56.4)])
def test_known_cubic_constants_are_recovered(constants, half):
    truth = cubic_tensor(*constants)
    strains = strain_set(choose_strain_directions(CUBIC), 0.005, half)
    assert len(strains) == (4 if half else 2)
    fit = fit_elastic_constants(strains, strains @ truth, rotations=CUBIC)
    np.testing.assert_allclose(fit.tensor, truth, atol=1e-6)
    assert fit.errors_determined is half
    assert fit.nonlinearity_determined is half
    assert fit.stderr.max() < 1e-6


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("name", CRYSTALS)
def test_every_crystal_system_in_any_orientation(name, seed):
    structure = rotated(CRYSTALS[name][0], seed)
    rotations = crystal_symmetry(structure).rotations
    truth = random_tensor(rotations, 1)
    strained = generate_strained_structures(structure, amplitude=0.005)
    strains = np.array([s.strain for s in strained])
    fit = fit_elastic_constants(strains, strains @ truth, rotations=rotations)
    np.testing.assert_allclose(fit.tensor, truth, atol=1e-6)
    assert len(fit.basis_values) == CRYSTALS[name][3]
    for item in strained:
        np.testing.assert_allclose(
            item.structure.lattice.matrix, structure.lattice.matrix @ deformation_gradient(item.strain).T
        )
        np.testing.assert_allclose(item.structure.frac_coords, structure.frac_coords)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_rotated_crystal_gives_the_rotated_tensor(seed):
    from scipy.spatial.transform import Rotation

    turn = Rotation.random(random_state=seed).as_matrix()
    rotations = turn @ CUBIC @ turn.T
    truth = rotate_stiffness(cubic_tensor(113.8, 61.6, 31.6), turn)
    strains = strain_set(choose_strain_directions(rotations), 0.005)
    fit = fit_elastic_constants(strains, strains @ truth, rotations=rotations)
    np.testing.assert_allclose(fit.tensor, truth, atol=1e-6)


def test_orthogonal_supercell_of_a_hexagonal_crystal_has_five_constants():
    cell = CRYSTALS["Mg"][0] * [[1, 0, 0], [1, 2, 0], [0, 0, 1]]
    rotations = crystal_symmetry(cell).rotations
    truth = random_tensor(rotations, 2)
    strains = np.array([s.strain for s in generate_strained_structures(cell, half_amplitude_check=False)])
    assert len(strains) == 4
    fit = fit_elastic_constants(strains, strains @ truth, rotations=rotations)
    assert len(fit.basis_values) == 5
    np.testing.assert_allclose(fit.tensor, truth, atol=1e-6)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("name", ["Al", "Mg", "monoclinic"])
def test_residual_stress_and_second_order_response_do_not_bias(name, half):
    rotations = crystal_symmetry(CRYSTALS[name][0]).rotations
    truth = random_tensor(rotations, 3)
    strains = strain_set(choose_strain_directions(rotations), 0.005, half)
    residual = np.array([0.4, -0.3, 0.2, 1.2, -0.1, 0.05])
    second = np.random.default_rng(0).normal(0, 900, (6, 6))
    stresses = strains @ truth + residual + strains**2 @ second
    fit = fit_elastic_constants(strains, stresses, rotations=rotations)
    np.testing.assert_allclose(fit.tensor, truth, atol=1e-6)
    if half:
        np.testing.assert_allclose(fit.residual_stress, residual, atol=1e-9)


def test_noise_gives_honest_errors():
    rng = np.random.default_rng(4)
    truth = cubic_tensor(113.8, 61.6, 31.6)
    strains = strain_set(choose_strain_directions(CUBIC), 0.005)
    covered = []
    for _ in range(200):
        noisy = strains @ truth + rng.normal(0, 0.004, strains.shape)
        fit = fit_elastic_constants(strains, noisy, rotations=CUBIC)
        covered.append([abs(fit.tensor[e] - truth[e]) < fit.stderr[e] for e in ((0, 0), (0, 1), (3, 3))])
        np.testing.assert_allclose(fit.stderr, np.hypot(fit.stderr_fit, fit.stderr_nonlinearity), atol=1e-12)
    assert 0.60 < np.mean(covered) < 0.80


def test_symmetrised_stresses_do_not_pretend_degrees_of_freedom():
    strains = strain_set([[1, 0, 0, 2, 0, 0]], 0.005)
    noise = np.zeros((4, 6))
    noise[:, [0, 3]] = np.random.default_rng(0).normal(0, 0.004, (4, 2))
    noise[:, 1] = noise[:, 2] = np.random.default_rng(1).normal(0, 0.004, 4)
    fit = fit_elastic_constants(strains, strains @ cubic_tensor(114, 62, 32) + noise, rotations=CUBIC)
    assert fit.n_dof == 3


def test_third_order_response_is_stated_as_nonlinearity():
    truth = cubic_tensor(113.8, 61.6, 31.6)
    strains = strain_set(choose_strain_directions(CUBIC), 0.02)
    size = np.linalg.norm(strains, axis=1, keepdims=True)
    fit = fit_elastic_constants(strains, strains @ truth + 30 * size**2 * (strains @ truth), rotations=CUBIC)
    error = np.abs(fit.tensor - truth)
    assert error[0, 0] > 1
    np.testing.assert_allclose(fit.stderr_nonlinearity[0, 0], error[0, 0], rtol=0.05)
    assert (error <= fit.stderr + 1e-9).all()


def test_strains_that_do_not_suffice_are_refused():
    truth = cubic_tensor(114, 62, 32)
    shear_free = strain_set([[1, 0, 0, 0, 0, 0]], 0.005)
    with pytest.raises(AnalysisError, match=r"only 2 of the 3 independent .* add strain directions"):
        fit_elastic_constants(shear_free, shear_free @ truth, rotations=CUBIC)
    one_sided = np.array([[0.005, 0, 0, 0.01, 0, 0]])
    with pytest.raises(AnalysisError, match=r"both signs|add strain"):
        fit_elastic_constants(one_sided, one_sided @ truth, rotations=CUBIC)
    cubic_only = strain_set(choose_strain_directions(CUBIC), 0.005)
    with pytest.raises(AnalysisError, match="of the 21 independent"):
        fit_elastic_constants(cubic_only, cubic_only @ truth)


def test_without_symmetry_all_21_constants_are_fitted():
    rotations = crystal_symmetry(CRYSTALS["triclinic"][0]).rotations
    truth = random_tensor(rotations, 5)
    strains = strain_set(np.diag([1.0, 1, 1, 2, 2, 2]), 0.005)
    np.testing.assert_allclose(fit_elastic_constants(strains, strains @ truth).tensor, truth, atol=1e-6)


def test_wrong_input_is_refused():
    strains = strain_set(choose_strain_directions(CUBIC), 0.005)
    stresses = strains @ cubic_tensor(114, 62, 32)
    with pytest.raises(AnalysisError, match=r"row 1"):
        fit_elastic_constants(strains, np.where(np.arange(4)[:, None] == 1, np.nan, stresses), rotations=CUBIC)
    with pytest.raises(AnalysisError, match="4 strains but 3 stresses"):
        fit_elastic_constants(strains, stresses[:3], rotations=CUBIC)
    with pytest.raises(AnalysisError, match="shape"):
        fit_elastic_constants(strains[:, :3], stresses, rotations=CUBIC)
    with pytest.raises(AnalysisError, match="amplitude"):
        strain_set([[1, 0, 0, 0, 0, 0]], -0.01)
    with pytest.raises(AnalysisError, match="none of them zero"):
        strain_set(np.zeros((1, 6)), 0.005)


def test_pressure_conventions():
    # EAM aluminium at 10 GPa: the conventions differ by the pressure itself.
    lagrangian, cauchy = cubic_tensor(159.4, 81.5, 78.7), cubic_tensor(149.4, 91.5, 68.7)
    np.testing.assert_allclose(cauchy_from_lagrangian(lagrangian, 10.0), cauchy, atol=1e-9)
    np.testing.assert_allclose(lagrangian_from_cauchy(cauchy, 10.0), lagrangian, atol=1e-9)
    assert pressure([-10, -11, -9, 0.3, 0, 0]) == pytest.approx(10)


def test_pressure_conversion_agrees_with_a_model_solid():
    """A solid with W(E) = a tr(E) + C E E / 2 has C as its Lagrangian constants at the pressure that a makes."""
    lagrangian, a = cubic_tensor(160.0, 80.0, 60.0), -10.0
    strains = strain_set(choose_strain_directions(CUBIC), 1e-4)
    stresses = []
    for strain in strains:
        f = deformation_gradient(strain)
        green = (f.T @ f - np.eye(3)) / 2
        voigt = np.array([green[0, 0], green[1, 1], green[2, 2], *(2 * green[[1, 0, 0], [2, 2, 1]])])
        pk2 = lagrangian @ voigt + a * np.array([1, 1, 1, 0, 0, 0])
        second = np.array([[pk2[0], pk2[5], pk2[4]], [pk2[5], pk2[1], pk2[3]], [pk2[4], pk2[3], pk2[2]]])
        cauchy = f @ second @ f.T / np.linalg.det(f)
        stresses.append(cauchy[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
    fit = fit_elastic_constants(strains, np.array(stresses), rotations=CUBIC)
    assert pressure(fit.residual_stress) == pytest.approx(10, abs=1e-4)
    np.testing.assert_allclose(fit.tensor, cauchy_from_lagrangian(lagrangian, 10.0), atol=1e-3)


def test_stillinger_weber_silicon_with_relaxed_ions():
    """Published 0 K values: 151.4, 76.4 and 56.4 GPa."""
    pytest.importorskip("matscipy")
    from ase.optimize import BFGS
    from ase.units import GPa
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import StillingerWeber
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si
    from pymatgen.core import Lattice, Structure
    from pymatgen.io.ase import AseAtomsAdaptor

    silicon = Structure.from_spacegroup(227, Lattice.cubic(5.430949821), ["Si"], [[0, 0, 0]]).get_primitive_structure()
    calculator = Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
    strains, stresses = [], []
    for item in generate_strained_structures(silicon):
        atoms = AseAtomsAdaptor.get_atoms(item.structure)
        atoms.calc = calculator
        assert BFGS(atoms, logfile=None).run(fmax=1e-3, steps=100)
        strains.append(item.strain)
        stresses.append(atoms.get_stress() / GPa)
    assert len(strains) == 4
    fit = fit_elastic_constants(strains, stresses, rotations=crystal_symmetry(silicon).rotations)
    conventional = fit.tensor[[0, 0, 3], [0, 1, 3]]
    np.testing.assert_allclose(conventional, [151.4, 76.4, 56.4], atol=0.5)
    np.testing.assert_allclose(conventional, [151.42, 76.42, 56.45], atol=0.05)
    assert 0 < fit.stderr.max() < 0.1
