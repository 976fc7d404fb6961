from __future__ import annotations

from dataclasses import astuple, fields

import numpy as np
import pytest
from pymatgen.analysis.elasticity import ElasticTensor

from mlip_autopipe.analysis.elastic import fit_elastic_constants, strain_set
from mlip_autopipe.analysis.moduli import born_stability, elastic_moduli, physics_gates
from mlip_autopipe.analysis.strain import choose_strain_directions
from mlip_autopipe.analysis.symmetry import crystal_symmetry, rotate_stiffness
from mlip_autopipe.errors import AnalysisError
from mlip_autopipe.schemas.elastic import ElasticModuli

from .synthetic import CRYSTALS, cubic_tensor, random_tensor

AL = CRYSTALS["Al"][0]
CUBIC = np.asarray(crystal_symmetry(AL).rotations)


def fitted(tensor, rotations=CUBIC, noise=0.0, half=True, seed=0):
    strains = strain_set(choose_strain_directions(rotations), 0.005, half)
    stresses = strains @ tensor + np.random.default_rng(seed).normal(0, noise, strains.shape)
    return fit_elastic_constants(strains, stresses, rotations=rotations)


def moduli_of(fit, structure=AL):
    return elastic_moduli(fit.basis, fit.basis_values, fit.basis_covariance, structure)


def test_field_names_are_those_of_the_document():
    moduli = moduli_of(fitted(cubic_tensor(113.8, 61.6, 31.6)))
    assert [f.name for f in fields(moduli)] == list(ElasticModuli.model_fields)


def test_cubic_formulas():
    c11, c12, c44 = 113.8, 61.6, 31.6
    m = moduli_of(fitted(cubic_tensor(c11, c12, c44)))
    bulk = (c11 + 2 * c12) / 3
    voigt = (c11 - c12 + 3 * c44) / 5
    reuss = 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    shear = (voigt + reuss) / 2
    assert m.bulk_modulus_voigt_GPa.value == pytest.approx(bulk)
    assert m.bulk_modulus_reuss_GPa.value == pytest.approx(bulk)
    assert m.bulk_modulus_VRH_GPa.value == pytest.approx(bulk)
    assert m.shear_modulus_voigt_GPa.value == pytest.approx(voigt)
    assert m.shear_modulus_reuss_GPa.value == pytest.approx(reuss)
    assert m.young_modulus_GPa.value == pytest.approx(9 * bulk * shear / (3 * bulk + shear))
    assert m.poisson_ratio.value == pytest.approx((3 * bulk - 2 * shear) / (6 * bulk + 2 * shear))
    assert m.universal_anisotropy.value == pytest.approx(5 * voigt / reuss - 5)


@pytest.mark.parametrize("name", CRYSTALS)
def test_agrees_with_pymatgen(name):
    structure = CRYSTALS[name][0]
    rotations = crystal_symmetry(structure).rotations
    tensor = random_tensor(rotations, 6)
    m = moduli_of(fitted(tensor, rotations), structure)
    theirs = ElasticTensor.from_voigt(tensor)
    assert m.bulk_modulus_reuss_GPa.value == pytest.approx(theirs.k_reuss, rel=1e-6)
    assert m.shear_modulus_reuss_GPa.value == pytest.approx(theirs.g_reuss, rel=1e-6)
    assert m.shear_modulus_VRH_GPa.value == pytest.approx(theirs.g_vrh, rel=1e-6)
    assert m.universal_anisotropy.value == pytest.approx(theirs.universal_anisotropy, rel=1e-5, abs=1e-7)
    assert m.poisson_ratio.value == pytest.approx(theirs.homogeneous_poisson, rel=1e-6)


def test_debye_temperature_of_aluminium():
    # Measured constants near 0 K (10.1103/PhysRev.114.687) give the Debye temperature of the heat capacity, 428 K.
    structure = AL.copy()
    structure.scale_lattice(4.032**3)
    m = moduli_of(fitted(cubic_tensor(114.3, 61.9, 31.6)), structure)
    assert m.debye_temperature_K.value == pytest.approx(430, abs=5)


def test_errors_follow_the_spread_of_repeated_fits():
    tensor = cubic_tensor(113.8, 61.6, 31.6)
    names = ("bulk_modulus_VRH_GPa", "shear_modulus_VRH_GPa", "young_modulus_GPa", "debye_temperature_K")
    center, spread, stated = moduli_of(fitted(tensor)), [], []
    for seed in range(150):
        m = moduli_of(fitted(tensor, noise=0.004, half=False, seed=seed))
        spread.append([getattr(m, n).value - getattr(center, n).value for n in names])
        stated.append([getattr(m, n).stderr for n in names])
    covered = np.mean(np.abs(spread) < np.array(stated), axis=0)
    assert (covered > 0.55).all()
    assert (covered < 0.80).all()


@pytest.mark.parametrize("constants", [(100, 120, 30), (100, 50, -20), (20, -30, 25), (-50, -60, -10)])
def test_unstable_tensors_are_seen_and_do_not_crash(constants):
    fit = fitted(cubic_tensor(*constants))
    stable, smallest = born_stability(fit.tensor)
    assert not stable
    c11, c12, c44 = constants
    assert smallest == pytest.approx(min(c11 - c12, c11 + 2 * c12, 2 * c44), abs=1e-6)
    moduli = moduli_of(fit)
    assert np.isfinite(np.array(astuple(moduli))).all()
    gates = {gate.name: gate for gate in physics_gates(fit, moduli)}
    assert not gates["born_stable"].passed


def test_singular_tensor_is_refused():
    with pytest.raises(AnalysisError, match="singular"):
        moduli_of(fitted(cubic_tensor(60, 60, 30)))


def test_stability_does_not_depend_on_the_orientation():
    from scipy.spatial.transform import Rotation

    tensor = cubic_tensor(113.8, 61.6, 31.6)
    turned = rotate_stiffness(tensor, Rotation.random(random_state=1).as_matrix())
    assert born_stability(turned)[1] == pytest.approx(born_stability(tensor)[1])


def test_gates_pass_for_sound_data_and_name_what_fails():
    sound = fitted(cubic_tensor(113.8, 61.6, 31.6), noise=0.001)
    assert all(gate.passed for gate in physics_gates(sound, moduli_of(sound)))
    noisy = fitted(cubic_tensor(113.8, 61.6, 31.6), noise=0.3)
    assert "residual_small" in [g.name for g in physics_gates(noisy, moduli_of(noisy)) if not g.passed]
    bare = fitted(cubic_tensor(113.8, 61.6, 31.6), half=False)
    assert [g.name for g in physics_gates(bare, moduli_of(bare)) if not g.passed] == ["errors_determined"]
