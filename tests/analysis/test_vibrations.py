"""Free energies from phonons: crystals of springs whose modes are known, and EMT."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list
from scipy.optimize import minimize_scalar

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K, GPA_PER_EV_PER_A3, PLANCK_EV_PER_THZ
from mlip_autopipe.analysis.vibrations import phonons_of, quasi_harmonic
from mlip_autopipe.errors import AnalysisError, EnvironmentProblemError, InvalidInputError

pytest.importorskip("phonopy")

COPPER_MASS = 63.546
EDGE_A = 3.6
THZ = np.sqrt(9648.533212331002) / (2 * np.pi)  # of sqrt(eV/A^2/amu)
FAST = {"mesh_A": 30.0}


@dataclass(frozen=True)
class Springs:
    """Fcc with springs between neighbours that weaken with the volume; harmonic in the displacements."""

    stiffness: float = 2.0  # eV/A^2
    gruneisen: float = 2.0
    modulus_GPa: float = 140.0
    volume: float = EDGE_A**3 / 4  # per atom

    def energy(self, volume: float) -> float:
        return self.volume * self.modulus_GPa / GPA_PER_EV_PER_A3 / 2 * np.log(volume / self.volume) ** 2

    def __call__(self, structures: Any) -> list[tuple[float, Any]]:
        perfect = structures[0]
        n, volume = len(perfect), perfect.get_volume() / len(perfect)
        nearest = (volume * np.sqrt(2)) ** (1 / 3)
        i, j, vectors = neighbor_list("ijD", perfect, 1.1 * nearest)
        assert len(i) == 12 * n
        axes = vectors / np.linalg.norm(vectors, axis=1)[:, None]
        stiffness = self.stiffness * (volume / self.volume) ** (-2 * self.gruneisen)
        found = []
        for one in structures:
            u = one.positions - perfect.positions
            u -= np.round(u @ np.linalg.inv(one.cell.array)) @ one.cell.array
            pulls = stiffness * ((u[j] - u[i]) * axes).sum(axis=1)[:, None] * axes
            forces = np.zeros((n, 3))
            np.add.at(forces, i, pulls)
            found.append((n * self.energy(volume) - (forces * u).sum() / 2, forces))
        return found

    def frequencies(self, points: int = 24) -> Any:
        """THz, on a mesh of its own, from the dynamical matrix of springs: 1 - cos q.R along every R."""
        neighbours = [np.array(one) / 2 for one in product((-1, 0, 1), repeat=3) if np.abs(one).sum() == 2]
        axis = (np.arange(points) + 0.5) / points
        reduced = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        primitive = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
        q = 2 * np.pi * reduced @ np.linalg.inv(primitive).T
        matrices = sum((1 - np.cos(q @ r))[:, None, None] * np.outer(r, r) / (r @ r) for r in neighbours)
        return THZ * np.sqrt(np.linalg.eigvalsh(self.stiffness / COPPER_MASS * matrices))


def free_energy(frequencies: Any, kelvin: float) -> float:
    quanta, kT = PLANCK_EV_PER_THZ * frequencies, BOLTZMANN_EV_PER_K * kelvin
    return float(3 * (quanta / 2 + kT * np.log(1 - np.exp(-quanta / kT))).mean())


def copper(edge: float = EDGE_A, **more: Any) -> Any:
    return bulk("Cu", "fcc", a=edge, **more)


def by_emt(structures: Any) -> list[tuple[float, Any]]:
    calculator = EMT()
    found = []
    for one in structures:
        one.calc = calculator
        found.append((one.get_potential_energy(), one.get_forces()))
    return found


def at_minimum(symbol: str, lattice: str, **more: Any) -> Any:
    """Return a crystal with the edge at which its energy by EMT is least."""
    volume = bulk(symbol).get_volume()
    guess = (volume * {"fcc": 4, "bcc": 2}[lattice]) ** (1 / 3)
    best = minimize_scalar(
        lambda edge: by_emt([bulk(symbol, lattice, a=edge)])[0][0], bracket=(0.97 * guess, guess), tol=1e-10
    )
    return bulk(symbol, lattice, a=best.x, **more)


class TestSprings:
    @pytest.mark.parametrize("kelvin", [50.0, 300.0, 1200.0])
    def test_free_energies_are_the_sums_over_the_known_modes(self, kelvin):
        found = phonons_of(copper(), Springs())
        exact = Springs().frequencies()
        assert found.dynamically_stable
        assert found.frequencies_THz.max() == pytest.approx(exact.max(), rel=5e-3)
        assert found.zero_point_energy_eV_per_atom == pytest.approx(1.5 * PLANCK_EV_PER_THZ * exact.mean(), rel=1e-3)
        assert found.free_energy_eV_per_atom([kelvin])[0] == pytest.approx(free_energy(exact, kelvin), abs=3e-4)

    def test_at_high_temperature_they_are_those_of_classical_oscillators(self):
        kelvin, found = 4000.0, phonons_of(copper(), Springs(), **FAST)
        x = PLANCK_EV_PER_THZ * found.frequencies_THz / (BOLTZMANN_EV_PER_K * kelvin)
        classical = 3 * BOLTZMANN_EV_PER_K * kelvin * np.log(x).mean()
        first_quantum = 3 * BOLTZMANN_EV_PER_K * kelvin * (x**2).mean() / 24
        assert first_quantum < 1e-3
        assert found.free_energy_eV_per_atom([kelvin])[0] - classical == pytest.approx(first_quantum, rel=1e-3)
        assert found.heat_capacity_k_per_atom([kelvin])[0] == pytest.approx(3, rel=1e-3)

    def test_heat_capacity_is_the_curvature_of_the_free_energy(self):
        found = phonons_of(copper(), Springs(), **FAST)
        kelvin, step = 150.0, 1.0
        low, middle, high = found.free_energy_eV_per_atom([kelvin - step, kelvin, kelvin + step])
        expected = -kelvin * (low - 2 * middle + high) / step**2 / BOLTZMANN_EV_PER_K
        assert found.heat_capacity_k_per_atom([kelvin])[0] == pytest.approx(expected, rel=1e-3)
        assert found.heat_capacity_k_per_atom([0.0, 1.0])[0] == 0.0

    def test_heavier_atoms_move_more_slowly(self):
        heavy = copper()
        heavy.set_masses([4 * COPPER_MASS])
        light = phonons_of(copper(), Springs(), **FAST).zero_point_energy_eV_per_atom
        assert phonons_of(heavy, Springs(), **FAST).zero_point_energy_eV_per_atom == pytest.approx(light / 2, rel=1e-6)

    def test_forces_that_are_left_cancel(self):
        def pushed(structures: Any) -> list[tuple[float, Any]]:
            return [(energy, forces + 0.05) for energy, forces in Springs()(structures)]

        expected = phonons_of(copper(), Springs(), **FAST)
        found = phonons_of(copper(), pushed, **FAST)
        assert found.zero_point_energy_eV_per_atom == pytest.approx(expected.zero_point_energy_eV_per_atom, rel=1e-6)

    def test_the_volume_is_that_of_the_least_free_energy(self):
        springs, temperatures = Springs(), [0.0, 300.0, 1000.0]
        found = quasi_harmonic(copper(), springs, temperatures, **FAST)
        exact = springs.frequencies()
        assert found.inside.all()
        for kelvin, volume, free in zip(
            temperatures, found.volume_A3_per_atom, found.free_energy_eV_per_atom, strict=True
        ):

            def at(v: float, kelvin: float = kelvin) -> float:
                scaled = exact * (v / springs.volume) ** -springs.gruneisen
                return springs.energy(v) + free_energy(scaled, max(kelvin, 1e-3))

            best = minimize_scalar(at, bracket=(springs.volume, 1.02 * springs.volume), tol=1e-10)
            assert volume / springs.volume == pytest.approx(best.x / springs.volume, abs=2e-4)
            assert free == pytest.approx(best.fun, abs=3e-4)
        assert found.phonons.volume_A3_per_atom == pytest.approx(springs.volume)

    def test_a_minimum_outside_the_volumes_is_flagged(self):
        ratios = [0.97, 0.98, 0.99, 1.0, 1.01]
        found = quasi_harmonic(copper(), Springs(), [0.0, 2000.0], volume_ratios=ratios, **FAST)
        assert found.inside.tolist() == [True, False]
        assert np.isfinite(found.free_energy_eV_per_atom).tolist() == [True, False]
        assert np.isfinite(found.volume_A3_per_atom).tolist() == [True, False]


class TestCopper:
    def test_all_cells_and_orientations_give_the_same(self):
        primitive = at_minimum("Cu", "fcc")
        turned = at_minimum("Cu", "fcc", cubic=True)
        turned.rotate(33.0, (1, 2, 3), rotate_cell=True)
        cells = [primitive, at_minimum("Cu", "fcc", cubic=True), primitive.repeat((1, 2, 3)), turned]
        found = [phonons_of(one, by_emt, **FAST) for one in cells]
        for one in found[1:]:
            assert one.free_energy_eV_per_atom([0.0, 500.0]) == pytest.approx(
                found[0].free_energy_eV_per_atom([0.0, 500.0]), abs=1e-6
            )
            assert one.energy_eV_per_atom == pytest.approx(found[0].energy_eV_per_atom, abs=1e-9)
            assert one.dynamically_stable
        assert found[0].n_displacements == 1

    def test_zero_point_energy_is_near_that_of_the_metal(self):
        # 9/8 k Theta with the calorimetric Debye temperature 345 K: Martin, 10.1103/PhysRev.141.576
        found = phonons_of(at_minimum("Cu", "fcc"), by_emt)
        assert found.zero_point_energy_eV_per_atom == pytest.approx(9 / 8 * BOLTZMANN_EV_PER_K * 345, rel=0.15)

    def test_a_larger_supercell_and_a_finer_mesh_change_little(self):
        crystal = at_minimum("Cu", "fcc")
        coarse = phonons_of(crystal, by_emt).free_energy_eV_per_atom([0.0, 800.0])
        fine = phonons_of(crystal, by_emt, supercell_A=15.0, mesh_A=60.0).free_energy_eV_per_atom([0.0, 800.0])
        assert coarse == pytest.approx(fine, abs=5e-4)

    def test_bcc_is_unstable(self):
        found = phonons_of(at_minimum("Cu", "bcc"), by_emt, **FAST)
        assert not found.dynamically_stable
        assert found.worst_imaginary_THz > 0.5
        with pytest.raises(AnalysisError, match="dynamically stable at 0 of 7 volumes"):
            quasi_harmonic(at_minimum("Cu", "bcc"), by_emt, [300.0], **FAST)


def test_nickel_expands_as_it_does_in_dynamics():
    crystal = at_minimum("Ni", "fcc")
    found = quasi_harmonic(crystal, by_emt, [0.0, 200.0, 300.0], **FAST)
    assert found.inside.all()
    assert found.fit_error_eV_per_atom < 1e-4
    at_rest = (4 * crystal.get_volume()) ** (1 / 3)
    cold, *warm = (4 * found.volume_A3_per_atom) ** (1 / 3)
    assert at_rest < cold < warm[0]
    # volumes of classical crystals do not depend on the masses, and heavy atoms are classical
    crystal.set_masses(50 * crystal.get_masses())
    classical = quasi_harmonic(crystal, by_emt, [200.0, 300.0], **FAST)
    # dynamics of EMT nickel: see tests/jobs/test_equilibrate.py
    assert (4 * classical.volume_A3_per_atom) ** (1 / 3) == pytest.approx([3.4968, 3.5019], abs=4e-4)
    assert (warm > (4 * classical.volume_A3_per_atom) ** (1 / 3)).all()


def test_without_phonopy_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonopy", None)
    with pytest.raises(EnvironmentProblemError, match=r"pip install 'mlip-autopipe\[phonons\]'"):
        phonons_of(copper(), Springs())


@pytest.mark.parametrize("kelvins", [[-1.0], [float("nan")], 300.0])
def test_temperatures_must_be_numbers(kelvins):
    with pytest.raises(InvalidInputError, match="temperatures must be"):
        quasi_harmonic(copper(), Springs(), kelvins)


def test_forces_that_are_not_finite_are_no_answer():
    def broken(structures: Any) -> list[tuple[float, Any]]:
        return [(energy, forces * np.nan) for energy, forces in Springs()(structures)]

    with pytest.raises(AnalysisError, match="forces on displaced atoms of Cu are not finite"):
        phonons_of(copper(), broken)
