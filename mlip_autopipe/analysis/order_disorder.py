"""Temperatures at which ordered structures disorder, at their own compositions.

A run is heated from the ground state and one is cooled from infinite temperature. Where they differ over a range of
temperatures (hysteresis), the transition is where their free energies cross, which needs no jump to happen. Where they
do not, it is where the cumulant <M^4> / <M^2>^2 of the order is the same in a small and a large cell (Binder,
10.1007/BF01293604), and where there is no small cell, the maximum of the heat capacity, whose place in cells of some
hundred sites is off by some percent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_order import OrderOverlaps
from mlip_autopipe.analysis.results import GateResult, ValueWithError
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.analysis.temperature_walk import TemperatureWalk, cool, heat

if TYPE_CHECKING:
    from mlip_autopipe.analysis.lattice_decoration import LatticeDecoration
    from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian

SNAPSHOTS: Final = 16
MAX_RELATIVE_ERROR: Final = 0.5
"""Of a temperature that is reported."""
_HYSTERESIS: Final = 0.05
"""Between heating and cooling, relative to the temperature: beyond it their free energies are compared."""
_NEAR: Final = np.linspace(0.9, 1.14, 8)
_CUMULANT_SWEEPS: Final = 8
"""Times as many sweeps as on the way, since relaxation is slow near the transition."""
_SPACING: Final = 4
_FINITE_SIZE: Final = 0.04
"""Relative error of the maximum of the heat capacity in 250 sites: 4 % too low in B2 of nearest neighbours."""
_CUMULANT_SIZE: Final = 0.015
"""Relative error of equal cumulants in 54 and 250 sites: 1.5 % too low in B2 of nearest neighbours."""
_BOOTSTRAP: Final = 200
_DIFFERENT: Final = 3.0


@dataclass(frozen=True)
class OrderDisorder:
    """The transition of one ordered structure; JSON by `to_dict`.

    Attributes
    ----------
    phase, fractions
        Its name and composition.
    temperature_K
        With all errors; None when no transition was found, or a failed gate withholds it.
    sampling_stderr_K, expansion_stderr_K
        Parts of the error: of the sampling with the size of the cell, and of the cluster expansion.
    bracket_K
        Where the cooled run orders, and where the heated run disorders; None where it does not.
    heat_capacity_maximum_K
        Where the heat capacity of both runs together is largest.
    method
        ``free energies``, ``cumulants``, ``heat capacity`` or ``none``.
    gates
        Checks.
    order_parameters
        Rows of temperature in K, ascending, and the order parameter in the heated and in the cooled run there: the
        overlap with the structure, 1 in perfect order (`lattice_order.OrderOverlaps`).
    """

    phase: str
    fractions: tuple[float, ...]
    temperature_K: ValueWithError | None
    sampling_stderr_K: float
    expansion_stderr_K: float
    bracket_K: tuple[float | None, float | None]
    heat_capacity_maximum_K: float
    method: str
    gates: tuple[GateResult, ...]
    order_parameters: tuple[tuple[float, float, float], ...] = ()

    @property
    def hysteresis_K(self) -> float | None:
        """Temperature of disordering on heating minus that of ordering on cooling; None where one did not happen."""
        low, high = self.bracket_K
        return None if low is None or high is None else high - low

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        plain = dict(vars(self))
        plain["temperature_K"] = self.temperature_K and self.temperature_K._asdict()
        plain["gates"] = [gate._asdict() for gate in self.gates]
        plain["order_parameters"] = [list(row) for row in self.order_parameters]
        return {**plain, "hysteresis_K": self.hysteresis_K}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> OrderDisorder:
        """Rebuild from `to_dict`, or from the JSON of it."""
        found = {key: value for key, value in stored.items() if key != "hysteresis_K"}
        low, high = stored["bracket_K"]
        found["fractions"], found["bracket_K"] = tuple(stored["fractions"]), (low, high)
        found["temperature_K"] = stored["temperature_K"] and ValueWithError(**stored["temperature_K"])
        found["gates"] = tuple(GateResult(**gate) for gate in stored["gates"])
        found["order_parameters"] = tuple(tuple(row) for row in stored["order_parameters"])
        return cls(**found)

    def with_expansion_error(self, relative: float) -> OrderDisorder:
        """Return the same with a relative error of the temperature that comes from the expansion.

        A temperature that is uncertain by more than half of itself is in a failed gate only.
        """
        if self.temperature_K is None:
            return self
        value = self.temperature_K.value
        part = relative * value
        total = ValueWithError(value, float(np.hypot(self.sampling_stderr_K, part)))
        known = total.stderr <= MAX_RELATIVE_ERROR * value
        words = f"{value:.0f} +- {total.stderr:.0f} K; errors up to {100 * MAX_RELATIVE_ERROR:g} % are reported"
        stated = replace(self, expansion_stderr_K=part, temperature_K=total)
        return stated.only_if(GateResult("temperature_known", known, words))

    def only_if(self, gate: GateResult) -> OrderDisorder:
        """Return the same with one check more; without a temperature if that failed."""
        return replace(self, temperature_K=self.temperature_K if gate.passed else None, gates=(*self.gates, gate))


@dataclass(frozen=True, eq=False)
class HeatedAndCooled:
    """The two runs at the composition of an ordered structure, over the same ascending temperatures."""

    heated: TemperatureWalk
    cooled: TemperatureWalk

    def lower_at(self, temperature_K: float) -> tuple[float, float, NDArray[np.int8]]:
        """Return beta F per site, its error and a decoration (n,) at a temperature within the range.

        Of the lower run, where they differ; of the one of smaller error where they do not.
        """
        from scipy.interpolate import CubicHermiteSpline

        walks = (self.heated, self.cooled)
        kelvin = self.heated.temperatures_K
        place = int(np.argmin(np.abs(kelvin - temperature_K)))
        beta = 1 / (BOLTZMANN_EV_PER_K * kelvin[::-1])
        wanted = 1 / (BOLTZMANN_EV_PER_K * temperature_K)
        values = [float(CubicHermiteSpline(beta, w.free_energies[::-1], w.energies_eV[::-1])(wanted)) for w in walks]
        errors = [float(w.stderrs[place]) for w in walks]
        apart = abs(values[0] - values[1]) > _DIFFERENT * float(np.hypot(errors[0], errors[1]))
        best = int(np.argmin(values)) if apart else int(np.argmin(errors))
        return float(values[best]), errors[best], walks[best].decorations[place]


def order_disorder(
    hamiltonian: LatticeHamiltonian,
    state: LatticeDecoration,
    temperatures_K: FloatArray,
    *,
    small: LatticeHamiltonian | None,
    sweeps: int,
    seed: int,
) -> tuple[OrderDisorder, HeatedAndCooled]:
    """Find the temperature at which an ordered structure disorders.

    Parameters
    ----------
    hamiltonian, small
        Of a large cell and, if there is one, of a cell of less than half as many sites; the structure fits into both.
    state
        The ordered structure.
    temperatures_K
        (t,) ascending, from one at which it is in perfect order to one at which it is not ordered.
    sweeps
        Per temperature.
    seed
        Equal seeds give equal results.

    Returns
    -------
    tuple
        The transition, without the error of the expansion, and the two runs.
    """
    seeds = [int(k) for k in np.random.SeedSequence(seed).generate_state(5)]
    ordered = hamiltonian.occupation(state)
    shuffled = np.random.default_rng(seeds[0]).permutation(ordered)
    settings: dict[str, Any] = {"sweeps": sweeps, "n_snapshots": SNAPSHOTS}
    heated = heat(hamiltonian, ordered, temperatures_K, seed=seeds[1], **settings)
    cooled = cool(hamiltonian, shuffled, temperatures_K, seed=seeds[2], **settings)
    runs = HeatedAndCooled(heated, cooled)
    order = OrderOverlaps(hamiltonian, [state])
    levels = [order.of(walk.snapshots)[..., 0].mean(axis=1) for walk in (heated, cooled)]
    bracket = _bracket(temperatures_K, *levels)
    capacity = heated.heat_capacities_k + cooled.heat_capacities_k
    peak = float(temperatures_K[int(np.argmax(capacity))])
    low, high = bracket
    method, value, error = "none", None, 0.0
    if high is not None:
        middle = high if low is None else (low + high) / 2
        if low is None or high - low > _HYSTERESIS * middle:
            method, value, error = "free energies", *_crossing(runs, low, high)
        elif small is not None:
            found = _equal_cumulants((small, hamiltonian), state, middle, sweeps * _CUMULANT_SWEEPS, seeds[3])
            if found is not None:
                method, (value, error) = "cumulants", found
        if value is None:
            method, value, error = "heat capacity", peak, _FINITE_SIZE * peak
    gates = (_disorders(state.name, high, levels[0], temperatures_K), _orders(state.name, low))
    return (
        OrderDisorder(
            phase=state.name,
            fractions=tuple(float(x) for x in state.fractions(hamiltonian.n_elements)),
            temperature_K=None if value is None else ValueWithError(float(value), float(error)),
            sampling_stderr_K=float(error),
            expansion_stderr_K=0.0,
            bracket_K=bracket,
            heat_capacity_maximum_K=peak,
            method=method,
            gates=gates,
            order_parameters=tuple(
                (float(kelvin), float(up), float(down))
                for kelvin, up, down in zip(temperatures_K, *levels, strict=True)
            ),
        ),
        runs,
    )


def _disorders(name: str, high: float | None, order: FloatArray, kelvin: FloatArray) -> GateResult:
    if high is not None:
        detail = f"the heated {name} disorders at {high:.0f} K"
    elif order[-1] > (1 + order.min()) / 2:
        detail = f"the heated {name} is still ordered at {kelvin[-1]:.0f} K: raise the range"
    else:
        detail = f"the heated {name} is not ordered even at {kelvin[0]:.0f} K: other structures have the same energy"
    return GateResult("disorders_on_heating", high is not None, detail)


def _orders(name: str, low: float | None) -> GateResult:
    return GateResult(
        "orders_on_cooling",
        low is not None,
        f"the cooled alloy orders as {name} at {low:.0f} K"
        if low is not None
        else f"the cooled alloy does not order as {name}: its disordering may be that of another phase",
    )


def _bracket(kelvin: FloatArray, heated: FloatArray, cooled: FloatArray) -> tuple[float | None, float | None]:
    """Return where the cooled run reaches and the heated run falls below the order half way from disorder to 1."""
    half = (1 + cooled[-1]) / 2
    lost = np.flatnonzero(heated < half)
    high = _level(kelvin, heated, half, int(lost[0])) if len(lost) and lost[0] > 0 else None
    gained = np.flatnonzero(cooled >= half)
    low = None
    if len(gained) and gained[-1] < len(kelvin) - 1:
        low = _level(kelvin, cooled, half, int(gained[-1]) + 1)
    if low is not None and high is not None and low > high:
        # noise at a transition without hysteresis
        low = high = (low + high) / 2
    return low, high


def _level(kelvin: FloatArray, order: FloatArray, half: float, above: int) -> float:
    """Interpolate between the temperature `above`, at which the order is below half, and the one before it."""
    drop = order[above - 1] - order[above]
    return float(kelvin[above - 1] + (kelvin[above] - kelvin[above - 1]) * (order[above - 1] - half) / drop)


def _crossing(runs: HeatedAndCooled, low: float | None, high: float) -> tuple[float, float]:
    """Return where both have the same free energy, with its error."""
    kelvin = runs.heated.temperatures_K
    difference = runs.heated.free_energies - runs.cooled.free_energies
    noise = np.hypot(runs.heated.stderrs, runs.cooled.stderrs)
    inside = np.flatnonzero((kelvin >= (low or 0.0) * 0.97) & (kelvin <= high * 1.03))
    for k in inside[:-1]:
        if difference[k] <= 0 < difference[k + 1]:
            slope = (difference[k + 1] - difference[k]) / (kelvin[k + 1] - kelvin[k])
            return float(kelvin[k] - difference[k] / slope), float(noise[k] / slope)
    # without a crossing the bracket is what is known
    bottom = low if low is not None else float(kelvin[0])
    return (bottom + high) / 2, (high - bottom) / 2


def _equal_cumulants(
    cells: tuple[LatticeHamiltonian, LatticeHamiltonian],
    state: LatticeDecoration,
    middle: float,
    sweeps: int,
    seed: int,
) -> tuple[float, float] | None:
    """Return where the cumulants of both cells agree, with its error; None when they do not near `middle`."""
    kelvin = middle * _NEAR
    values, errors = [], []
    for cell in cells:
        order = OrderOverlaps(cell, [state])
        walk = heat(
            cell, cell.occupation(state), kelvin, sweeps=sweeps, seed=seed, n_snapshots=sweeps // _SPACING, start=0.0
        )
        cumulant, error = _cumulants(order.squares(walk.snapshots)[..., 0])
        values.append(cumulant)
        errors.append(error)
    difference = values[1] - values[0]
    noise = np.hypot(*errors)
    # the larger cell has the smaller ratio where it is ordered, the larger one where it is not
    rng = np.random.default_rng(seed)
    roots = [
        _root(kelvin, difference + noise * factors, noise) for factors in rng.standard_normal((_BOOTSTRAP, len(kelvin)))
    ]
    nominal = _root(kelvin, difference, noise)
    found = np.array([root for root in roots if root is not None])
    if nominal is None or len(found) < 0.8 * _BOOTSTRAP:
        return None
    return nominal, float(np.hypot(found.std(), _CUMULANT_SIZE * nominal))


def _cumulants(squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return <M^4> / <M^2>^2 (t,) of series (t, s) of M^2, with errors."""
    from mlip_autopipe.analysis.statistics import mean_with_error

    second = squares.mean(axis=1)
    ratio = (squares**2).mean(axis=1) / second**2
    # what each record adds to the ratio
    influence = squares**2 / second[:, None] ** 2 - 2 * ratio[:, None] * squares / second[:, None]
    return ratio, mean_with_error(influence).stderr


def _root(kelvin: FloatArray, difference: FloatArray, noise: FloatArray) -> float | None:
    """Return the zero, rising, of a cubic through the differences."""
    centre, width = kelvin.mean(), np.ptp(kelvin) / 2
    curve = np.polynomial.Polynomial(
        np.polynomial.polynomial.polyfit((kelvin - centre) / width, difference, 3, w=1 / np.maximum(noise, 1e-3))
    )
    slope = curve.deriv()
    real = [float(z.real) for z in curve.roots() if abs(z.imag) < 1e-9 and abs(z.real) <= 1 and slope(z.real) > 0]
    return centre + width * min(real, key=abs) if real else None
