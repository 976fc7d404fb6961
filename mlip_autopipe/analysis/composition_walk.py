"""Free energy of a binary on a lattice along its composition, at one temperature.

Windows of a few numbers of atoms, one after the other (successive umbrella sampling, Virnau and Mueller,
10.1063/1.1739216). In each the probabilities with which trial changes of single atoms are accepted give the ratios of
the partition functions Z(n) of neighbouring numbers (Fitzgerald, Picard and Silver, 10.1209/epl/i1999-00257-1):
Z(n) T(n -> n + 1) = Z(n + 1) T(n + 1 -> n). A walk starts from a state whose free energy is known and goes on from the
last decoration of the window before. Where it passes from one phase to another too fast, its free energy comes out too
high, never too low beyond its noise: of several walks the lowest counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis._sublattices import IntArray
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_monte_carlo import random_states
from mlip_autopipe.analysis.statistics import mean_with_error
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian

N_BLOCKS: Final = 16
_WINDOWS: Final = 40
_LONGEST_WINDOW: Final = 8
# Taken off the bias per trial while equilibrating: fills slopes of tens of kT in a few sweeps, then smooths them.
_LEARNING: Final = (0.02, 0.005)
_FADE: Final = 0.7
_FLAT: Final = 0.2
"""Of the mean number of tries at one count: with fewer anywhere, equilibration goes on."""
_PATIENCE: Final = 40
_REPEATS: Final = 4
"""As often is a window sampled, at most, until all its numbers of atoms are."""
_SELDOM: Final = 0.1
"""Of the mean number of tries: with fewer at one count its free energy is in doubt."""


@dataclass(frozen=True, eq=False)
class CompositionWalk:
    """Free energy of a binary along its composition, from one state to another, at one temperature.

    Attributes
    ----------
    temperature_K
        Of the walk.
    ascending
        Whether the number of atoms of the second element grew along the walk.
    counts
        (k + 1,) atoms of the second element, ascending whichever way the walk went.
    steps
        (k,) change of the total free energy from one count to the next, in units of kT.
    influences
        (w, b, k) what each block of each window adds to the steps by its noise: draws of the errors are sums of blocks
        with normal factors.
    ends
        (w,) counts at which the windows ended.
    decorations
        (w, n) their last decorations.
    """

    temperature_K: float
    ascending: bool
    counts: IntArray
    steps: FloatArray
    influences: FloatArray
    ends: IntArray
    decorations: NDArray[np.int8]

    def draws(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Return steps (count, k) with their noise drawn anew."""
        windows, blocks, _ = self.influences.shape
        factors = rng.standard_normal((count, windows, blocks))
        return np.asarray(self.steps + np.einsum("cwb,wbk->ck", factors, self.influences))

    def variances(self) -> FloatArray:
        """Return the variance (k + 1,) of the total at each count against that at the start of the walk."""
        flat = self.influences.reshape(-1, len(self.steps))
        along = flat if self.ascending else flat[:, ::-1]
        summed = np.concatenate([[0.0], (np.cumsum(along, axis=1) ** 2).sum(axis=0)])
        return summed if self.ascending else summed[::-1]


