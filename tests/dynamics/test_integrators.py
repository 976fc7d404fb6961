from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mlip_autopipe.dynamics.integrators import make_integrator
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.state import (
    AMU_A2_PER_FS2_IN_EV,
    GPA_IN_EV_PER_A3,
    KB_EV_PER_K,
    ForceEvaluator,
    MDState,
    initial_state,
    pressure_tensor_diagonal,
    temperature,
)
from mlip_autopipe.errors import InvalidInputError
from tests.dynamics.toys import Harmonic, ToyLJ, argon

NVT = ["nvt_langevin", "nvt_nose_hoover"]


class NoForces(Calculator):
    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


def simulate(
    settings: MDSettings,
    atoms: Atoms,
    calculator: Calculator,
    n_steps: int,
    observe: Callable[[MDState], object] | None = None,
    state: MDState | None = None,
) -> tuple[MDState, np.ndarray]:
    """The bare loop: what `observe` returned after every step."""
    if state is None:
        fix = settings.fix_centre_of_mass
        state = initial_state(atoms, settings.temperature_K, settings.seed, fix_centre_of_mass=fix)
    integrator = make_integrator(settings, state)
    evaluate = ForceEvaluator(calculator, state, needs_stress=integrator.needs_stress)
    evaluate(state)
    seen = []
    for _ in range(n_steps):
        integrator.step(state, evaluate)
        if observe is not None:
            seen.append(observe(state))
    return state, np.array(seen)


def standard_error(values: np.ndarray, blocks: int = 12) -> float:
    means = [block.mean() for block in np.array_split(values, blocks)]
    return float(np.std(means, ddof=1) / np.sqrt(blocks))


def conserved(settings: MDSettings, n_steps: int) -> np.ndarray:
    atoms = argon(2)
    state = initial_state(atoms, 60.0, 3)
    integrator = make_integrator(settings, state)
    return simulate(settings, atoms, ToyLJ(cutoff=5.3), n_steps, integrator.conserved_energy, state)[1]


@pytest.mark.parametrize("ensemble", ["nve", "nvt_nose_hoover"])
def test_energy_error_falls_with_the_square_of_the_time_step(ensemble: str) -> None:
    spread = {}
    for step in (4.0, 8.0, 16.0):
        settings = MDSettings(ensemble=ensemble, time_step_fs=step, temperature_K=60.0, thermostat_time_fs=300.0)
        energies = conserved(settings, int(4000 / step))
        spread[step] = energies.std()
    assert spread[4.0] < 1e-4
    assert 3.4 < spread[8.0] / spread[4.0] < 4.6
    assert 3.4 < spread[16.0] / spread[8.0] < 4.6


def test_langevin_accounts_for_its_heat() -> None:
    settings = MDSettings(ensemble="nvt_langevin", time_step_fs=4.0, temperature_K=60.0)
    energies = conserved(settings, 2000)
    assert np.abs(energies - energies[0]).max() < 2e-3
    unaccounted = simulate(settings, argon(2), ToyLJ(cutoff=5.3), 2000, lambda s: s.kinetic_energy + s.energy)[1]
    assert np.ptp(unaccounted) > 20 * np.ptp(energies)


@pytest.mark.parametrize("ensemble", ["nve", "nvt_nose_hoover"])
def test_time_reversal(ensemble: str) -> None:
    settings = MDSettings(ensemble=ensemble, time_step_fs=5.0, temperature_K=40.0)
    start = initial_state(argon(2), 40.0, 5)
    state, _ = simulate(settings, argon(2), ToyLJ(cutoff=5.3), 300, state=start.copy())
    assert np.abs(state.positions - start.positions).max() > 0.1
    state.velocities *= -1
    if "chain_velocity" in state.thermostat:
        state.thermostat["chain_velocity"] *= -1
    back, _ = simulate(settings, argon(2), ToyLJ(cutoff=5.3), 300, state=state)
    # Rounding grows along a chaotic path; the chain adds some.
    tolerance = 1e-9 if ensemble == "nve" else 1e-5
    assert np.abs(back.positions - start.positions).max() < tolerance
    assert np.abs(back.velocities + start.velocities).max() < 0.01 * tolerance


