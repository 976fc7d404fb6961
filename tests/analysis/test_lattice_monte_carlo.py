from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_decoration import ParentLattice, common_supercell, pure, read_decoration, variants
from mlip_autopipe.analysis.lattice_hamiltonian import lattice_hamiltonian
from mlip_autopipe.analysis.lattice_monte_carlo import (
    free_energy_slopes_eV,
    run_canonical,
    run_semi_grand,
    run_variance_constrained,
)
from mlip_autopipe.analysis.lattice_order import ORDERED, OrderOverlaps
from mlip_autopipe.errors import InvalidInputError

from .lattice_models import (
    ELEMENTS,
    SIXTEEN,
    all_decorations,
    cluster_space,
    conventional,
    decoration,
    enumerated,
    ising,
    many_body,
    ordered,
    parent,
    primitive,
)

pytest.importorskip("icet")
FAST = {"sweeps": 4000, "equilibration": 200, "seed": 3}


def as_atoms(hamiltonian, occupation):
    return Atoms(
        [hamiltonian.elements[k] for k in occupation],
        hamiltonian.parent.positions_A(hamiltonian.vectors, hamiltonian.basis),
        cell=hamiltonian.supercell @ hamiltonian.parent.cell_A,
        pbc=True,
    )


@pytest.mark.parametrize(
    ("name", "elements", "cutoffs", "supercell"),
    [
        ("fcc", ("Au", "Cu"), (4.7, 3.9, 2.8), 4 * np.eye(3, dtype=int)),
        ("bcc", ("Al", "Fe", "Ni"), (4.5, 3.2), [[3, 1, 0], [0, 3, 0], [0, 0, 4]]),
        ("hcp", ("Al", "Mg", "Zn"), (4.6, 3.3, 3.3), np.diag([4, 4, 3])),
    ],
)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_energies_are_those_of_icet(name, elements, cutoffs, supercell, seed):
    """Also the order of the elements: icet's is by atomic number, ours is alphabetical."""
    rng = np.random.default_rng(seed)
    space = cluster_space(name, cutoffs, elements)
    parameters = rng.normal(size=len(space))
    hamiltonian = lattice_hamiltonian(space, parameters, parent(name), elements, supercell)
    occupation = rng.choice(len(elements), hamiltonian.n_sites, p=rng.dirichlet(np.ones(len(elements))))
    expected = space.get_cluster_vector(as_atoms(hamiltonian, occupation)) @ parameters
    assert hamiltonian.energy_eV(occupation) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("elements", [("Au", "Cu"), ("Au", "Cu", "Pd")])
def test_the_energy_that_the_loops_carry_along_is_that_of_the_decoration(elements):
    space = cluster_space("fcc", (4.0, 2.8, 2.8), elements)
    parameters = np.random.default_rng(1).normal(0, 0.02, len(space))
    hamiltonian = lattice_hamiltonian(space, parameters, parent("fcc"), elements, 4 * np.eye(3, dtype=int))
    start = np.arange(64) % len(elements)
    settings_ = {"sweeps": 50, "equilibration": 5, "seed": 2, "n_snapshots": 10}
    kelvin = [300.0, 900.0]
    target = {symbol: 1 / len(elements) for symbol in elements}
    for run in (
        run_canonical(hamiltonian, start, kelvin, **settings_),
        run_semi_grand(hamiltonian, start, kelvin, {"Au": 0.05}, **settings_),
        run_variance_constrained(hamiltonian, start, kelvin, target, **settings_),
    ):
        assert run.acceptance[1] > 0.05
        np.testing.assert_allclose(run.energies_eV[:, -1], hamiltonian.energy_eV(run.occupations), atol=1e-12)
        np.testing.assert_allclose(run.energies_eV[:, 4::5], hamiltonian.energy_eV(run.snapshots), atol=1e-12)
        counts = [np.bincount(row, minlength=len(elements)) / 64 for row in run.occupations]
        np.testing.assert_allclose(run.fractions[:, -1], counts)


