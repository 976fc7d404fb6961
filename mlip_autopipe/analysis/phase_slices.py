"""What one temperature of a phase diagram holds, and how it is written and read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from mlip_autopipe.analysis.results import ValueWithError

SOLUTION: Final = "solution"
"""Name of whatever has no order of a known kind."""


@dataclass(frozen=True)
class PhaseInterval:
    """Compositions at which one phase is stable; ends are fractions of the second element."""

    phase: str
    low: ValueWithError
    high: ValueWithError


@dataclass(frozen=True)
class TwoPhaseRegion:
    """Compositions at which two phases coexist.

    Attributes
    ----------
    phases
        Names on the sides of less and of more of the second element.
    low, high
        Their compositions, fractions of the second element.
    chemical_potential_eV
        Of the second element relative to the first.
    barrier_kT
        Free energy of the interfaces in the cell; a region without one would be one phase.
    """

    phases: tuple[str, str]
    low: ValueWithError
    high: ValueWithError
    chemical_potential_eV: float
    barrier_kT: float


@dataclass(frozen=True)
class TemperatureSlice:
    """The diagram at one temperature; JSON by `to_dict`.

    Attributes
    ----------
    temperature_K
        Of the slice.
    single_phase, two_phase
        From little to much of the second element. Two intervals that touch without a region between them are joined by
        a continuous transition.
    fractions, free_energies_eV
        A coarse curve of the free energy per atom; its zero is that of the formation energies.
    disagreement_kT
        Largest difference, over the phases, of the free energies of a phase by walks from both sides, where they come
        nearest; units of kT per site. A large one shows hysteresis.
    """

    temperature_K: float
    single_phase: tuple[PhaseInterval, ...]
    two_phase: tuple[TwoPhaseRegion, ...]
    fractions: tuple[float, ...]
    free_energies_eV: tuple[float, ...]
    disagreement_kT: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        found = asdict(self)
        parts: tuple[PhaseInterval | TwoPhaseRegion, ...] = (*self.single_phase, *self.two_phase)
        for own, stored in zip(parts, (*found["single_phase"], *found["two_phase"]), strict=True):
            stored["low"], stored["high"] = own.low._asdict(), own.high._asdict()
        return found

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> TemperatureSlice:
        """Rebuild from `to_dict`, or from the JSON of it."""
        found = dict(stored)
        found["single_phase"] = tuple(PhaseInterval(**_with_ends(item)) for item in stored["single_phase"])
        found["two_phase"] = tuple(
            TwoPhaseRegion(**{**_with_ends(item), "phases": tuple(item["phases"])}) for item in stored["two_phase"]
        )
        found["fractions"], found["free_energies_eV"] = tuple(stored["fractions"]), tuple(stored["free_energies_eV"])
        return cls(**found)

    def phase_at(self, fraction: float) -> tuple[str, ...]:
        """Return the one or two phases at a fraction of the second element."""
        for region in self.two_phase:
            if region.low.value < fraction < region.high.value:
                return region.phases
        nearest = min(
            self.single_phase, key=lambda part: max(part.low.value - fraction, fraction - part.high.value, 0.0)
        )
        return (nearest.phase,)


def _with_ends(stored: dict[str, Any]) -> dict[str, Any]:
    return {**stored, "low": ValueWithError(**stored["low"]), "high": ValueWithError(**stored["high"])}