@pytest.mark.parametrize("ensemble", ["nve", *NVT, "npt", "npt_anisotropic"])
@examples(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), kick=st.floats(-0.01, 0.01))
def test_momentum_stays_zero(ensemble: str, seed: int, kick: float) -> None:
    atoms = argon(2)
    atoms.set_masses(np.linspace(10, 80, len(atoms)))
    atoms.set_velocities(np.full((len(atoms), 3), kick))
    settings = MDSettings(ensemble=ensemble, time_step_fs=4.0, temperature_K=40.0, seed=seed)
    state, _ = simulate(settings, atoms, ToyLJ(cutoff=5.3), 30)
    assert np.abs(state.masses @ state.velocities).max() < 1e-11


@pytest.mark.parametrize("ensemble", NVT)
def test_kinetic_energy_is_canonical(ensemble: str) -> None:
    """Mean and variance of the temperature, and equipartition between light and heavy atoms."""
    atoms = argon(2)
    masses = np.where(np.arange(32) % 2, 20.0, 80.0)
    atoms.set_masses(masses)
    settings = MDSettings(ensemble=ensemble, time_step_fs=5.0, temperature_K=50.0, thermostat_time_fs=200.0, seed=11)

    def observe(state: MDState) -> tuple[float, float, float]:
        kinetic = 0.5 * AMU_A2_PER_FS2_IN_EV * state.masses * (state.velocities**2).sum(axis=1)
        return temperature(state), float(kinetic[1::2].mean()), float(kinetic[::2].mean())

    _, seen = simulate(settings, atoms, ToyLJ(cutoff=5.3), 12_000, observe)
    kelvin = seen[1000:, 0]
    assert abs(kelvin.mean() - 50.0) < 4 * max(standard_error(kelvin), 0.1)
    assert kelvin.var() == pytest.approx(2 * 50.0**2 / 93, rel=0.2)
    # A fixed centre of mass takes its part from each atom in proportion to its mass.
    for column, mass in ((1, 20.0), (2, 80.0)):
        expected = 1.5 * KB_EV_PER_K * 50.0 * (1 - mass / masses.sum())
        values = seen[1000:, column]
        assert abs(values.mean() - expected) < 4 * max(standard_error(values), 0.005 * expected)


def test_langevin_samples_positions_exactly_in_a_harmonic_well() -> None:
    """BAOAB has no time-step error there, whatever the step."""
    atoms = Atoms("Ar50", positions=np.zeros((50, 3)))
    settings = MDSettings(
        ensemble="nvt_langevin", time_step_fs=40.0, temperature_K=300.0, fix_centre_of_mass=False, seed=2
    )
    _, seen = simulate(settings, atoms, Harmonic(atoms.positions), 12_000, lambda s: s.energy)
    energy = seen[500:]
    expected = 1.5 * 50 * KB_EV_PER_K * 300.0
    assert abs(energy.mean() - expected) < 4 * standard_error(energy)
    assert standard_error(energy) < 0.01 * expected
    assert energy.var() == pytest.approx(expected * KB_EV_PER_K * 300.0, rel=0.1)


def test_volume_of_an_ideal_gas() -> None:
    """Its volume is distributed as V^N exp(-PV/kT): mean (N + 1) kT/P, variance (N + 1) (kT/P)^2."""
    n, kelvin, pressure = 12, 300.0, 0.01
    unit = KB_EV_PER_K * kelvin / (pressure * GPA_IN_EV_PER_A3)
    atoms = Atoms(f"Ar{n}", positions=np.zeros((n, 3)), cell=np.eye(3) * ((n + 1) * unit) ** (1 / 3), pbc=True)
    settings = MDSettings(
        ensemble="npt",
        time_step_fs=2.0,
        temperature_K=kelvin,
        thermostat_time_fs=20.0,
        pressure_GPa=pressure,
        barostat_time_fs=100.0,
        compressibility_per_GPa=1 / pressure,
        barostat_interval=1,
        fix_centre_of_mass=False,
        seed=4,
    )
    _, seen = simulate(settings, atoms, NoForces(), 60_000, lambda s: s.volume)
    volume = seen[1000:] / unit
    assert standard_error(volume) < 0.2
    assert abs(volume.mean() - (n + 1)) < 4 * standard_error(volume)
    assert volume.var() == pytest.approx(n + 1, rel=0.25)


