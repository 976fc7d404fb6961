from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mlip_autopipe.analysis.strain import (
    MAX_CONDITION_NUMBER,
    choose_strain_directions,
    deformation_gradient,
    stabiliser_sizes,
    strain_matrix,
    voigt_from_matrix,
)
from mlip_autopipe.analysis.symmetry import crystal_symmetry, invariant_tensor_basis

from .synthetic import CRYSTALS, rotated


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("name", CRYSTALS)
def test_fewest_directions_determine_all_constants(name, seed):
    structure, _, _, n_constants, n_directions = CRYSTALS[name]
    rotations = crystal_symmetry(rotated(structure, seed)).rotations
    start = time.perf_counter()
    directions = choose_strain_directions(rotations)
    assert time.perf_counter() - start < 5
    assert directions.shape == (n_directions, 6)
    np.testing.assert_allclose(np.abs(np.linalg.eigvalsh(strain_matrix(directions))).max(axis=1), 1, atol=1e-9)
    kelvin = np.array([1, 1, 1, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
    unit = directions / np.linalg.norm(directions / kelvin, axis=1, keepdims=True)
    design = np.einsum("aij,dj->dia", invariant_tensor_basis(rotations), unit) * kelvin[:, None]
    singular = np.linalg.svd(design.reshape(-1, n_constants), compute_uv=False)
    assert singular[0] / singular[-1] <= MAX_CONDITION_NUMBER


def test_fewer_directions_never_suffice():
    # The lower bound in the docstring: a symmetric n x n block needs n vectors.
    rng = np.random.default_rng(0)
    for name in ("Mg", "forsterite-like", "monoclinic", "triclinic"):
        structure, _, _, n_constants, n_directions = CRYSTALS[name]
        basis = invariant_tensor_basis(crystal_symmetry(structure).rotations)
        design = np.einsum("aij,dj->dia", basis, rng.normal(size=(n_directions - 1, 6)))
        assert np.linalg.matrix_rank(design.reshape(-1, n_constants)) < n_constants


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Al", [8]),
        ("Mg", [24, 4]),
        ("rutile", [8, 4]),
        ("forsterite-like", [4, 4, 4]),
        ("monoclinic", [4, 4, 2, 2]),
    ],
)
def test_directions_keep_as_much_symmetry_as_possible(name, expected):
    for seed in (None, 11):
        rotations = crystal_symmetry(rotated(CRYSTALS[name][0], seed)).rotations
        assert sorted(stabiliser_sizes(choose_strain_directions(rotations), rotations), reverse=True) == expected


def test_the_choice_is_deterministic():
    rotations = crystal_symmetry(CRYSTALS["corundum"][0]).rotations
    np.testing.assert_array_equal(choose_strain_directions(rotations), choose_strain_directions(rotations.copy()))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["Al", "pyrite", "Mg", "corundum", "scheelite", "forsterite-like"]))
def test_the_count_does_not_depend_on_the_orientation(seed, name):
    structure, _, _, _, n_directions = CRYSTALS[name]
    turn = Rotation.random(random_state=seed).as_matrix()
    rotations = turn @ crystal_symmetry(structure).rotations @ turn.T
    directions = choose_strain_directions(rotations)
    assert len(directions) == n_directions
    reference = choose_strain_directions(crystal_symmetry(structure).rotations)
    assert sorted(stabiliser_sizes(directions, rotations)) == sorted(
        stabiliser_sizes(reference, crystal_symmetry(structure).rotations)
    )


def test_conversions():
    voigt = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    matrix = strain_matrix(voigt)
    assert matrix[1, 2] == pytest.approx(0.02)
    assert matrix[0, 1] == pytest.approx(0.03)
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(voigt_from_matrix(matrix), voigt)
    np.testing.assert_allclose(deformation_gradient(voigt), np.eye(3) + matrix)
