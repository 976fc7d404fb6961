"""Convex hulls: against pymatgen, what must not change them, and entries that lie on lines and planes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.analysis.hull import TOLERANCE_eV, convex_hull
from mlip_autopipe.errors import InvalidInputError

ELEMENTS = ("Al", "Cu", "Ni", "Zn")

systems = st.tuples(st.integers(2, 4), st.integers(2, 9), st.sampled_from([0.003, 0.1, 1.0]), st.integers(0, 2**32 - 1))
few = settings(max_examples=40, deadline=None)


def random_entries(d, largest, scatter_eV, seed, n=60):
    """Return (n, d) numbers of atoms and energies per atom; several entries share a composition."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, largest, (n, d))
    counts[counts.sum(axis=1) == 0, 0] = 1
    counts = np.concatenate([np.eye(d, dtype=int), counts])
    x = counts / counts.sum(axis=1, keepdims=True)
    energies = -0.5 * (1 - (x**2).sum(axis=1)) + scatter_eV * rng.normal(size=len(x)) + x @ rng.normal(-4, 2, d)
    return counts, x, energies


def phase_diagram(counts, energies):
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    entries = [
        PDEntry(Composition(dict(zip(ELEMENTS, map(int, row), strict=False))), energy * row.sum())
        for row, energy in zip(counts, energies, strict=True)
    ]
    return entries, PhaseDiagram(entries)


@given(systems)
@few
def test_it_is_the_hull_of_pymatgen(system):
    counts, x, energies = random_entries(*system)
    hull = convex_hull(x, energies)
    entries, diagram = phase_diagram(counts, energies)
    np.testing.assert_allclose(
        hull.e_above_hull_eV_per_atom, [diagram.get_e_above_hull(one) for one in entries], rtol=0, atol=1e-10
    )
    np.testing.assert_allclose(
        hull.formation_energies_eV_per_atom,
        [diagram.get_form_energy_per_atom(one) for one in entries],
        rtol=0,
        atol=1e-10,
    )
    # for pymatgen, energies within 1e-5 of each other are equal, and so are then the entries
    place = {id(one): k for k, one in enumerate(entries)}
    assert hull.vertices.tolist() == sorted(place[id(one)] for one in diagram.stable_entries)


@given(systems)
@few
def test_regions_are_planes_below_all_entries_and_decompositions_are_mixtures(system):
    _, x, energies = random_entries(*system)
    hull = convex_hull(x, energies)
    formation = hull.formation_energies_eV_per_atom
    # no entry is below any plane, and each plane touches its corners: together a proof that this is the hull
    heights = formation[:, None] - x @ hull.chemical_potentials_eV.T
    assert heights.min() > -1e-9
    for simplex, column in zip(hull.simplices, heights.T, strict=True):
        np.testing.assert_allclose(column[simplex], 0, atol=1e-9)
    assert set(hull.simplices.ravel()) == set(hull.vertices)
    np.testing.assert_allclose(hull.e_above_hull_eV_per_atom, heights.min(axis=1), atol=1e-9)
    for entry in range(len(x)):
        shares = hull.decomposition(entry)
        assert set(shares) <= set(hull.vertices)
        np.testing.assert_allclose(sum(w * x[k] for k, w in shares.items()), x[entry], atol=1e-9)
        mixture = sum(w * formation[k] for k, w in shares.items())
        assert formation[entry] - mixture == pytest.approx(hull.e_above_hull_eV_per_atom[entry], abs=1e-9)
    assert all(hull.decomposition(k) == {int(k): pytest.approx(1.0)} for k in hull.vertices)


@given(systems, st.integers(0, 2**32 - 1))
@few
def test_what_does_not_change_a_hull(system, seed):
    _, x, energies = random_entries(*system)
    hull = convex_hull(x, energies)
    above = hull.e_above_hull_eV_per_atom
    rng = np.random.default_rng(seed)

    tilted = convex_hull(x, energies + x @ rng.normal(0, 5, x.shape[1]))
    np.testing.assert_allclose(tilted.e_above_hull_eV_per_atom, above, atol=1e-10)
    assert tilted.vertices.tolist() == hull.vertices.tolist()

    order, columns = rng.permutation(len(x)), rng.permutation(x.shape[1])
    moved = convex_hull(x[order][:, columns], energies[order])
    np.testing.assert_allclose(moved.e_above_hull_eV_per_atom, above[order], atol=1e-10)
    assert set(order[moved.vertices]) == set(hull.vertices)

    scaled = convex_hull(x, 1e-3 * energies)
    np.testing.assert_allclose(scaled.e_above_hull_eV_per_atom, 1e-3 * above, atol=1e-12)
    assert scaled.vertices.tolist() == hull.vertices.tolist()

    # all once more, and higher
    twice = convex_hull(np.vstack([x, x]), np.concatenate([energies, energies + 0.1 * rng.random(len(x))]))
    np.testing.assert_allclose(twice.e_above_hull_eV_per_atom[: len(x)], above, atol=1e-10)
    assert twice.vertices.tolist() == hull.vertices.tolist()

    kept = hull.stable | (rng.random(len(x)) < 0.5)
    fewer = convex_hull(x[kept], energies[kept])
    np.testing.assert_allclose(fewer.e_above_hull_eV_per_atom, above[kept], atol=1e-10)


