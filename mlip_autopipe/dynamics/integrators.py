"""Integrators: NVE, NVT (Langevin, Nose-Hoover chain) and NPT (stochastic cell rescaling).

Each advances an `MDState` in place by one step, with one force evaluation per step, and keeps nothing of its own that
changes: all variables are in the state.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlip_autopipe.dynamics.state import (
    AMU_A2_PER_FS2_IN_EV,
    GPA_IN_EV_PER_A3,
    KB_EV_PER_K,
    ForceEvaluator,
    MDState,
    degrees_of_freedom,
    pressure_tensor_diagonal,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlip_autopipe.dynamics.settings import MDSettings


class Integrator(Protocol):
    """One ensemble."""

    needs_stress: bool

    def prepare(self, state: MDState) -> None:
        """Add the variables of thermostat and barostat that a new state lacks."""
        ...

    def step(self, state: MDState, evaluate: ForceEvaluator) -> None:
        """Advance by one step; `state.forces` belong to `state.positions` before and after."""
        ...

    def conserved_energy(self, state: MDState) -> float:
        """Energy in eV that an exact integrator would keep constant; NaN where none is known."""
        ...


class VelocityVerlet:
    """NVE: velocity Verlet (DOI 10.1063/1.442716)."""

    needs_stress = False

    def __init__(self, settings: MDSettings, state: MDState) -> None:
        self._dt = settings.time_step_fs
        self._half_kick = (0.5 * self._dt / (state.masses * AMU_A2_PER_FS2_IN_EV))[:, None]

    def prepare(self, state: MDState) -> None:
        """Nothing to add."""

    def step(self, state: MDState, evaluate: ForceEvaluator) -> None:
        """Kick, drift, kick."""
        state.velocities += self._half_kick * state.forces
        state.positions += self._dt * state.velocities
        evaluate(state)
        state.velocities += self._half_kick * state.forces
        state.step += 1

    def conserved_energy(self, state: MDState) -> float:
        """Total energy."""
        return state.kinetic_energy + state.energy


class NoseHooverChain(VelocityVerlet):
    """NVT: Nose-Hoover chain, third-order Suzuki-Yoshida (Martyna et al., DOI 10.1080/00268979600100761)."""

    _weights = (1.0 / (2.0 - 2.0 ** (1.0 / 3.0)), 1.0 - 2.0 / (2.0 - 2.0 ** (1.0 / 3.0)))
    _suzuki_yoshida = (_weights[0], _weights[1], _weights[0])

    def __init__(self, settings: MDSettings, state: MDState) -> None:
        super().__init__(settings, state)
        self._length = settings.chain_length
        self._kT = KB_EV_PER_K * settings.target_temperature_K
        self._dof = degrees_of_freedom(state.n_atoms, fix_centre_of_mass=settings.fix_centre_of_mass)
        one = self._kT * settings.thermostat_time_fs**2
        self._masses = [self._dof * one] + [one] * (self._length - 1)

    def prepare(self, state: MDState) -> None:
        """Start the chain at rest."""
        for name in ("chain_position", "chain_velocity"):
            state.thermostat.setdefault(name, np.zeros(self._length))

    def step(self, state: MDState, evaluate: ForceEvaluator) -> None:
        """Half a step of the chain, velocity Verlet, half a step of the chain."""
        self._chain(state)
        super().step(state, evaluate)
        self._chain(state)

    def conserved_energy(self, state: MDState) -> float:
        """Energy of the particles and of the chain."""
        position, velocity = state.thermostat["chain_position"], state.thermostat["chain_velocity"]
        chain = 0.5 * float(np.dot(self._masses, velocity**2))
        chain += self._kT * (self._dof * float(position[0]) + float(position[1:].sum()))
        return state.kinetic_energy + state.energy + chain

    def _chain(self, state: MDState) -> None:
        position = state.thermostat["chain_position"].tolist()
        velocity = state.thermostat["chain_velocity"].tolist()
        masses, last = self._masses, self._length - 1
        twice_kinetic = 2.0 * state.kinetic_energy
        scale = 1.0

        def push(k: int, time: float) -> None:
            if k == 0:
                force = (twice_kinetic * scale * scale - self._dof * self._kT) / masses[0]
            else:
                force = (masses[k - 1] * velocity[k - 1] ** 2 - self._kT) / masses[k]
            damp = exp(-0.5 * time * velocity[k + 1]) if k < last else 1.0
            velocity[k] = (velocity[k] * damp + force * time) * damp

        for weight in self._suzuki_yoshida:
            half = 0.5 * weight * self._dt
            for k in range(last, -1, -1):
                push(k, 0.5 * half)
            scale *= exp(-half * velocity[0])
            for k in range(last + 1):
                position[k] += half * velocity[k]
            for k in range(last + 1):
                push(k, 0.5 * half)
        state.velocities *= scale
        state.thermostat["chain_position"] = np.array(position)
        state.thermostat["chain_velocity"] = np.array(velocity)


class LangevinBAOAB(VelocityVerlet):
    """NVT: Langevin dynamics in the BAOAB splitting (Leimkuhler and Matthews, DOI 10.1063/1.4802990).

    With `fix_centre_of_mass` the velocity of the centre of mass is projected out after every random kick, which
    samples the canonical distribution of the remaining 3n - 3 components.
    """

    def __init__(self, settings: MDSettings, state: MDState) -> None:
        super().__init__(settings, state)
        self._kT = KB_EV_PER_K * settings.target_temperature_K
        self._damp = exp(-self._dt / settings.thermostat_time_fs)
        self._noise = sqrt(1.0 - self._damp**2) * np.sqrt(self._kT / (state.masses * AMU_A2_PER_FS2_IN_EV))[:, None]
        self._mass_fraction = state.masses / state.masses.sum()
        self._fix = settings.fix_centre_of_mass and state.n_atoms > 1

    def step(self, state: MDState, evaluate: ForceEvaluator) -> None:
        """Kick, half drift, thermostat, half drift, kick."""
        state.velocities += self._half_kick * state.forces
        self._drift_and_thermostat(state)
        evaluate(state)
        state.velocities += self._half_kick * state.forces
        state.step += 1

    def conserved_energy(self, state: MDState) -> float:
        """Total energy less the heat that came from the thermostat."""
        return state.kinetic_energy + state.energy - state.heat

    def _drift_and_thermostat(self, state: MDState) -> None:
        velocities = state.velocities
        state.positions += (0.5 * self._dt) * velocities
        before = state.kinetic_energy
        velocities *= self._damp
        velocities += self._noise * state.rng.standard_normal(velocities.shape)
        if self._fix:
            velocities -= self._mass_fraction @ velocities
        state.heat += state.kinetic_energy - before
        state.positions += (0.5 * self._dt) * velocities


class StochasticCellRescaling(LangevinBAOAB):
    """NPT: BAOAB with stochastic cell rescaling, isotropic or along x, y and z independently.

    Isotropic: Bernetti and Bussi, DOI 10.1063/5.0020514, integrated in the square root of the volume. Anisotropic: the
    diagonal case of Del Tatto et al., DOI 10.3390/app12031139, integrated in the logarithms of the three stretches;
    its mean stretches obey the isotropic equation. The cell is rescaled inside the step, so no extra force evaluation
    is needed. The compressibility sets the rate of relaxation only, not the distribution.
    """

    needs_stress = True

    def __init__(self, settings: MDSettings, state: MDState) -> None:
        super().__init__(settings, state)
        self._pressure = settings.pressure_GPa * GPA_IN_EV_PER_A3
        self._every = settings.barostat_interval
        compressibility = settings.compressibility_per_GPa / GPA_IN_EV_PER_A3
        self._rate = compressibility * self._every * self._dt / settings.barostat_time_fs
        self._isotropic = settings.ensemble == "npt"

    def step(self, state: MDState, evaluate: ForceEvaluator) -> None:
        """Kick, rescale when due, half drift, thermostat, half drift, kick."""
        stretch = self._stretch(state) if state.step % self._every == 0 else None
        state.velocities += self._half_kick * state.forces
        if stretch is not None:
            state.positions *= stretch
            state.cell *= stretch
            state.velocities /= stretch
        self._drift_and_thermostat(state)
        evaluate(state)
        state.velocities += self._half_kick * state.forces
        state.step += 1

    def conserved_energy(self, state: MDState) -> float:
        """Not defined here."""
        return float("nan")

    def _stretch(self, state: MDState) -> NDArray[np.float64]:
        pressure, volume = pressure_tensor_diagonal(state), state.volume
        if self._isotropic:
            root = sqrt(volume)
            drift = self._pressure - float(pressure.mean()) - self._kT / (2.0 * volume)
            new = root - 0.5 * self._rate * root * drift
            new += sqrt(0.5 * self._kT * self._rate) * float(state.rng.standard_normal())
            # A cell that would collapse or turn inside out is left to the volume guard.
            return np.full(3, exp(2.0 / 3.0 * log(max(new, 0.5 * root) / root)))
        logs = self._rate / 3.0 * (pressure - self._pressure)
        logs += sqrt(2.0 * self._kT * self._rate / (3.0 * volume)) * state.rng.standard_normal(3)
        return np.asarray(np.exp(np.clip(logs, -0.5, 0.5)))


def make_integrator(settings: MDSettings, state: MDState) -> Integrator:
    """Return the integrator of `settings.ensemble`, with its variables added to `state`."""
    kinds: dict[str, type[VelocityVerlet]] = {
        "nve": VelocityVerlet,
        "nvt_langevin": LangevinBAOAB,
        "nvt_nose_hoover": NoseHooverChain,
        "npt": StochasticCellRescaling,
        "npt_anisotropic": StochasticCellRescaling,
    }
    integrator = kinds[settings.ensemble](settings, state)
    integrator.prepare(state)
    return integrator
