"""Small cells cut from large ones: what surrounds the core, and the forces that it feels."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.optimize import FIRE
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.perturb import shortest_distance
from mlip_autopipe.generation.sqs import random_alloy
from mlip_autopipe.potentials.base import ForceField, Prediction
from mlip_autopipe.potentials.errors import PredictionError
from mlip_autopipe.reference.classical import stillinger_weber_silicon
from mlip_autopipe.selection.embedding import EmbeddedCell, embed
from tests.selection.structures import disordered, environments, shortest_vector, thermal

DIAMOND_FACTOR = 1 / np.sqrt(2)
"""Volume of the densest lattice with shortest vector 1."""


class EmtField(ForceField):
    """The truth itself as a potential."""

    elements = ("Cu",)

    def predict(self, atoms):
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, calculator=EMT())
        return Prediction(bare.get_potential_energy(), bare.get_forces(), np.zeros(6))


class MuteField(EmtField):
    def predict(self, atoms):
        raise PredictionError("not finite")


@pytest.fixture(scope="module")
def hot_crystal():
    """Copper at about 600 K with a vacancy and an interstitial near atom 0."""
    atoms = thermal(repeat=5, a=3.64, sigma_A=0.1)
    atoms.append("Cu")
    atoms.positions[-1] = 3.64 * np.array([0.5, 0.5, 0.5])
    del atoms[2]
    return run_md(MDSettings(temperature_K=600, time_step_fs=3.0, seed=1), atoms, EMT(), 25).atoms


@pytest.fixture(scope="module")
def liquid():
    """Random places, relaxed until the forces are those of hot copper."""
    atoms = disordered(220, 14.3 * np.eye(3), apart_A=2.0)
    atoms.calc = EMT()
    FIRE(atoms, logfile=None).run(steps=9)
    atoms.calc = None
    return atoms


def check_surroundings(atoms: Atoms, cell: EmbeddedCell) -> None:
    """Around each core atom stands, within the buffer width, what stands there in the large structure; once each."""
    core = np.flatnonzero(cell.force_weights)
    radius = cell.buffer_A - 1e-6
    small = environments(cell.atoms, core, radius)
    large = environments(atoms, cell.indices[core], radius)
    for one, other in zip(small, large, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, atol=1e-6)


def force_errors(atoms: Atoms, cell: EmbeddedCell, make=EMT, truth=None) -> np.ndarray:
    """Differences of core forces, eV/A, shape (core atoms, 3)."""
    small = cell.atoms.copy()
    small.calc = make()
    core = cell.force_weights > 0
    return small.get_forces()[core] - truth[cell.indices[core]]


def forces(atoms: Atoms, make=EMT) -> np.ndarray:
    copy = atoms.copy()
    copy.calc = make()
    return copy.get_forces()


@pytest.mark.parametrize("centre", [0, 123])
@pytest.mark.parametrize(("core_A", "buffer_A"), [(0.0, 6.0), (3.0, 4.0)])
def test_core_atoms_of_a_hot_defective_crystal_keep_their_surroundings(hot_crystal, centre, core_A, buffer_A):
    cell = embed(hot_crystal, centre, core_radius_A=core_A, buffer_A=buffer_A)
    check_surroundings(hot_crystal, cell)
    assert cell.kind == "crystal"
    assert cell.indices[0] == centre
    assert len(cell.atoms) < 0.3 * len(hot_crystal)
    assert len(set(cell.indices)) == len(cell.indices)
    assert cell.force_weights.sum() == 1 if core_A == 0 else cell.force_weights.sum() > 8
    assert np.array_equal(cell.atoms.numbers, hot_crystal.numbers[cell.indices])


@pytest.mark.parametrize("centre", [0, 250])
def test_force_errors_in_a_hot_crystal_fall_with_the_buffer(hot_crystal, centre):
    truth = forces(hot_crystal)
    worst = []
    for buffer in (3.0, 5.0, 6.0, 7.0):
        cell = embed(hot_crystal, centre, core_radius_A=0.0, buffer_A=buffer)
        worst.append(np.abs(force_errors(hot_crystal, cell, truth=truth)).max())
    assert worst[0] < 0.3
    assert worst[1] < 0.02
    assert worst[2] < 1e-3
    assert worst[3] < 1e-4
    assert worst[0] > worst[1] > worst[2] > worst[3]


def test_force_errors_in_a_liquid_fall_with_the_buffer(liquid):
    truth = forces(liquid)
    rms = []
    for buffer in (4.0, 5.0, 6.0):
        errors = [
            force_errors(liquid, embed(liquid, c, core_radius_A=0.0, buffer_A=buffer), truth=truth) for c in (3, 77)
        ]
        rms.append(np.sqrt(np.mean(np.square(errors))))
    assert np.sqrt(np.mean(truth**2)) > 0.7
    assert rms[0] < 0.1
    assert rms[0] > 3 * rms[1] > 9 * rms[2]
    assert rms[2] < 2e-3


def test_forces_are_exact_when_the_buffer_exceeds_the_range_of_the_reference():
    silicon = thermal("Si", repeat=4, sigma_A=0.12, a=5.43)
    # forces of a three-body potential reach twice its cutoff of 3.77 A
    cell = embed(silicon, 17, core_radius_A=2.6, buffer_A=7.55)
    assert len(cell.atoms) < 0.5 * len(silicon)
    assert cell.force_weights.sum() == 5
    truth = forces(silicon, stillinger_weber_silicon)
    assert np.abs(force_errors(silicon, cell, stillinger_weber_silicon, truth)).max() < 1e-9


def test_a_perfect_site_count_is_kept(hot_crystal):
    """Neither does the seam lose atoms nor gain any; defects inside stay."""
    primitive = 3.64**3 / 4
    for centre, extra in ((499, 1), (0, 0), (321, 0)):
        cell = embed(hot_crystal, centre, core_radius_A=0.0, buffer_A=5.0)
        sites = cell.atoms.get_volume() / primitive
        assert sites == pytest.approx(round(sites), abs=1e-6)
        # atom 0 has the vacancy and the interstitial near it
        assert len(cell.atoms) - round(sites) in ({extra, 0} if centre else {-1, 0})
        assert cell.seam_damage < 0.04
        assert cell.energy_weight == cell.stress_weight == 1


def test_ionic_cells_stay_neutral():
    salt = thermal("NaCl", crystalstructure="rocksalt", a=5.64, repeat=4, sigma_A=0.15)
    for centre in (0, 1, 50, 99):
        cell = embed(salt, centre, core_radius_A=3.0, buffer_A=3.5)
        check_surroundings(salt, cell)
        assert cell.atoms.symbols.count("Na") == cell.atoms.symbols.count("Cl")


def test_liquid_cells_have_no_absurd_contacts_and_say_that_they_have_a_seam(liquid):
    cell = embed(liquid, 10, core_radius_A=3.0, buffer_A=4.0)
    check_surroundings(liquid, cell)
    assert cell.kind == "general"
    assert shortest_distance(cell.atoms) > 0.75 * 2.3
    density = len(cell.atoms) / cell.atoms.get_volume() * liquid.get_volume() / len(liquid)
    assert 0.85 < density < 1.08
    assert cell.seam_damage > 0.08
    assert cell.energy_weight == cell.stress_weight == 0
    assert "seam runs through" in cell.purpose


def test_relaxing_the_filling_leaves_core_and_buffer_alone(liquid):
    plain = embed(liquid, 10, core_radius_A=0.0, buffer_A=5.0)
    relaxed = embed(liquid, 10, core_radius_A=0.0, buffer_A=5.0, potential=EmtField())
    exact = plain.exact
    assert np.allclose(relaxed.atoms.positions[exact], plain.atoms.positions[exact])
    assert not np.allclose(relaxed.atoms.positions[~exact], plain.atoms.positions[~exact])
    before, after = (np.square(forces(c.atoms)[~exact]).mean() for c in (plain, relaxed))
    assert after < 0.5 * before
    check_surroundings(liquid, relaxed)
    assert relaxed.atoms.calc is None
    assert not relaxed.atoms.constraints
    mute = embed(liquid, 10, core_radius_A=0.0, buffer_A=5.0, potential=MuteField())
    assert mute.atoms == plain.atoms


@pytest.mark.parametrize(("core_A", "buffer_A"), [(0.0, 5.0), (3.0, 4.0), (3.0, 5.0)])
def test_cells_are_about_as_small_as_can_be(hot_crystal, core_A, buffer_A):
    cell = embed(hot_crystal, 250, core_radius_A=core_A, buffer_A=buffer_A)
    # a core atom must not see another image of itself, nor of what another core atom sees
    assert shortest_vector(cell.atoms.cell.array) > buffer_A
    radius = cell.core_radius_A + buffer_A
    assert cell.atoms.get_volume() <= 1.15 * DIAMOND_FACTOR * (2 * radius) ** 3
    assert len(cell.atoms) >= cell.exact.sum()


def test_moving_turning_and_renumbering_the_large_structure_change_nothing(hot_crystal):
    truth = forces(hot_crystal)
    plain = embed(hot_crystal, 60, core_radius_A=3.0, buffer_A=4.5)
    moved = hot_crystal.copy()
    moved.positions += [1.7, -20.3, 4.4]
    moved.wrap()
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = hot_crystal.copy()
    turned.set_cell(turned.cell.array @ rotation, scale_atoms=True)
    order = np.random.default_rng(1).permutation(len(hot_crystal))
    shuffled = hot_crystal[order]
    core = set(plain.indices[plain.force_weights > 0])
    for other, centre, names in (
        (moved, 60, np.arange(len(order))),
        (turned, 60, np.arange(len(order))),
        (shuffled, int(np.flatnonzero(order == 60)[0]), order),
    ):
        cell = embed(other, centre, core_radius_A=3.0, buffer_A=4.5)
        assert set(names[cell.indices[cell.force_weights > 0]]) == core
        check_surroundings(other, cell)
        assert len(cell.atoms) == pytest.approx(len(plain.atoms), rel=0.05)
        error = force_errors(other, cell, truth=forces(other))
        assert np.abs(error).max() < 0.02
    assert np.abs(force_errors(hot_crystal, plain, truth=truth)).max() < 0.02


@given(
    seed=st.integers(0, 10_000),
    centre=st.integers(0, 119),
    core_A=st.floats(0.0, 3.0),
    buffer_A=st.floats(2.2, 4.2),
)
@settings(max_examples=8, deadline=None)
def test_surroundings_are_kept_in_any_structure(seed, centre, core_A, buffer_A):
    cell = np.array([[13.0, 0, 0], [4.0, 14.0, 0], [-3.0, 2.0, 15.0]])
    atoms = disordered(120, cell, apart_A=1.8, seed=seed, symbols="CuAu")
    small = embed(atoms, centre, core_radius_A=core_A, buffer_A=buffer_A)
    check_surroundings(atoms, small)
    assert small.indices[0] == centre or small.kind == "whole"
    assert len(small.atoms) <= len(atoms)
    assert set(small.indices[small.force_weights > 0]) >= {centre}


def test_alloys_slabs_and_thin_supercells():
    alloy = random_alloy(thermal(repeat=4, a=3.8), {"Cu": 0.5, "Au": 0.5}, 0)
    slab = fcc111("Cu", (6, 6, 6), a=3.61, vacuum=9.0, periodic=True)
    slab.rattle(0.08, seed=0)
    thin = bulk("Cu", cubic=True).repeat((2, 2, 10))
    thin.rattle(0.1, seed=0)
    for atoms, centre in ((alloy, 5), (slab, 3), (slab, 210), (thin, 33)):
        cell = embed(atoms, centre, core_radius_A=2.0, buffer_A=4.5)
        check_surroundings(atoms, cell)
        assert len(cell.atoms) < 0.6 * len(atoms)
    # a direction in which the large cell is short is kept as it is
    assert np.isclose(cell.atoms.cell.lengths(), 7.22).sum() == 2
    # a surface is no seamless crystal
    assert embed(slab, 3, core_radius_A=0.0, buffer_A=5.0).energy_weight == 0


def test_a_core_that_holds_images_of_its_atoms_counts_each_once():
    thin = bulk("Cu", a=3.6, cubic=True).repeat((1, 1, 12))
    thin.rattle(0.1, seed=0)
    cell = embed(thin, 20, core_radius_A=3.8, buffer_A=4.0)
    check_surroundings(thin, cell)
    assert len(cell.atoms) < len(thin)
    core = cell.indices[cell.force_weights > 0]
    assert len(set(core)) == len(core) < 19
    assert (cell.force_weights[: len(core)] == 1).all()


def test_whole_structure_when_nothing_smaller_does(hot_crystal):
    small = thermal(repeat=2, a=3.64)
    cell = embed(small, 3, core_radius_A=3.0, buffer_A=6.0)
    assert cell.kind == "whole"
    assert cell.atoms == small
    assert cell.indices.tolist() == list(range(32))
    assert cell.force_weights.tolist() == [1] * 32
    assert not embed(hot_crystal, 0, core_radius_A=0.0, buffer_A=20.0).atoms.has("momenta")
    assert cell.energy_weight == cell.stress_weight == 1
    assert "large structure itself" in cell.purpose


def test_core_and_then_buffer_shrink_until_the_cell_is_affordable(hot_crystal):
    wanted = {"core_radius_A": 3.0, "buffer_A": 5.5}
    assert len(embed(hot_crystal, 100, **wanted).atoms) > 120
    fewer_core = embed(hot_crystal, 100, **wanted, max_atoms=100)
    assert len(fewer_core.atoms) <= 100
    assert fewer_core.buffer_A == 5.5
    assert fewer_core.core_radius_A < 3.0
    narrow = embed(hot_crystal, 100, **wanted, max_atoms=40)
    assert len(narrow.atoms) <= 40
    assert narrow.force_weights.sum() == 1
    assert 4.0 <= narrow.buffer_A < 5.5
    for cell in (fewer_core, narrow):
        check_surroundings(hot_crystal, cell)
    with pytest.raises(
        InvalidInputError, match=r"no cell of up to 12 atoms keeps a buffer of 4 A .* at least \d+ atoms"
    ):
        embed(hot_crystal, 100, **wanted, max_atoms=12)


def test_other_forces_may_count_a_little(hot_crystal):
    masked = embed(hot_crystal, 9, core_radius_A=3.0, buffer_A=4.0)
    weighted = embed(hot_crystal, 9, core_radius_A=3.0, buffer_A=4.0, other_force_weight=0.1)
    assert masked.atoms == weighted.atoms
    assert masked.n_core == weighted.n_core == masked.force_weights.sum()
    assert (masked.force_weights[masked.n_core :] == 0).all()
    assert (weighted.force_weights[: masked.n_core] == 1).all()
    assert (weighted.force_weights[masked.n_core :] == 0.1).all()


def test_given_lattice_and_moments_are_used():
    iron = thermal("Fe", repeat=6, a=2.87, sigma_A=0.05)
    iron.set_initial_magnetic_moments(np.arange(len(iron)) * 0.01)
    conventional = 2.87 * np.eye(3)
    cell = embed(iron, 8, core_radius_A=0.0, buffer_A=4.0, lattice=conventional)
    whole = cell.atoms.cell.array @ np.linalg.inv(conventional)
    assert np.allclose(whole, np.round(whole), atol=1e-6)
    assert np.allclose(cell.atoms.get_initial_magnetic_moments(), cell.indices * 0.01)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"centre": 32}, "numbers 0 to 31"),
        ({"core_radius_A": -1.0}, "core_radius_A"),
        ({"buffer_A": 0.0}, "buffer_A"),
        ({"other_force_weight": 1.5}, "other_force_weight"),
        ({"pbc": False}, "periodic"),
    ],
)
def test_bad_input(kwargs, message):
    atoms = thermal(repeat=2)
    atoms.pbc = kwargs.pop("pbc", True)
    with pytest.raises(InvalidInputError, match=message):
        embed(atoms, **{"centre": 0, "core_radius_A": 0.0, "buffer_A": 4.0} | kwargs)
