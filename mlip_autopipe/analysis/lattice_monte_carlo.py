"""Monte Carlo on a lattice: canonical, semi-grand and variance-constrained ensembles, many replicas at once.

Weights of a state with energy E and n_s atoms of species s:

- canonical: exp(-E / kT) at fixed n_s;
- semi-grand: exp[(-E + sum_s mu_s n_s) / kT], so a larger mu_s means more of s;
- variance-constrained (Sadigh and Erhart, 10.1103/PhysRevB.86.134204):
  exp[-E / kT - (kappa / 2) N sum_s (x_s - t_s)^2], which for two elements is kappa N (x - t)^2. With t = -phi / 2 it is
  mchammer's (10.1002/adts.201900015) for two elements; for three, mchammer sums over the named elements only.
  The free energy F(x) per site has the slope dF/dx = 2 kT kappa (t - <x>).

A sweep is one trial per site. Energies are per site in eV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.statistics import SeriesMean, mean_with_error
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError

if TYPE_CHECKING:
    from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian

KAPPA: Final = 200.0
"""The default constraint holds the composition of 300 sites to within half an atom's share or so."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class LatticeRun:
    """Series of some replicas after equilibration, one record per sweep.

    Attributes
    ----------
    temperatures_K
        (r,).
    energies_eV
        (r, t) per site.
    fractions
        (r, t, m) atomic fractions.
    snapshots
        (r, s, n) decorations at equal spacing, the last one at the end; s = 0 unless asked for.
    occupations
        (r, n) at the end.
    acceptance
        (r,) share of the trials that were accepted.
    """

    temperatures_K: FloatArray
    energies_eV: FloatArray
    fractions: FloatArray
    snapshots: NDArray[np.int8]
    occupations: NDArray[np.int8]
    acceptance: FloatArray

    @cached_property
    def energy(self) -> SeriesMean:
        """Mean energies per site (r,) with errors, eV."""
        return mean_with_error(self.energies_eV)

    @cached_property
    def composition(self) -> SeriesMean:
        """Mean atomic fractions (r, m) with errors."""
        return mean_with_error(np.moveaxis(self.fractions, -1, 1))

    @property
    def heat_capacity_k(self) -> FloatArray:
        """Heat capacities per site (r,) in units of k, from the fluctuations of the energy."""
        thermal = BOLTZMANN_EV_PER_K * self.temperatures_K
        return np.asarray(self.occupations.shape[-1] * self.energies_eV.var(axis=-1) / thermal**2)


def run_canonical(
    hamiltonian: LatticeHamiltonian,
    occupations: ArrayLike,
    temperatures_K: ArrayLike,
    *,
    sweeps: int,
    equilibration: int,
    seed: int,
    n_snapshots: int = 0,
    n_threads: int = 1,
) -> LatticeRun:
    """Run at fixed composition by exchanging unlike atoms.

    Parameters
    ----------
    hamiltonian
        Energies of the supercell.
    occupations
        (n,) or (r, n) decorations to start from.
    temperatures_K
        (r,) of the replicas.
    sweeps, equilibration
        Sweeps that are recorded, and before them.
    seed
        Equal seeds give equal runs, whatever the number of threads.
    n_snapshots
        Decorations kept of each replica.
    n_threads
        Replicas that run at the same time.

    Raises
    ------
    InvalidInputError
        Temperatures are not positive, decorations do not fit, or fewer than 8 sweeps.
    """
    kelvin, starts = _replicas(hamiltonian, occupations, temperatures_K, sweeps, equilibration, n_snapshots)
    states = random_states(seed, len(kelvin))

    def one(k: int) -> tuple[Any, ...]:
        from mlip_autopipe.analysis._lattice_kernels import exchange

        occupation, m, beta = starts[k].copy(), hamiltonian.n_elements, 1 / (BOLTZMANN_EV_PER_K * kelvin[k])
        arrays, state = hamiltonian.arrays, states[k : k + 1]
        total = _total_eV(hamiltonian, occupation)
        snapshots = np.empty((n_snapshots, len(occupation)), dtype=np.int8)
        series = np.empty(sweeps)
        total, _ = exchange(occupation, total, m, arrays, beta, state, np.empty(equilibration), snapshots[:0])
        _, accepted = exchange(occupation, total, m, arrays, beta, state, series, snapshots)
        counts = np.broadcast_to(np.bincount(occupation, minlength=m), (sweeps, m))
        return occupation, series, counts, snapshots, accepted

    return _collected(hamiltonian, kelvin, in_threads(one, len(kelvin), n_threads))


