"""Free energy of a decoration on a lattice along the temperature, at one composition.

d(beta F) / d beta = E, from 0 K, where F is the energy of the ground state, or from infinite temperature, where it is
the entropy of mixing. Free energies are those of the finite cell, per site in units of kT (``beta F``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_monte_carlo import LatticeRun, run_canonical
from mlip_autopipe.analysis.statistics import equilibration_start, mean_with_error
from mlip_autopipe.analysis.symmetry import FloatArray

if TYPE_CHECKING:
    from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian

_INFINITE: Final = 1e9
_HOT_POINTS: Final = 8


@dataclass(frozen=True, eq=False)
class TemperatureWalk:
    """Free energy at one composition along temperatures, ascending.

    Attributes
    ----------
    temperatures_K
        (t,).
    energies_eV, energy_stderrs_eV
        (t,) per site.
    heat_capacities_k
        (t,) per site, in units of k.
    free_energies, stderrs
        (t,) beta F per site, no unit.
    decorations
        (t, n) at the end of each temperature.
    snapshots
        (t, s, n) decorations at equal spacing.
    """

    temperatures_K: FloatArray
    energies_eV: FloatArray
    energy_stderrs_eV: FloatArray
    heat_capacities_k: FloatArray
    free_energies: FloatArray
    stderrs: FloatArray
    decorations: NDArray[np.int8]
    snapshots: NDArray[np.int8]


def heat(
    hamiltonian: LatticeHamiltonian,
    occupation: ArrayLike,
    temperatures_K: ArrayLike,
    *,
    sweeps: int,
    seed: int,
    n_snapshots: int = 0,
    start: float | None = None,
) -> TemperatureWalk:
    """Heat a ground state at fixed composition, each temperature from the end of the one before.

    Parameters
    ----------
    occupation
        (n,) of lowest energy at its composition.
    temperatures_K
        (t,) ascending, from one at which hardly an atom is out of place.
    sweeps
        Per temperature, besides a third as many to equilibrate.
    start
        beta F per site at the first temperature, when it is known.
    """
    grid = np.asarray(temperatures_K, dtype=float)
    runs = _sequence(hamiltonian, hamiltonian.checked(occupation), grid, sweeps, seed, n_snapshots)
    energies, errors, variances = _means(runs)
    beta = 1 / (BOLTZMANN_EV_PER_K * grid)
    lowest = float(hamiltonian.energy_eV(occupation))
    begin = start
    if begin is None:
        begin = beta[0] * lowest
        # one kind of excitation: e - e0 falls as exp(-beta d) with d = variance / (e - e0); levels that are nearer than
        # kT are ground states that only rounding tells apart
        above = float(energies[0]) - lowest
        if above > 0 and beta[0] * variances[0] / above > 1:
            begin -= above**2 / variances[0]
    return _integrated(runs, grid, energies, errors, variances, begin)


def cool(
    hamiltonian: LatticeHamiltonian,
    occupation: ArrayLike,
    temperatures_K: ArrayLike,
    *,
    sweeps: int,
    seed: int,
    n_snapshots: int = 0,
    start: float | None = None,
) -> TemperatureWalk:
    """Cool at fixed composition from infinite temperature, or from the highest one when `start` is beta F there.

    For the parameters see `heat`; temperatures are given and returned in ascending order.
    """
    grid = np.asarray(temperatures_K, dtype=float)[::-1]
    occupation = hamiltonian.checked(occupation)
    hot = np.zeros(0)
    begin = start
    if begin is None:
        from scipy.special import gammaln

        counts = np.bincount(occupation, minlength=hamiltonian.n_elements)
        begin = -float(gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()) / hamiltonian.n_sites
        hot = np.concatenate([[_INFINITE], _HOT_POINTS / np.arange(1, _HOT_POINTS)]) * grid[0]
    every = np.concatenate([hot, grid])
    runs = _sequence(hamiltonian, occupation, every, sweeps, seed, n_snapshots)
    energies, errors, variances = _means(runs)
    walk = _integrated(runs, every, energies, errors, variances, begin)
    kept = slice(None, len(hot) - 1 if len(hot) else None, -1)
    return TemperatureWalk(**{name: value[kept] for name, value in vars(walk).items()})


def _sequence(
    hamiltonian: LatticeHamiltonian,
    occupation: NDArray[np.int8],
    temperatures_K: FloatArray,
    sweeps: int,
    seed: int,
    n_snapshots: int,
) -> list[LatticeRun]:
    runs: list[LatticeRun] = []
    seeds = np.random.SeedSequence(seed).generate_state(len(temperatures_K))
    now = occupation
    for kelvin, own in zip(temperatures_K, seeds, strict=True):
        settings = {"sweeps": sweeps, "equilibration": sweeps // 3, "seed": int(own), "n_snapshots": n_snapshots}
        runs.append(run_canonical(hamiltonian, now, [kelvin], **settings))
        now = runs[-1].occupations[0]
    return runs


def _means(runs: list[LatticeRun]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return energies, their errors and -dE/dbeta (t,) per site, from where each run looks stationary."""
    rows = []
    for run in runs:
        series = run.energies_eV[0]
        series = series[int(equilibration_start(series)) :]
        mean = mean_with_error(series)
        rows.append((float(mean.mean), float(mean.stderr), run.occupations.shape[-1] * float(series.var())))
    energies, errors, variances = np.array(rows).T
    return energies, errors, variances


def _integrated(
    runs: list[LatticeRun],
    temperatures_K: FloatArray,
    energies: FloatArray,
    errors: FloatArray,
    variances: FloatArray,
    begin: float,
) -> TemperatureWalk:
    """Integrate E over beta by cubics that have the heat capacities as slopes, limited where those jump.

    A change of energy that the slopes at both ends do not explain happened somewhere between them.
    """
    beta = 1 / (BOLTZMANN_EV_PER_K * temperatures_K)
    width = np.diff(beta)
    secant = np.diff(energies) / width
    limit = np.maximum(-3 * secant, 0.0)
    left, right = np.minimum(variances[:-1], limit), np.minimum(variances[1:], limit)
    pieces = width * (energies[:-1] + energies[1:]) / 2 + width**2 * (right - left) / 12
    jumps = width**2 * (secant + (variances[:-1] + variances[1:]) / 2) / np.sqrt(12)
    weights = (np.concatenate([[0], width]) + np.concatenate([width, [0]])) / 2
    sampling = np.cumsum((weights * errors) ** 2)
    return TemperatureWalk(
        temperatures_K=temperatures_K,
        energies_eV=energies,
        energy_stderrs_eV=errors,
        heat_capacities_k=variances * beta**2,
        free_energies=begin + np.concatenate([[0.0], np.cumsum(pieces)]),
        stderrs=np.sqrt(sampling + np.concatenate([[0.0], np.cumsum(jumps**2)])),
        decorations=np.concatenate([run.occupations for run in runs]),
        snapshots=np.concatenate([run.snapshots for run in runs]),
    )