def test_constant_pressure() -> None:
    """The mean pressure is the target; both barostats find the volume at which NVT has that pressure."""
    target, volumes = 0.1, {}
    start = argon(2, 5.5)
    for ensemble in ("npt", "npt_anisotropic"):
        settings = MDSettings(
            ensemble=ensemble,
            time_step_fs=5.0,
            temperature_K=40.0,
            thermostat_time_fs=200.0,
            pressure_GPa=target,
            barostat_time_fs=200.0,
            compressibility_per_GPa=0.5,
            seed=8,
        )
        state, seen = simulate(
            settings, start, ToyLJ(cutoff=5.1), 10_000, lambda s: (*pressure_tensor_diagonal(s), s.volume)
        )
        seen = seen[1500:]
        pressure = seen[:, :3] / GPA_IN_EV_PER_A3
        assert abs(pressure.mean() - target) < 4 * max(standard_error(pressure.mean(axis=1)), 0.002)
        for axis in range(3):
            assert abs(pressure[:, axis].mean() - target) < 4 * max(standard_error(pressure[:, axis]), 0.004)
        volumes[ensemble] = (seen[:, 3].mean(), standard_error(seen[:, 3]))
        lengths = np.diag(state.cell)
        assert np.allclose(state.cell, np.diag(lengths))
        assert np.isclose(np.ptp(lengths), 0.0) == (ensemble == "npt")
    (one, error), (other, its_error) = volumes.values()
    assert abs(one - other) < 4 * np.hypot(error, its_error)

    settings = MDSettings(ensemble="nvt_nose_hoover", time_step_fs=5.0, temperature_K=40.0, seed=9)
    atoms = argon(2, one ** (1 / 3) / 2)

    def with_stress(state: MDState) -> float:
        state.stress = calculator.results["stress"]
        return float(pressure_tensor_diagonal(state).mean()) / GPA_IN_EV_PER_A3

    calculator = ToyLJ(cutoff=5.1)
    _, pressure = simulate(settings, atoms, calculator, 5000, with_stress)
    pressure = pressure[500:]
    # Error of the mean volume, turned into pressure by a modulus of about 3 GPa.
    assert abs(pressure.mean() - target) < 4 * np.hypot(standard_error(pressure), 3.0 * error / one)


def test_stress_is_needed_for_constant_pressure() -> None:
    settings = MDSettings(ensemble="npt", temperature_K=40.0)
    with pytest.raises(InvalidInputError, match="Harmonic does not"):
        simulate(settings, argon(1), Harmonic(argon(1).positions), 1)


@examples(max_examples=20, deadline=None)
@given(kelvin=st.floats(1.0, 3000.0), seed=st.integers(0, 1000), n=st.integers(1, 3))
def test_drawn_velocities(kelvin: float, seed: int, n: int) -> None:
    state = initial_state(argon(n), kelvin, seed)
    assert temperature(state) == pytest.approx(kelvin)
    assert np.abs(state.masses @ state.velocities).max() < 1e-10
    assert np.array_equal(state.velocities, initial_state(argon(n), kelvin, seed).velocities)
    # ASE's units come out and go in again.
    again = initial_state(state.to_atoms(), None, 0)
    assert np.allclose(again.velocities, state.velocities, atol=1e-15)
    assert state.to_atoms().get_kinetic_energy() == pytest.approx(state.kinetic_energy)


def test_constraints_are_refused() -> None:
    from ase.constraints import FixAtoms

    atoms = argon(1)
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(InvalidInputError, match="set_constraint"):
        initial_state(atoms, 10.0, 0)