def run_semi_grand(
    hamiltonian: LatticeHamiltonian,
    occupations: ArrayLike,
    temperatures_K: ArrayLike,
    chemical_potentials_eV: Mapping[str, ArrayLike],
    *,
    sweeps: int,
    equilibration: int,
    seed: int,
    n_snapshots: int = 0,
    n_threads: int = 1,
) -> LatticeRun:
    """Run at fixed differences of chemical potentials; the weight is exp[(-E + sum_s mu_s n_s) / kT].

    Parameters
    ----------
    chemical_potentials_eV
        By element, one number or one per replica (r,); elements that are not named have 0. Only differences matter.

    For the others, and the errors, see `run_canonical`.
    """
    kelvin, starts = _replicas(hamiltonian, occupations, temperatures_K, sweeps, equilibration, n_snapshots)
    mu = _by_element(hamiltonian, chemical_potentials_eV, len(kelvin))
    fields = mu / (BOLTZMANN_EV_PER_K * kelvin[:, None])
    nothing = np.zeros_like(mu)
    return _transmuted(
        hamiltonian, kelvin, starts, (fields, 0.0, nothing), (sweeps, equilibration, n_snapshots), seed, n_threads
    )


def run_variance_constrained(
    hamiltonian: LatticeHamiltonian,
    occupations: ArrayLike,
    temperatures_K: ArrayLike,
    targets: Mapping[str, ArrayLike],
    *,
    kappa: float = KAPPA,
    sweeps: int,
    equilibration: int,
    seed: int,
    n_snapshots: int = 0,
    n_threads: int = 1,
) -> LatticeRun:
    """Run with the composition held near targets, also where phases would separate.

    Parameters
    ----------
    targets
        Atomic fractions by element, one number or one per replica (r,); of all elements, or of all but one.
    kappa
        Strength of the constraint, no unit.

    For the others, and the errors, see `run_canonical`. The slope of the free energy is `free_energy_slopes_eV`.
    """
    kelvin, starts = _replicas(hamiltonian, occupations, temperatures_K, sweeps, equilibration, n_snapshots)
    if not kappa > 0:
        raise InvalidInputError(f"kappa ({kappa}) must be above 0")
    wanted = _targets(hamiltonian, targets, len(kelvin))
    n = hamiltonian.n_sites
    lengths = (sweeps, equilibration, n_snapshots)
    bias = (np.zeros_like(wanted), kappa / n, wanted * n)
    return _transmuted(hamiltonian, kelvin, starts, bias, lengths, seed, n_threads)


def free_energy_slopes_eV(run: LatticeRun, targets: ArrayLike, kappa: float = KAPPA) -> tuple[FloatArray, FloatArray]:
    """Return dF/dx (r,) of variance-constrained runs of two elements, with errors, eV per site.

    Parameters
    ----------
    run
        Of `run_variance_constrained`; x is the fraction of the second element.
    targets
        (r,) of the second element.
    kappa
        As of the run.
    """
    factor = 2 * BOLTZMANN_EV_PER_K * run.temperatures_K * kappa
    found = run.composition
    return factor * (np.asarray(targets) - found.mean[:, 1]), factor * found.stderr[:, 1]


def in_threads(function: Callable[[int], T], count: int, n_threads: int) -> list[T]:
    """Call a function with 0 ... count - 1; compiled loops let other threads run."""
    if n_threads <= 1 or count <= 1:
        return [function(k) for k in range(count)]
    with ThreadPoolExecutor(min(n_threads, count)) as pool:
        return list(pool.map(function, range(count)))


def _transmuted(
    hamiltonian: LatticeHamiltonian,
    kelvin: FloatArray,
    starts: NDArray[np.int8],
    bias: tuple[FloatArray, float, FloatArray],
    lengths: tuple[int, int, int],
    seed: int,
    n_threads: int,
) -> LatticeRun:
    fields, curvature, targets = bias
    sweeps, equilibration, n_snapshots = lengths
    states = random_states(seed, len(kelvin))

    def one(k: int) -> tuple[Any, ...]:
        from mlip_autopipe.analysis._lattice_kernels import transmute

        occupation, m, beta = starts[k].copy(), hamiltonian.n_elements, 1 / (BOLTZMANN_EV_PER_K * kelvin[k])
        counts = np.bincount(occupation, minlength=m).astype(np.int64)
        weights = (beta, fields[k], curvature, targets[k], states[k : k + 1])
        snapshots = np.empty((n_snapshots, len(occupation)), dtype=np.int8)
        total = _total_eV(hamiltonian, occupation)
        accepted = 0
        for length, kept in ((equilibration, snapshots[:0]), (sweeps, snapshots)):
            series, history = np.empty(length), np.empty((length, m), dtype=np.int64)
            total, accepted = transmute(
                occupation, counts, total, m, hamiltonian.arrays, *weights, series, history, kept
            )
        return occupation, series, history, snapshots, accepted

    return _collected(hamiltonian, kelvin, in_threads(one, len(kelvin), n_threads))