def test_a_binary_by_hand():
    x = np.array([0, 0.25, 0.5, 0.75, 1, 0.5, 0])
    hull = convex_hull(np.column_stack([1 - x, x]), [-3, -3.1, -3.7, -3.5, -4, -3.6, -2.9])
    np.testing.assert_allclose(hull.formation_energies_eV_per_atom, [0, 0.15, -0.2, 0.25, 0, -0.1, 0.1])
    np.testing.assert_allclose(hull.e_above_hull_eV_per_atom, [0, 0.25, 0, 0.35, 0, 0.1, 0.1])
    assert hull.vertices.tolist() == [0, 2, 4]
    assert hull.simplices.tolist() == [[0, 2], [2, 4]]
    np.testing.assert_allclose(hull.chemical_potentials_eV, [[0, -0.4], [-0.4, 0]])
    assert hull.decomposition(3) == {2: pytest.approx(0.5), 4: pytest.approx(0.5)}
    assert hull.decomposition(5) == {2: 1.0}
    assert hull.stable.tolist() == [True, False, True, False, True, False, False]


@pytest.mark.parametrize("formation_eV", [0.3, 0.0])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_only_elements_are_stable(d, formation_eV):
    rng = np.random.default_rng(0)
    x = np.vstack([np.eye(d), rng.dirichlet(np.ones(d), 30)])
    references = rng.normal(-4, 1, d)
    hull = convex_hull(x, x @ references + np.where(x.max(axis=1) == 1, 0, formation_eV))
    assert hull.vertices.tolist() == list(range(d))
    assert hull.simplices.tolist() == [list(range(d))]
    if d > 1:
        np.testing.assert_allclose(hull.e_above_hull_eV_per_atom[d:], formation_eV, atol=1e-12)
    assert convex_hull(np.eye(d), references).vertices.tolist() == list(range(d))


@given(st.integers(2, 4), st.sampled_from([0.0, -4.0, -300.0]), st.integers(0, 2**32 - 1))
@few
def test_mixtures_of_vertices_are_no_vertices(d, reference_eV, seed):
    """Entries on tie lines of compounds, of the elements too, but for rounding: on the hull, and no corners of it."""
    rng = np.random.default_rng(seed)
    compounds = np.eye(d)[rng.permutation(d)] * 0.5 + 0.5 / d
    x = np.vstack([np.eye(d), compounds])
    energies = np.concatenate([np.zeros(d), -rng.uniform(0.3, 1, d)]) + x @ rng.uniform(reference_eV, 0, d)
    ends = rng.integers(0, len(x), (20, 2))
    shares = rng.integers(1, 8, 20)[:, None] / 8
    first = convex_hull(x, energies)
    mixed_x = shares * x[ends[:, 0]] + (1 - shares) * x[ends[:, 1]]
    mixed = (shares[:, 0] * energies[ends[:, 0]]) + (1 - shares[:, 0]) * energies[ends[:, 1]]
    # some of these ends are not neighbours, and their mixture lies above the hull
    order = rng.permutation(len(x) + 20)
    all_x, all_energies = np.vstack([x, mixed_x])[order], np.concatenate([energies, mixed])[order]
    hull = convex_hull(all_x, all_energies)

    def places(vertices, of):
        return {tuple(row) for row in of[vertices].round(12)}

    assert places(hull.vertices, all_x) == places(first.vertices, x)
    again = convex_hull(all_x[::-1], all_energies[::-1])
    np.testing.assert_allclose(again.e_above_hull_eV_per_atom[::-1], hull.e_above_hull_eV_per_atom, atol=1e-11)
    assert places(again.vertices, all_x[::-1]) == places(first.vertices, x)


def test_a_paraboloid_on_a_grid_has_all_its_points():
    """Squares of points in one plane each: Qhull cuts them into triangles, and no corner may get lost."""
    counts = np.array([(i, j, 12 - i - j) for i in range(13) for j in range(13 - i)])
    x = counts / 12
    hull = convex_hull(x, -(1 - (x**2).sum(axis=1)))
    assert hull.vertices.tolist() == list(range(len(x)))
    assert hull.e_above_hull_eV_per_atom.max() == 0
    corners = x[hull.simplices]
    assert abs(np.linalg.det(corners)).sum() == pytest.approx(1)