def walk_composition(
    hamiltonian: LatticeHamiltonian,
    occupation: ArrayLike,
    temperature_K: float,
    last_count: int,
    *,
    sweeps: int,
    seed: int,
    window: int | None = None,
) -> CompositionWalk:
    """Walk from a decoration to another number of atoms of the second element.

    Parameters
    ----------
    hamiltonian
        Of two elements.
    occupation
        (n,) to start from, in equilibrium at the temperature.
    temperature_K
        Of the walk.
    last_count
        Atoms of the second element at its end.
    sweeps
        Per window, besides some to equilibrate.
    seed
        Equal seeds give equal walks.
    window
        Steps per window; a fortieth of the sites, from 4 to 8, when None.

    Raises
    ------
    InvalidInputError
        Not two elements, or the walk has no length, or fewer sweeps than blocks.
    """
    n = hamiltonian.n_sites
    now = hamiltonian.checked(occupation).copy()
    start = int(now.sum())
    if hamiltonian.n_elements != 2 or start == last_count or not 0 <= last_count <= n or sweeps < N_BLOCKS:
        raise InvalidInputError(
            f"a walk needs two elements, a number of atoms from 0 to {n} other than its first ({start}), and at least "
            f"{N_BLOCKS} sweeps; {hamiltonian.n_elements}, {last_count} and {sweeps} are given"
        )
    width = window or min(max(4, n // _WINDOWS), _LONGEST_WINDOW)
    direction = 1 if last_count > start else -1
    marks = [*range(start, last_count, direction * width), last_count]
    low, high = min(start, last_count), max(start, last_count)
    steps, influences = np.zeros(high - low), np.zeros((len(marks) - 1, N_BLOCKS, high - low))
    decorations = np.empty((len(marks) - 1, n), dtype=np.int8)
    ends = np.empty(len(marks) - 1, dtype=np.int64)
    state = random_states(seed, 1)
    for k, (begin, end) in enumerate(pairwise(marks)):
        first, last = min(begin, end), max(begin, end)
        window_ = _Window(hamiltonian, temperature_K, first, last, now)
        found, noise = window_.sample(now, sweeps, state)
        steps[first - low : last - low], influences[k][:, first - low : last - low] = found, noise
        window_.go_to(now, end, state)
        decorations[k], ends[k] = now, now.sum()
    return CompositionWalk(temperature_K, direction > 0, np.arange(low, high + 1), steps, influences, ends, decorations)


class _Window:
    """Umbrella sampling between two numbers of atoms."""

    def __init__(
        self, hamiltonian: LatticeHamiltonian, kelvin: float, first: int, last: int, occupation: NDArray[np.int8]
    ) -> None:
        from mlip_autopipe.analysis._lattice_kernels import flip_energies

        self.hamiltonian, self.first, self.last = hamiltonian, first, last
        self.beta = 1 / (BOLTZMANN_EV_PER_K * kelvin)
        # flat sampling needs a bias equal to the free energy; its slope at the start is that of inserting one atom
        up = int(occupation.sum()) < last
        free = occupation == (0 if up else 1)
        weights = -self.beta * flip_energies(occupation, hamiltonian.arrays)[free]
        gain = weights.max() + np.log(np.exp(weights - weights.max()).sum() / (len(occupation) - free.sum() + 1))
        self.bias = (-gain if up else gain) * np.arange(last - first + 1.0)

    def sample(
        self, occupation: NDArray[np.int8], sweeps: int, state: NDArray[np.uint64]
    ) -> tuple[FloatArray, FloatArray]:
        """Return steps (k,) and influences (b, k)."""
        chunk = max(sweeps // 12, 8)
        total = np.zeros((3, self.last - self.first + 1))
        for learning in _LEARNING:
            total += self._run(occupation, chunk, state, learning)
        for attempt in range(_PATIENCE):
            self._flatten(total)
            new = self._run(occupation, chunk, state)
            # the first tries, from before equilibrium, fade
            total = _FADE * total + new
            if attempt > 0 and new[0].min() > _FLAT * new[0].mean():
                break
        blocks: list[FloatArray] = []
        for _ in range(_REPEATS):
            for _ in range(N_BLOCKS):
                self._flatten(total)
                blocks.append(self._run(occupation, sweeps // N_BLOCKS, state))
                # what is sampled at one count does not depend on the bias
                total = total + blocks[-1]
            tries = np.sum(blocks, axis=0)[0]
            if tries.min() > _SELDOM * tries.mean():
                break
        sums = np.array(blocks).reshape(N_BLOCKS, -1, *total.shape).sum(axis=1)
        return self._estimate(sums)

    def go_to(self, occupation: NDArray[np.int8], count: int, state: NDArray[np.uint64]) -> None:
        """Sample on until the number of atoms is one of the ends."""
        for _ in range(10_000):
            if int(occupation.sum()) == count:
                return
            self._run(occupation, 1, state, _LEARNING[-1])
        # no path within the window: change the cheapest sites
        while (excess := int(occupation.sum()) - count) != 0:
            sites = np.flatnonzero(occupation == (1 if excess > 0 else 0))
            trials = np.repeat(occupation[None], len(sites), axis=0)
            trials[np.arange(len(sites)), sites] ^= 1
            occupation[:] = trials[np.argmin(self.hamiltonian.energy_eV(trials))]

    def _run(
        self, occupation: NDArray[np.int8], sweeps: int, state: NDArray[np.uint64], learning: float = 0.0
    ) -> FloatArray:
        """Return (3, k + 1) tries, ups and downs by number of atoms."""
        from mlip_autopipe.analysis._lattice_kernels import umbrella

        sums = np.zeros((3, self.last - self.first + 1))
        arrays = self.hamiltonian.arrays
        umbrella(
            occupation, int(occupation.sum()), arrays, self.beta, self.first, self.last, self.bias, learning, state,
            sweeps, *sums,
        )  # fmt: skip
        return sums

    def _flatten(self, sums: FloatArray) -> None:
        """Set the bias to the free energy, where it has been measured."""
        steps = np.diff(self.bias)
        known, chance_up, chance_down = self._chances(sums)
        steps[known] = np.log(chance_down[known] / chance_up[known])
        self.bias[:] = np.concatenate([[0.0], np.cumsum(steps)])

    def _chances(self, sums: FloatArray) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
        """Return (k,) which steps have been measured, and the probabilities of each and of its reverse."""
        tries, up, down = sums
        tries = np.maximum(tries, 1.0)
        return (up[:-1] > 0) & (down[1:] > 0), up[:-1] / tries[:-1], down[1:] / tries[1:]

    def _estimate(self, blocks: FloatArray) -> tuple[FloatArray, FloatArray]:
        tries, up, down = blocks.sum(axis=0)
        known, chance_up, chance_down = self._chances(blocks.sum(axis=0))
        steps = np.diff(self.bias)
        steps[known] = np.log(chance_down[known] / chance_up[known])
        noise = np.zeros((len(blocks), len(steps)))
        one, other = np.where(known, down[1:], 1.0), np.where(known, up[:-1], 1.0)
        noise[:, known] = ((blocks[:, 2, 1:] - chance_down * blocks[:, 0, 1:]) / one)[:, known]
        noise[:, known] -= ((blocks[:, 1, :-1] - chance_up * blocks[:, 0, :-1]) / other)[:, known]
        # blocks that follow each other may be correlated
        series = noise[:, known].sum(axis=1)
        plain = float(np.sqrt(np.sum(series**2)))
        correlated = len(series) * float(mean_with_error(series).stderr)
        noise *= max(correlated / plain, 1.0) if plain > 0 else 1.0
        # numbers of atoms that were hardly visited although the bias says that they should be: something slow is not
        # in equilibrium, and by as much the free energy may be off
        missing = np.log(np.maximum(_SELDOM * tries.mean() / np.maximum(tries, 0.5), 1.0))
        signs = np.where(np.arange(len(blocks)) % 2 == 0, 1.0, -1.0) / np.sqrt(len(blocks))
        return steps, noise + signs[:, None] * np.maximum(missing[:-1], missing[1:])
