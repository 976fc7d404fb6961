"""Fits that keep the ground states of what they were fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.analysis._expansion_fit import pruned, ridge
from mlip_autopipe.analysis._expansion_ground_states import MOST_ERROR, keep_ground_states
from mlip_autopipe.analysis._expansion_spaces import ladder
from mlip_autopipe.analysis.cluster_expansion import fit_cluster_expansion
from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.analysis.lattice_decoration import read_decoration

from .lattice_models import ELEMENTS, cluster_space, enumerated, parent, primitive

pytest.importorskip("icet")


@pytest.fixture(scope="module")
def alloy():
    """Many-body energies that pairs and few triplets cannot hold: fractions, energies, and correlations too few."""
    structures = enumerated("fcc", 6)
    space = cluster_space("fcc", (5.5, 4.2, 3.0))
    vectors = np.array([space.get_cluster_vector(atoms) for atoms in structures])
    rng = np.random.default_rng(8)
    parameters = np.concatenate([[0, 0, 0.02, -0.01], rng.normal(0, 0.004, vectors.shape[1] - 4)])
    energies = vectors @ parameters
    decorations = [read_decoration(atoms, parent("fcc"), ELEMENTS) for atoms in structures]
    fractions = np.array([one.fractions(2) for one in decorations])
    alloyed = fractions.max(axis=1) < 1
    ends = np.array([energies[fractions[:, k] == 1].min() for k in range(2)])
    energies = energies - fractions @ ends
    return structures, fractions, energies, ladder(parent("fcc"), ELEMENTS, decorations, int(alloyed.sum()))[1]


def kept_and_plain(alloy, level, error_eV):
    _, fractions, energies, spaces = alloy
    alloyed = fractions.max(axis=1) < 1
    weights = np.ones(int(alloyed.sum()))
    first = ridge(spaces[level].of(alloyed), energies[alloyed], weights)
    kept = keep_ground_states(spaces[level], fractions, energies, np.zeros_like(energies), weights, first, error_eV)
    return kept, pruned(spaces[level].of(alloyed), energies[alloyed], weights, first)


def hulls(alloy, predictions):
    _, fractions, energies, _ = alloy
    return set(convex_hull(fractions, energies).vertices), set(convex_hull(fractions, predictions).vertices)


def test_ground_states_that_a_fit_had_lost_are_found_again_at_little_cost(alloy):
    better = 0
    for level in range(len(alloy[3])):
        plain_kept, plain = kept_and_plain(alloy, level, np.inf)
        np.testing.assert_array_equal(plain_kept.fit.parameters, plain.parameters)
        assert plain_kept.growth == 1.0
        error = 0.5 * plain_kept.mismatch_eV
        kept, _ = kept_and_plain(alloy, level, error)
        assert kept.growth <= MOST_ERROR
        if kept.mismatch_eV < plain_kept.mismatch_eV:
            better += 1
            assert kept.mismatch_eV <= error
            given, found = hulls(alloy, kept.predictions_eV)
            assert (kept.mismatch_eV == 0) == (given == found)
        else:
            np.testing.assert_array_equal(kept.fit.parameters, plain.parameters)
    assert better > 0


def test_what_ground_states_cost_is_in_the_error(alloy, monkeypatch):
    structures, _, energies, _ = alloy
    plain = fit_cluster_expansion(primitive("fcc"), structures, energies)

    def dearer(*given):
        from dataclasses import replace

        return replace(keep_ground_states(*given), growth=1.2)

    monkeypatch.setattr("mlip_autopipe.analysis.cluster_expansion.keep_ground_states", dearer)
    found = fit_cluster_expansion(primitive("fcc"), structures, energies)
    assert found.cross_validation_error_eV == pytest.approx(1.2 * plain.cross_validation_error_eV)
    np.testing.assert_allclose(found.covariance_eV2, 1.44 * plain.covariance_eV2)
