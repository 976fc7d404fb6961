"""The temperature-composition diagram of a binary on one lattice, from its cluster expansion, with errors.

At every temperature the free energy of a cell of some hundred sites over all compositions (`lattice_free_energy`), its
lower convex hull and the two-phase regions (`coexistence`); for every ordered structure the temperature at which it
disorders (`order_disorder`). Vibrations, the liquid and phases on other lattices are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis._diagram_slices import DiagramSlices
from mlip_autopipe.analysis._sublattices import IntArray
from mlip_autopipe.analysis.cluster_expansion import MAX_ERROR_RATIO, ClusterExpansion
from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.analysis.lattice_decoration import LatticeDecoration, common_supercell
from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian
from mlip_autopipe.analysis.lattice_monte_carlo import in_threads
from mlip_autopipe.analysis.order_disorder import HeatedAndCooled, OrderDisorder, order_disorder
from mlip_autopipe.analysis.phase_slices import TemperatureSlice
from mlip_autopipe.analysis.results import GateResult, ValueWithError
from mlip_autopipe.analysis.solution_model import SolutionModel, fit_solution_model
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

SWEEPS: Final = 320
TARGET_SITES: Final = 280
N_TEMPERATURES: Final = 10
# Of the highest transition.
_RANGE: Final = (0.3, 1.12)
# Of the mean-field estimate: where hardly an atom is out of place, and where nothing is ordered.
_COLDEST, _HOTTEST, _RATIO = 0.08, 1.35, 1.07
# Short-range order can put a miscibility gap higher than the mean field does, though rarely.
_MEAN_FIELD_MARGIN: Final = 1.5
_SMALL_SITES: Final = (80, 130)
# Of a transition's temperature: where the ordered and the disordered phase are compared.
_BELOW, _ABOVE = (0.86, 0.95), (1.05, 1.16)
_RANDOM_GRID: Final = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class PhaseBoundaries:
    """A diagram; JSON by `to_dict`, and back by `from_dict`.

    Attributes
    ----------
    elements
        Alphabetical; compositions are fractions of the second.
    n_sites, sweeps
        Of the cell, and per window of a walk.
    slices
        Ascending in temperature.
    order_disorder
        Of the ordered ground states.
    consolute_temperature_K
        Top of the miscibility gap between two disordered solutions; None without one.
    baseline
        Sub-regular solution with the energies of the random alloy.
    gates
        Checks. When the expansion cannot be trusted there are neither slices nor temperatures.
    """

    elements: tuple[str, ...]
    n_sites: int
    sweeps: int
    slices: tuple[TemperatureSlice, ...]
    order_disorder: tuple[OrderDisorder, ...]
    consolute_temperature_K: ValueWithError | None
    baseline: SolutionModel | None
    gates: tuple[GateResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "elements": list(self.elements),
            "n_sites": self.n_sites,
            "sweeps": self.sweeps,
            "slices": [item.to_dict() for item in self.slices],
            "order_disorder": [item.to_dict() for item in self.order_disorder],
            "consolute_temperature_K": self.consolute_temperature_K and self.consolute_temperature_K._asdict(),
            "baseline": self.baseline and self.baseline.to_dict(),
            "gates": [gate._asdict() for gate in self.gates],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> PhaseBoundaries:
        """Rebuild from `to_dict`, or from the JSON of it."""
        peak = stored["consolute_temperature_K"]
        return cls(
            elements=tuple(stored["elements"]),
            n_sites=int(stored["n_sites"]),
            sweeps=int(stored["sweeps"]),
            slices=tuple(TemperatureSlice.from_dict(item) for item in stored["slices"]),
            order_disorder=tuple(OrderDisorder.from_dict(item) for item in stored["order_disorder"]),
            consolute_temperature_K=peak and ValueWithError(**peak),
            baseline=stored["baseline"] and SolutionModel.from_dict(stored["baseline"]),
            gates=tuple(GateResult(**gate) for gate in stored["gates"]),
        )


def calculate_phase_boundaries(
    expansion: ClusterExpansion,
    temperatures_K: ArrayLike | None = None,
    *,
    sweeps: int = SWEEPS,
    target_sites: int = TARGET_SITES,
    seed: int = 0,
    n_threads: int = 1,
    max_error_ratio: float = MAX_ERROR_RATIO,
) -> PhaseBoundaries:
    """Calculate the diagram of two elements; of three only the temperatures at which ordered structures disorder.

    Parameters
    ----------
    expansion
        Of `fit_cluster_expansion`.
    temperatures_K
        (t,) of the slices; ten that reach from deep below to above all transitions when None.
    sweeps
        Per window of some numbers of atoms, and per temperature of the runs over temperature.
    target_sites
        Size of the cell.
    seed
        Equal seeds give equal diagrams, whatever the number of threads.
    n_threads
        Temperatures, and ordered structures, that are looked at at the same time.
    max_error_ratio
        Of the gate on the expansion.

    Raises
    ------
    InvalidInputError
        Temperatures are not positive, or no cell is large enough for the cut-offs.
    """
    trust = expansion.trustworthy(max_error_ratio)
    gates = [trust, expansion.ground_states_reproduced()]
    binary = len(expansion.elements) == 2
    baseline = _baseline(expansion) if binary else None
    if not trust.passed:
        return PhaseBoundaries(expansion.elements, 0, sweeps, (), (), None, baseline, tuple(gates))
    ordered, cell, fits = _cell(expansion, target_sites)
    hamiltonian = expansion.hamiltonian(cell)
    seeds = [int(k) for k in np.random.SeedSequence(seed).generate_state(len(ordered) + 1)]
    wanted = None if temperatures_K is None else _checked(temperatures_K)
    grid = _grid(expansion.ordering_temperature_K, wanted)

    def transition(k: int) -> tuple[OrderDisorder, HeatedAndCooled, float]:
        small = _small_cell(expansion, ordered[k], hamiltonian.n_sites)
        found, runs = order_disorder(hamiltonian, ordered[k], grid, small=small, sweeps=sweeps, seed=seeds[k])
        kelvin = 0.0 if found.temperature_K is None else found.temperature_K.value
        found = found.with_expansion_error(expansion_error(expansion, hamiltonian, found, runs))
        return found.only_if(expansion.stable_in_energies(ordered[k])), runs, kelvin

    transitions = in_threads(transition, len(ordered), n_threads)
    slices: tuple[TemperatureSlice, ...] = ()
    peak = None
    if baseline is not None:
        work = DiagramSlices(hamiltonian, ordered, [runs for _, runs, _ in transitions], sweeps=sweeps, seed=seeds[-1])
        kelvin = _default([seen for *_, seen in transitions], baseline, grid) if wanted is None else wanted
        in_threads(lambda k: work.add(float(kelvin[k])), len(kelvin), n_threads)
        # without a gap of the random alloy, what looks like one is order of an unknown kind
        highest = min(_MEAN_FIELD_MARGIN * baseline.critical_temperature_K(), grid[-1])
        peak = work.consolute_temperature_K(highest)
        if peak is not None:
            part = peak.value * expansion.relative_error(expansion.mixing_cluster_vector())
            peak = ValueWithError(peak.value, float(np.hypot(peak.stderr, part)))
        slices = work.all()
        gates += [work.walks_agree(), work.no_lower_state(expansion.cross_validation_error_eV)]
    return PhaseBoundaries(
        elements=expansion.elements,
        n_sites=hamiltonian.n_sites,
        sweeps=sweeps,
        slices=slices,
        order_disorder=tuple(found for found, *_ in transitions),
        consolute_temperature_K=peak,
        baseline=baseline,
        gates=(*gates, fits),
    )


def _checked(temperatures_K: ArrayLike) -> FloatArray:
    kelvin = np.unique(np.asarray(temperatures_K, dtype=float))
    if kelvin.size == 0 or not (np.isfinite(kelvin).all() and (kelvin > 0).all()):
        raise InvalidInputError(f"temperatures must be numbers above 0 K, not {temperatures_K!r}")
    return kelvin


def _grid(ordering_temperature_K: float, wanted: FloatArray | None) -> FloatArray:
    """Return the ascending temperatures of the heated and the cooled runs: they enclose those of the slices."""
    low, high = _COLDEST * ordering_temperature_K, _HOTTEST * ordering_temperature_K
    if wanted is not None:
        low, high = min(low, 0.98 * wanted[0]), max(high, 1.02 * wanted[-1])
    count = int(np.ceil(np.log(high / low) / np.log(_RATIO))) + 1
    return np.geomspace(low, high, count)


def _default(transitions_K: Sequence[float], baseline: SolutionModel, grid: FloatArray) -> FloatArray:
    """Return temperatures from deep below to above the highest transition, whether it is reported or not."""
    # mean field makes the critical temperature of separation too high by a tenth or more
    top = max([*transitions_K, 0.95 * baseline.critical_temperature_K() / _RANGE[1]])
    if top <= 0:
        top = grid[-1] / _RANGE[1]
    low, high = max(_RANGE[0] * top, 1.01 * grid[0]), min(_RANGE[1] * top, 0.99 * grid[-1])
    return np.linspace(min(low, high / 2), high, N_TEMPERATURES)


def _cell(expansion: ClusterExpansion, target_sites: int) -> tuple[list[LatticeDecoration], IntArray, GateResult]:
    """Return the ordered ground states that fit into one cell, the cell, and the check that all do."""
    ordered = [state for state in expansion.ground_states if len(set(state.species)) > 1]
    left_out: list[str] = []
    while True:
        try:
            cell = common_supercell(
                ordered, expansion.parent, shortest_image_A=max(expansion.cutoffs_A), target_sites=target_sites
            )
            break
        except InvalidInputError:
            if not ordered:
                raise
            least = min(ordered, key=lambda state: _depth_eV(expansion, state))
            left_out.append(least.name)
            ordered.remove(least)
    return (
        ordered,
        cell,
        GateResult(
            "ground_states_fit",
            not left_out,
            f"no cell of some hundred sites holds all ground states; left out of the diagram, as the least stable: "
            f"{', '.join(left_out)}"
            if left_out
            else "all ground states fit into one cell",
        ),
    )


def expansion_error(
    expansion: ClusterExpansion, hamiltonian: LatticeHamiltonian, found: OrderDisorder, runs: HeatedAndCooled
) -> float:
    """Return the relative error of a transition temperature that comes from the parameters of the expansion."""
    if found.temperature_K is None:
        return 0.0
    vectors = []
    for walk, (low, high) in ((runs.heated, _BELOW), (runs.cooled, _ABOVE)):
        share = walk.temperatures_K / found.temperature_K.value
        near = (share > low) & (share < high)
        kept = walk.snapshots[near if near.any() else [int(np.argmin(np.abs(share - (low + high) / 2)))]]
        vectors.append(expansion.cluster_vector(hamiltonian, kept.reshape(-1, hamiltonian.n_sites)[::2]))
    return expansion.relative_error(vectors[1] - vectors[0])


def _depth_eV(expansion: ClusterExpansion, state: LatticeDecoration) -> float:
    """Return how far a ground state lies below the hull of the others, eV per atom."""
    m = len(expansion.elements)
    fractions = np.array([other.fractions(m) for other in expansion.ground_states])
    energies = np.array(expansion.ground_state_energies_eV)
    place = expansion.ground_states.index(state)
    own = energies[place]
    energies[place] += 1.0 + np.ptp(energies)
    return float(energies[place] - convex_hull(fractions, energies).e_above_hull_eV_per_atom[place] - own)


def _small_cell(expansion: ClusterExpansion, state: LatticeDecoration, n_sites: int) -> LatticeHamiltonian | None:
    """Return a cell of less than half the size, if the structure and the cut-offs allow one."""
    target, most = _SMALL_SITES
    try:
        cell = common_supercell(
            [state],
            expansion.parent,
            shortest_image_A=max(expansion.cutoffs_A),
            target_sites=target,
            max_sites=min(most, n_sites // 2),
        )
    except InvalidInputError:
        return None
    return expansion.hamiltonian(cell)


def _baseline(expansion: ClusterExpansion) -> SolutionModel:
    fractions = np.stack([1 - _RANDOM_GRID, _RANDOM_GRID], axis=1)
    return fit_solution_model(expansion.elements, _RANDOM_GRID, expansion.random_alloy_eV(fractions), order=1)