def test_independent_sites_follow_the_sign_of_the_chemical_potential():
    hamiltonian = ising("fcc", conventional("fcc", 4), 0.0)
    mu = np.array([-0.1, 0.0, 0.05])
    run = run_semi_grand(hamiltonian, np.zeros(256), np.full(3, 500.0), {"Cu": mu}, **FAST)
    expected = 1 / (1 + np.exp(-mu / (BOLTZMANN_EV_PER_K * 500)))
    assert np.abs((run.composition.mean[:, 1] - expected) / run.composition.stderr[:, 1]).max() < 4
    assert run.composition.stderr[:, 1].max() < 1e-3


def test_independent_sites_of_three_elements():
    space = cluster_space("fcc", (2.8,), ("Au", "Cu", "Pd"))
    hamiltonian = lattice_hamiltonian(
        space, np.zeros(len(space)), parent("fcc"), ("Au", "Cu", "Pd"), conventional("fcc", 4)
    )
    mu = {"Au": 0.03, "Pd": -0.04}
    run = run_semi_grand(hamiltonian, np.zeros(256), [600.0], mu, **FAST)
    expected = softmax(np.array([0.03, 0.0, -0.04]) / (BOLTZMANN_EV_PER_K * 600))
    assert np.abs((run.composition.mean[0] - expected) / run.composition.stderr[0]).max() < 4


@pytest.fixture(scope="module")
def sixteen():
    hamiltonian = many_body(SIXTEEN)
    states = all_decorations(16)
    return hamiltonian, states, 16 * hamiltonian.energy_eV(states), states.sum(axis=1)


@pytest.mark.parametrize("kelvin", [400.0, 1200.0])
def test_semi_grand_runs_agree_with_all_decorations(sixteen, kelvin):
    hamiltonian, states, energies, counts = sixteen
    mu = 0.05
    weights = softmax(-(energies - mu * counts) / (BOLTZMANN_EV_PER_K * kelvin))
    run = run_semi_grand(hamiltonian, states[5], [kelvin], {"Cu": mu}, **{**FAST, "sweeps": 20_000})
    assert abs(run.energy.mean[0] - weights @ energies / 16) < 4 * run.energy.stderr[0]
    assert abs(run.composition.mean[0, 1] - weights @ counts / 16) < 4 * run.composition.stderr[0, 1]
    exact = np.bincount(counts, weights=weights, minlength=17)
    found = np.bincount(np.rint(16 * run.fractions[0, :, 1]).astype(int), minlength=17) / 20_000
    correlated = 2 * run.composition.autocorrelation_time[0, 1]
    np.testing.assert_allclose(found, exact, atol=5 * np.sqrt(correlated * exact.max() / 20_000))


@pytest.mark.parametrize("atoms_of_copper", [4, 7])
def test_canonical_runs_agree_with_all_decorations(sixteen, atoms_of_copper):
    hamiltonian, states, energies, counts = sixteen
    inside = counts == atoms_of_copper
    weights = softmax(-energies[inside] / (BOLTZMANN_EV_PER_K * 600))
    run = run_canonical(hamiltonian, states[inside][0], [600.0], **{**FAST, "sweeps": 20_000})
    assert abs(run.energy.mean[0] - weights @ energies[inside] / 16) < 4 * run.energy.stderr[0]
    assert (run.fractions[0, :, 1] == atoms_of_copper / 16).all()


def test_variance_constrained_runs_agree_with_all_decorations_and_give_the_slope(sixteen):
    hamiltonian, states, energies, counts = sixteen
    kelvin, kappa, target = 800.0, 30.0, 0.3
    weights = softmax(-energies / (BOLTZMANN_EV_PER_K * kelvin) - 16 * kappa * (counts / 16 - target) ** 2)
    run = run_variance_constrained(
        hamiltonian, states[5], [kelvin], {"Cu": target}, kappa=kappa, **{**FAST, "sweeps": 20_000}
    )
    exact = weights @ counts / 16
    assert abs(run.composition.mean[0, 1] - exact) < 4 * run.composition.stderr[0, 1]
    slope, error = free_energy_slopes_eV(run, [target], kappa)
    assert abs(slope[0] - 2 * BOLTZMANN_EV_PER_K * kelvin * kappa * (target - exact)) < 4 * error[0]


