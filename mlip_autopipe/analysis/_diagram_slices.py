"""All temperatures of one diagram: from free energies to phases and boundaries, and the top of a miscibility gap."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.analysis._composition_slice import (
    Anchor,
    FreeEnergyCurve,
    gaps_with_errors,
    largest_barrier,
    segments,
    walk_all,
)
from mlip_autopipe.analysis.coexistence import CRITICAL_BARRIER
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_order import OrderOverlaps
from mlip_autopipe.analysis.phase_slices import SOLUTION, PhaseInterval, TemperatureSlice, TwoPhaseRegion
from mlip_autopipe.analysis.results import GateResult, ValueWithError

if TYPE_CHECKING:
    from mlip_autopipe.analysis.lattice_decoration import LatticeDecoration
    from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian
    from mlip_autopipe.analysis.order_disorder import HeatedAndCooled

WINDOW: Final = 8
MAX_DISAGREEMENT_KT: Final = 0.03
"""Largest accepted difference of two walks within a phase, units of kT per site."""
_BISECTIONS: Final = 3
_RAISE: Final = 1.1
_CURVE_POINTS: Final = 40
_FINITE_SIZE: Final = 0.01
"""Relative error of a critical temperature from the barrier in 250 sites: `benchmarks/monte_carlo_known.py`."""


class DiagramSlices:
    """The slices of a binary.

    Parameters
    ----------
    hamiltonian
        Of the cell.
    ordered, runs
        Ordered ground states, and their runs over temperature.
    sweeps, seed
        Of the walks.
    """

    def __init__(
        self,
        hamiltonian: LatticeHamiltonian,
        ordered: Sequence[LatticeDecoration],
        runs: Sequence[HeatedAndCooled],
        *,
        sweeps: int,
        seed: int,
    ) -> None:
        self.hamiltonian, self._runs, self._sweeps, self._seed = hamiltonian, runs, sweeps, seed
        self._order = OrderOverlaps(hamiltonian, ordered) if ordered else None
        self._curves: dict[float, FreeEnergyCurve] = {}
        self._slices: dict[float, TemperatureSlice] = {}
        n = hamiltonian.n_sites
        self._ends = [np.zeros(n, dtype=np.int8), np.ones(n, dtype=np.int8)]
        states = np.array([*self._ends, *(hamiltonian.occupation(state) for state in ordered)])
        self._hull = sorted(zip(states.mean(axis=1), hamiltonian.energy_eV(states), strict=True))

    def add(self, temperature_K: float) -> TemperatureSlice:
        """Calculate the slice at a temperature."""
        seed = int(np.random.SeedSequence([self._seed, round(1e3 * temperature_K)]).generate_state(1)[0])
        curve = walk_all(self.hamiltonian, self._anchors(temperature_K), temperature_K, sweeps=self._sweeps, seed=seed)
        self._curves[temperature_K] = curve
        self._slices[temperature_K] = self._read(curve, temperature_K)
        return self._slices[temperature_K]

    def all(self) -> tuple[TemperatureSlice, ...]:
        """Return the slices, ascending in temperature."""
        return tuple(self._slices[kelvin] for kelvin in sorted(self._slices))

    def consolute_temperature_K(self, highest_K: float) -> ValueWithError | None:
        """Return the top of the miscibility gap between two solutions, with the errors of sampling and size.

        Slices are added: above the highest one while it has a gap, and then between it and the one above.

        Parameters
        ----------
        highest_K
            None is looked for above.
        """
        while self._miscibility_gap(top := max(self._slices)) and top * _RAISE < highest_K:
            self.add(top * _RAISE)
        kelvin = sorted(self._slices)
        separated = [t for t in kelvin if self._miscibility_gap(t)]
        if not separated or separated[-1] == kelvin[-1] or separated[-1] > highest_K:
            return None
        low, high = separated[-1], kelvin[kelvin.index(separated[-1]) + 1]
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            self.add(middle)
            low, high = (middle, high) if self._miscibility_gap(middle) else (low, middle)
        gap = self._miscibility_gap(low)
        assert gap is not None
        n = self.hamiltonian.n_sites
        ends = gap.low.value * n, gap.high.value * n
        above = [t for t in sorted(self._slices) if t >= low]
        barriers = {t: largest_barrier(self._curves[t], *ends) for t in above}
        # the barrier of a slice may be there without standing out of its error
        high = next((t for t in above if barriers[t][0] < CRITICAL_BARRIER), above[-1])
        low = above[max(above.index(high) - 1, 0)]
        (under, error), (over, other) = barriers[low], barriers[high]
        share = float(np.clip((under - CRITICAL_BARRIER) / max(under - over, 1e-9), 0.0, 1.0))
        value = low + share * (high - low)
        slope = max(under - over, 1e-9) / max(high - low, 1e-9)
        sampling = min(float(np.hypot(error, other)) / slope, high - low)
        return ValueWithError(value, float(np.hypot(max(sampling, (high - low) / 4), _FINITE_SIZE * value)))

    def walks_agree(self) -> GateResult:
        """Check that every phase is reached without loss: it holds an anchor, or walks from both sides agree in it."""
        worst = max(self._slices.values(), key=lambda item: item.disagreement_kT)
        return GateResult(
            "walks_agree",
            worst.disagreement_kT <= MAX_DISAGREEMENT_KT,
            f"free energies of one phase from both sides differ by at most {worst.disagreement_kT:.2g} kT per site, at "
            f"{worst.temperature_K:.0f} K; up to {MAX_DISAGREEMENT_KT:g} is accepted, more sweeps make it less",
        )

    def no_lower_state(self, tolerance_eV: float) -> GateResult:
        """Check that no decoration lies farther below the hull of the ground states than the expansion's error."""
        fractions, energies = np.array(self._hull).T
        worst, where = 0.0, ""
        for kelvin, curve in self._curves.items():
            x = curve.decorations.mean(axis=1)
            below = np.interp(x, fractions, energies) - self.hamiltonian.energy_eV(curve.decorations)
            if below.max() > worst:
                worst, place = float(below.max()), x[int(np.argmax(below))]
                where = f", at the fraction {place:.3f} of {self.hamiltonian.elements[1]} and {kelvin:.0f} K"
        passed = worst <= tolerance_eV
        remedy = "" if passed else "; the expansion has other ground states: add such structures to the fit"
        return GateResult(
            "no_lower_state",
            passed,
            f"decorations lie at most {1e3 * worst:.2g} meV/atom below the ground states{where}; up to the "
            f"cross-validation error, {1e3 * tolerance_eV:.2g}, is accepted{remedy}",
        )

    def _anchors(self, temperature_K: float) -> list[Anchor]:
        n, beta = self.hamiltonian.n_sites, 1 / (BOLTZMANN_EV_PER_K * temperature_K)
        found = {
            int(end.sum()): Anchor(int(end.sum()), float(beta * n * self.hamiltonian.energy_eV(end)), 0.0, end)
            for end in self._ends
        }
        for run in self._runs:
            value, error, decoration = run.lower_at(temperature_K)
            count = int(decoration.sum())
            # of several structures of one composition the lower one
            if count not in found or n * value < found[count].free_energy:
                found[count] = Anchor(count, n * value, n * error, decoration)
        return [found[count] for count in sorted(found)]

    def _read(self, curve: FreeEnergyCurve, temperature_K: float) -> TemperatureSlice:
        n, thermal = self.hamiltonian.n_sites, BOLTZMANN_EV_PER_K * temperature_K
        gaps, fractions, errors, potentials = gaps_with_errors(curve)
        ranges = segments(curve, gaps, self._order)
        single, two = [], []
        for k, parts in enumerate(ranges):
            first = ValueWithError(0.0, 0.0) if k == 0 else _value(fractions, errors, k - 1, 1)
            last = ValueWithError(1.0, 0.0) if k == len(gaps) else _value(fractions, errors, k, 0)
            width = WINDOW / n / 2
            inner = [ValueWithError(part.last / n, width) for part in parts[:-1]]
            ends = [first, *inner, last]
            single += [PhaseInterval(p.phase, a, b) for p, a, b in zip(parts, ends[:-1], ends[1:], strict=True)]
            if k < len(gaps):
                two.append(
                    TwoPhaseRegion(
                        phases=(parts[-1].phase, ranges[k + 1][0].phase),
                        low=_value(fractions, errors, k, 0),
                        high=_value(fractions, errors, k, 1),
                        chemical_potential_eV=float(potentials[k] * thermal),
                        barrier_kT=gaps[k].barrier,
                    )
                )
        places = np.unique(np.linspace(0, n, _CURVE_POINTS + 1).round().astype(int))
        return TemperatureSlice(
            temperature_K=temperature_K,
            single_phase=tuple(single),
            two_phase=tuple(two),
            fractions=tuple(float(p / n) for p in places),
            free_energies_eV=tuple(float(curve.values[p] / n * thermal) for p in places),
            disagreement_kT=max(
                float(curve.differences[floor(parts[0].first) : ceil(parts[-1].last) + 1].min()) / n for parts in ranges
            ),
        )

    def _miscibility_gap(self, temperature_K: float) -> TwoPhaseRegion | None:
        """Return the widest region of two disordered solutions at a temperature, if there is one."""
        regions = [r for r in self._slices[temperature_K].two_phase if r.phases == (SOLUTION, SOLUTION)]
        return max(regions, key=lambda r: r.high.value - r.low.value, default=None)


def _value(values: np.ndarray, errors: np.ndarray, gap: int, side: int) -> ValueWithError:
    return ValueWithError(float(values[gap, side]), float(errors[gap, side]))