def _collected(hamiltonian: LatticeHamiltonian, kelvin: FloatArray, parts: Sequence[tuple[Any, ...]]) -> LatticeRun:
    occupations, series, histories, snapshots, accepted = zip(*parts, strict=True)
    n = hamiltonian.n_sites
    energies = (np.array(series) + hamiltonian.constant_eV) / n
    return LatticeRun(
        temperatures_K=kelvin,
        energies_eV=energies,
        fractions=np.array(histories) / n,
        snapshots=np.array(snapshots),
        occupations=np.array(occupations),
        acceptance=np.array(accepted) / (n * energies.shape[1]),
    )


def _total_eV(hamiltonian: LatticeHamiltonian, occupation: NDArray[np.int8]) -> float:
    """Energy of the cell without the constant: what the loops carry along."""
    return float(hamiltonian.energy_eV(occupation)) * hamiltonian.n_sites - hamiltonian.constant_eV


def _replicas(
    hamiltonian: LatticeHamiltonian,
    occupations: ArrayLike,
    temperatures_K: ArrayLike,
    sweeps: int,
    equilibration: int,
    n_snapshots: int,
) -> tuple[FloatArray, NDArray[np.int8]]:
    kelvin = np.atleast_1d(np.asarray(temperatures_K, dtype=float))
    if kelvin.ndim != 1 or not (np.isfinite(kelvin).all() and (kelvin > 0).all()):
        raise InvalidInputError(f"temperatures must be one row of numbers above 0 K, not {temperatures_K!r}")
    if sweeps < 8 or equilibration < 0 or not 0 <= n_snapshots <= sweeps:
        raise InvalidInputError(
            f"{sweeps} sweeps (at least 8), {equilibration} before them (at least 0) and {n_snapshots} snapshots "
            "(at most one per sweep) do not go together"
        )
    starts = hamiltonian.checked(occupations)
    if starts.ndim > 2 or (starts.ndim == 2 and len(starts) != len(kelvin)):
        raise InvalidInputError(f"{len(kelvin)} temperatures need one decoration or as many, not {starts.shape[:-1]}")
    try:
        import numba  # noqa: F401
    except ModuleNotFoundError:
        raise EnvironmentProblemError(
            "the lattice Monte Carlo needs numba, which comes with icet: pip install 'mlip-autopipe[alloys]'"
        ) from None
    return kelvin, np.broadcast_to(starts, (len(kelvin), hamiltonian.n_sites))


def random_states(seed: int, count: int) -> NDArray[np.uint64]:
    """Return states (count,) of the generator of the compiled loops, far apart."""
    return np.random.SeedSequence(seed).generate_state(count, dtype=np.uint64).astype(np.uint64)


def _by_element(hamiltonian: LatticeHamiltonian, values: Mapping[str, ArrayLike], replicas: int) -> FloatArray:
    if unknown := sorted(set(values) - set(hamiltonian.elements)):
        raise InvalidInputError(f"{', '.join(unknown)} is not among the elements {', '.join(hamiltonian.elements)}")
    table = np.zeros((replicas, hamiltonian.n_elements))
    for symbol, value in values.items():
        array = np.asarray(value, dtype=float)
        if array.shape not in ((), (replicas,)) or not np.isfinite(array).all():
            raise InvalidInputError(f"{symbol} needs one number or one per replica ({replicas}), not {value!r}")
        table[:, hamiltonian.elements.index(symbol)] = array
    return table


def _targets(hamiltonian: LatticeHamiltonian, targets: Mapping[str, ArrayLike], replicas: int) -> FloatArray:
    table = _by_element(hamiltonian, targets, replicas)
    left = [k for k, symbol in enumerate(hamiltonian.elements) if symbol not in targets]
    if len(left) == 1:
        table[:, left[0]] = 1 - table.sum(axis=1)
    if len(left) > 1 or np.abs(table.sum(axis=1) - 1).max() > 1e-6:
        raise InvalidInputError("targets must name all elements, or all but one, and sum to 1")
    return table