def test_the_slope_of_independent_sites_is_that_of_the_ideal_solution():
    hamiltonian = ising("fcc", conventional("fcc", 4), 0.0)
    run = run_variance_constrained(
        hamiltonian, np.zeros(256), [700.0, 700.0], {"Au": [0.8, 0.35]}, **{**FAST, "sweeps": 8000}
    )
    x = run.composition.mean[:, 1]
    slopes, errors = free_energy_slopes_eV(run, [0.2, 0.65])
    expected = BOLTZMANN_EV_PER_K * 700 * np.log(x / (1 - x))
    assert np.abs((slopes - expected) / errors).max() < 4


def test_mchammer_gives_the_same_means():
    from icet import ClusterExpansion
    from mchammer.calculators import ClusterExpansionCalculator
    from mchammer.ensembles import VCSGCEnsemble

    space = cluster_space("fcc", (4.0, 2.8))
    parameters = np.array([0, 0, 0.05, -0.01, 0.02])
    hamiltonian = lattice_hamiltonian(space, parameters, parent("fcc"), ELEMENTS, 4 * np.eye(3, dtype=int))
    start = np.random.default_rng(0).integers(0, 2, 64)
    run = run_variance_constrained(hamiltonian, start, [600.0], {"Cu": 0.4}, kappa=50.0, **FAST)
    atoms = as_atoms(hamiltonian, start)
    calculator = ClusterExpansionCalculator(atoms, ClusterExpansion(space, parameters))
    ensemble = VCSGCEnsemble(atoms, calculator, temperature=600.0, phis={"Cu": -0.8}, kappa=50.0, random_seed=1)
    ensemble.run(64 * 300)
    energies = ensemble.data_container.get("potential")[40:] / 64
    amounts = ensemble.data_container.get("Cu_count")[40:] / 64
    assert energies.mean() == pytest.approx(run.energy.mean[0], abs=4 * 0.12 * energies.std())
    assert amounts.mean() == pytest.approx(run.composition.mean[0, 1], abs=4 * 0.12 * amounts.std())


def test_cumulants_of_the_square_lattice_cross_at_onsagers_temperature():
    """Onsager, 10.1103/PhysRev.65.117: the larger cell is the more ordered one below, and the less ordered above."""
    known = 200 / np.log(1 + np.sqrt(2))
    found = []
    for size in (8, 16):
        hamiltonian = ising("square", conventional("square", size))
        run = run_semi_grand(
            hamiltonian, np.zeros(size**2), known * np.array([0.96, 1.04]), {}, sweeps=12_000, equilibration=500, seed=1
        )
        m = 2 * run.fractions[..., 1] - 1
        found.append(1 - (m**4).mean(axis=1) / (3 * (m**2).mean(axis=1) ** 2))
    below, above = found[1] - found[0]
    assert below > 0 > above


def test_runs_repeat_and_do_not_depend_on_threads():
    hamiltonian = many_body(SIXTEEN)
    kelvin = [300.0, 600.0, 900.0]
    one, other = (
        run_semi_grand(hamiltonian, np.zeros(16), kelvin, {"Cu": 0.1}, **{**FAST, "sweeps": 20}, n_threads=k)
        for k in (1, 3)
    )
    np.testing.assert_array_equal(one.energies_eV, other.energies_eV)
    assert not np.array_equal(one.occupations[0], one.occupations[1])


def test_heat_capacity_is_the_slope_of_the_energy():
    hamiltonian = ising("sc", conventional("sc", 4))
    kelvin = np.array([690.0, 700.0, 710.0])
    run = run_semi_grand(hamiltonian, np.zeros(64), kelvin, {}, **{**FAST, "sweeps": 40_000})
    slope = np.diff(run.energies_eV.mean(axis=1)[[0, 2]])[0] / 20 / BOLTZMANN_EV_PER_K
    error = np.hypot(*run.energy.stderr[[0, 2]]) / 20 / BOLTZMANN_EV_PER_K
    assert abs(run.heat_capacity_k[1] - slope) < 4 * error
    assert error < 0.2 * slope


@pytest.mark.parametrize(("name", "images"), [("L1_2", 4), ("L1_0", 6), ("B2", 2)])
def test_images_of_ordered_structures(name, images):
    state = decoration(name)
    lattice = parent("bcc" if name == "B2" else "fcc")
    cell = common_supercell([state], lattice, shortest_image_A=6.0, target_sites=100)
    found = variants(state, lattice, cell)
    assert len(found) == images
    vectors, basis = lattice.sites(cell)
    assert state.species_at(vectors, basis).tolist() in found.tolist()


