"""A crystal whose isobaric ensemble is known exactly: independent harmonic atoms, stiffness and energy by volume.

U = E(V) + k(V) u^2 / 2 with 3N displacements u, E = N e(V). So p(V) ~ exp(-(P V + E)/kT) k^(-3N/2), and k u^2 / kT is
chi-squared distributed with 3N degrees of freedom at every volume.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from .series import autoregressive

GPA = 160.2176634


@dataclass(frozen=True)
class ExactCrystal:
    n_atoms: int = 108
    temperature_K: float = 300.0
    pressure_GPa: float = 0.0
    volume: float = 11.6  # per atom, static
    modulus_GPa: float = 140.0
    gruneisen: float = 2.0
    stiffness: float = 3.0
    static_pressure_GPa: float = 0.0  # of the extra term of a changed crystal

    @property
    def kT(self):
        return 8.617333262e-5 * self.temperature_K

    def static_energy(self, v):
        """Per cell, in eV, at the cell volume v; Poirier-Tarantola's second order plus a linear term."""
        n, b = self.n_atoms, self.modulus_GPa / GPA
        return n * self.volume * b / 2 * np.log(v / (n * self.volume)) ** 2 - self.static_pressure_GPa / GPA * v

    def static_energy_slope(self, v):
        n, b = self.n_atoms, self.modulus_GPa / GPA
        return n * self.volume * b * np.log(v / (n * self.volume)) / v - self.static_pressure_GPa / GPA

    def k(self, v):
        return self.stiffness * (v / (self.n_atoms * self.volume)) ** (-2 * self.gruneisen)

    @cached_property
    def grid(self):
        v = self.n_atoms * self.volume * np.linspace(0.9, 1.15, 20001)
        log_p = -(self.pressure_GPa / GPA * v + self.static_energy(v)) / self.kT
        log_p -= 1.5 * self.n_atoms * np.log(self.k(v))
        p = np.exp(log_p - log_p.max())
        return v, p / p.sum()

    def mean_volume(self):
        v, p = self.grid
        return float(v @ p)

    def bulk_modulus_GPa(self, step=0.01):
        up, down = (replace(self, pressure_GPa=self.pressure_GPa + s).mean_volume() for s in (step, -step))
        return -self.mean_volume() * 2 * step / (up - down)

    def sample(self, n_frames, seed, tau=0.5):
        """Cell volumes (autocorrelation time tau) and squared displacements (independent from frame to frame)."""
        rng = np.random.default_rng(seed)
        v, p = self.grid
        gauss = autoregressive(tau, n_frames, repeats=1, seed=seed + 100_000)[0]
        volumes = np.interp(ndtr(gauss), np.cumsum(p), v)
        squares = self.kT / self.k(volumes) * rng.chisquare(3 * self.n_atoms, n_frames)
        return volumes, squares

    def energy(self, v, u2):
        return self.static_energy(v) + self.k(v) * u2 / 2

    def virial_pressure_GPa(self, v, u2):
        """Minus dU/dV with the displacements scaled along."""
        k = self.k(v)
        slope = -2 * self.gruneisen * k / v
        return -(self.static_energy_slope(v) + slope * u2 / 2 + k * u2 / (3 * v)) * GPA