@pytest.mark.parametrize("reference_eV", [0, -4, -300])
def test_tie_lines_among_many_points_of_a_plane(reference_eV):
    """A facet on which a whole grid of entries lies has its three corners and nothing else."""
    counts = np.array([(i, j, 9 - i - j) for i in range(10) for j in range(10 - i)])
    grid = counts / 9
    compounds = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    x = np.vstack([np.eye(3), grid @ compounds])
    energies = np.concatenate([np.zeros(3), np.full(len(grid), -0.4)]) + x @ [0.3, 0.77, 1] * reference_eV
    hull = convex_hull(x, energies)
    on_corner = 3 + np.flatnonzero(counts.max(axis=1) == 9)
    assert hull.vertices.tolist() == [0, 1, 2, *on_corner]
    np.testing.assert_allclose(hull.e_above_hull_eV_per_atom, 0, atol=1e-11)


def test_all_compounds_of_a_ternary_on_one_line():
    share = np.linspace(0, 1, 11)[1:-1]
    line = np.column_stack([share, 1 - share, np.zeros(9)])  # a binary edge
    section = np.column_stack([share / 2, share / 2, 1 - share])  # from the middle of an edge to a corner
    for compounds in (line, section):
        x = np.vstack([np.eye(3), compounds])
        energies = np.concatenate([np.zeros(3), -share * (1 - share)])
        hull = convex_hull(x, energies)
        assert hull.vertices.tolist() == list(range(12))
        assert abs(np.linalg.det(x[hull.simplices])).sum() == pytest.approx(1)
        entry = convex_hull(np.vstack([x, [0.2, 0.2, 0.6]]), [*energies, 0.0]).decomposition(12)
        np.testing.assert_allclose(sum(w * x[k] for k, w in entry.items()), [0.2, 0.2, 0.6])


def test_five_elements_with_many_points_in_one_plane():
    """Cells of a grid with all corners in one plane, but for rounding: Qhull gives such a hull up at first."""
    counts = np.array([row for row in np.ndindex(*[7] * 5) if sum(row) == 6])
    x = counts / 6
    hull = convex_hull(x, -(1 - (x**2).sum(axis=1)) + x @ np.linspace(-300, -7, 5))
    assert hull.vertices.tolist() == list(range(len(x)))
    assert hull.e_above_hull_eV_per_atom.max() < 1e-10


def test_traces_of_an_element():
    x = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0.5, 0.5 - 1e-5, 1e-5], [0.3, 0.3, 0.4]])
    hull = convex_hull(x, [0, 0, 0, -1, -1 - 1e-5, -0.3])
    assert hull.vertices.tolist() == [0, 1, 2, 3, 4]
    assert convex_hull(x, [0, 0, 0, -1, -1 + 4e-5, -0.3]).vertices.tolist() == [0, 1, 2, 3]


def test_alike_entries_are_stable_together_and_the_first_is_the_vertex():
    x = np.array([[0.5, 0.5], [1, 0], [0.5, 0.5], [0, 1], [0.5, 0.5], [1, 0]])
    hull = convex_hull(x, [-1.0, 0, -1.0, 0, -1.0 + 1e-6, 0])
    assert hull.vertices.tolist() == [0, 1, 3]
    assert hull.stable.tolist() == [True, True, True, True, False, True]
    assert hull.decomposition(4) == {0: 1.0}


def test_energies_of_a_code_with_all_electrons():
    """Energies of half a million eV leave no more than some 1e-10 eV of a difference."""
    x = np.linspace(0, 1, 9)
    energies = -5.2e5 * x - 1.3e4 * (1 - x)
    hull = convex_hull(np.column_stack([1 - x, x]), energies)
    assert hull.vertices.tolist() == [0, 8]
    assert TOLERANCE_eV < 1e-10


@pytest.mark.parametrize(
    ("fractions", "energies", "words"),
    [
        ([[0.5, 0.6], [1, 0]], [0, 0], "entry 0 are .0.5, 0.6."),
        ([[1, 0], [-0.1, 1.1]], [0, 0], "entry 1"),
        ([[1, 0], [np.nan, 1]], [0, 0], "entry 1"),
        ([[1, 0], [0.5, 0.5]], [0, 0], "pure element of column 1"),
        ([[1, 0], [0, 1]], [0, np.inf], "energy of entry 1"),
        ([[1, 0], [0, 1]], [0, 1, 2], "there are 2 entries"),
        ([[1, 0], [0, 1]], [[0, 1]], "more than one set"),
        ([1, 0], [0, 1], r"shape \(2,\)"),
        (np.empty((0, 2)), [], "shape"),
        (np.eye(9), np.zeros(9), "9 elements is too large"),
    ],
)
def test_bad_input(fractions, energies, words):
    with pytest.raises(InvalidInputError, match=words):
        convex_hull(fractions, energies)


def test_input_is_left_alone():
    x, energies = np.array([[1.0, 0], [0, 1], [0.5, 0.5]]), np.array([0.0, 0, -1])
    kept = x.copy(), energies.copy()
    convex_hull(x, energies)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(energies, kept[1])