def test_overlaps_are_one_in_every_image_and_small_in_disorder():
    states = [decoration("L1_2"), decoration("L1_0")]
    cell = common_supercell(states, parent("fcc"), shortest_image_A=6.0, target_sites=256)
    hamiltonian = many_body(cell)
    order = OrderOverlaps(hamiltonian, states)
    for k, state in enumerate(states):
        images = variants(state, parent("fcc"), cell)
        overlaps, squares = order.of(images), order.squares(images)
        np.testing.assert_allclose(overlaps[:, k], 1)
        # the other structure shares one of three waves
        np.testing.assert_allclose(overlaps[:, 1 - k], 1 / np.sqrt(3))
        np.testing.assert_allclose(squares, squares[:1].repeat(len(images), axis=0))
    rng = np.random.default_rng(0)
    random = np.array([rng.permutation(hamiltonian.occupation(states[1])) for _ in range(200)])
    assert order.of(random).max() < ORDERED - 0.1


@pytest.mark.parametrize("name", ["fcc", "hcp"])
def test_decorations_are_read_back_whatever_was_done_to_the_crystal(name):
    lattice = parent(name)
    for atoms in enumerated(name, 4)[17:20]:
        state = read_decoration(atoms, lattice, ELEMENTS)
        cell = common_supercell([state], lattice, shortest_image_A=3.0, target_sites=60)
        images = variants(state, lattice, cell).tolist()
        changed = atoms.copy()
        changed.rotate(25, (1, 2, 3), rotate_cell=True)
        changed.set_cell(changed.cell * 1.04, scale_atoms=True)
        changed.rattle(0.04, seed=1)
        changed.translate([0.3, -1.2, 0.4])
        again = read_decoration(changed, lattice, ELEMENTS)
        vectors, basis = lattice.sites(cell)
        assert again.fits(cell)
        assert again.species_at(vectors, basis).tolist() in images


def test_common_cells_hold_every_structure_with_its_images():
    lattice = parent("fcc")
    states = [decoration("L1_2"), decoration("L1_0"), pure("Cu", 1, lattice)]
    cell = common_supercell(states, lattice, shortest_image_A=9.0)
    n = abs(round(np.linalg.det(cell)))
    assert 150 < n <= 400
    for _, rotation in zip(range(48), lattice.operations()[0], strict=False):
        assert states[1].fits(cell @ rotation.T)
    with pytest.raises(InvalidInputError, match="leave out the structure with the largest cell"):
        common_supercell(states, lattice, shortest_image_A=40.0)


def test_bad_input_is_refused_with_a_remedy():
    hamiltonian = many_body(SIXTEEN)
    with pytest.raises(InvalidInputError, match="above 0 K"):
        run_canonical(hamiltonian, np.zeros(16), [0.0], **FAST)
    with pytest.raises(InvalidInputError, match="16 sites"):
        run_canonical(hamiltonian, np.zeros(15), [300.0], **FAST)
    with pytest.raises(InvalidInputError, match="species run from 0 to 1"):
        run_canonical(hamiltonian, np.full(16, 2), [300.0], **FAST)
    with pytest.raises(InvalidInputError, match="Zn is not among the elements"):
        run_semi_grand(hamiltonian, np.zeros(16), [300.0], {"Zn": 1.0}, **FAST)
    with pytest.raises(InvalidInputError, match="sum to 1"):
        run_variance_constrained(hamiltonian, np.zeros(16), [300.0], {"Au": 0.5, "Cu": 0.6}, **FAST)
    with pytest.raises(InvalidInputError, match="larger one"):
        many_body([[1, 0, 0], [0, 1, 0], [0, 0, 4]])
    with pytest.raises(InvalidInputError, match="primitive cell"):
        ParentLattice.from_atoms(primitive("fcc").repeat(2))
    strange = ordered("L1_2")
    strange.symbols[0] = "Zn"
    with pytest.raises(InvalidInputError, match="holds Zn"):
        read_decoration(strange, parent("fcc"), ELEMENTS)
    with pytest.raises(InvalidInputError, match="does not lie on the parent lattice"):
        read_decoration(primitive("sc"), parent("fcc"), ELEMENTS)
