"""What the goal asks of a potential: how uncertain the property still is, and which labels would tell more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.learning.elastic_property import measure_elastic, strained_cell
from mlip_autopipe.learning.schedule import unaudited
from mlip_autopipe.schemas.otf import AuditError, Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlip_autopipe.analysis.elastic import ElasticFit
    from mlip_autopipe.learning.starts import Start
    from mlip_autopipe.potentials.base import Potential
    from mlip_autopipe.schemas.otf import OTFSettings
    from mlip_autopipe.schemas.system import ElasticSettings, RelaxationSettings, SystemConfig

AMPLITUDE_STEPS = (1.0, 0.5, 1.5, 0.75, 1.25)
"""Strains of successive rounds, in units of the first: each round shows the response at another amplitude."""


@dataclass(frozen=True)
class Verdict:
    """How wrong the goal's property is by the model; what is enough; how wrong it is by everything else.

    Attributes
    ----------
    error, target, others
        In the same unit: relative for a property, eV/A for forces. No error: it is not known yet.
    unit
        Said in messages.
    """

    error: float | None
    target: float
    others: float
    unit: str

    @property
    def is_enough(self) -> bool:
        """Whether more labels would not help: within the target, or no longer the largest part of the error."""
        return self.error is not None and self.error <= max(self.target, self.others)


@dataclass(frozen=True)
class Wanted:
    """Structures on which the property depends most, and what a person should know of how they were found."""

    candidates: list[Candidate]
    remarks: tuple[str, ...] = ()


class Target(Protocol):
    """A goal, as the loop sees it."""

    @property
    def wants_own_labels(self) -> bool:
        """Whether some labels are made for the property in any case."""
        ...

    def verdict(self, potential: Potential, audits: Sequence[AuditError]) -> Verdict:
        """Measure the property with the potential and some of its samples."""
        ...

    def informative(self, potential: Potential, round_: int, trained: Sequence[Atoms]) -> Wanted:
        """Return the structures on which the property depends most; none: explore once more instead.

        Parameters
        ----------
        potential
            The newest.
        round_
            How often this was asked before.
        trained
            Structures with a label.
        """
        ...


def target_of(system: SystemConfig, starts: Sequence[Start]) -> Target:
    """Return the goal's target; properties are those of the plan's own crystal, the first."""
    primitive = starts[0].primitive
    assert system.otf is not None, "a plan that learns has a section otf"
    if system.goal == "elastic":
        assert system.elastic is not None, "the plan of an elastic goal has an elastic section"
        return ElasticTarget(primitive, system.otf, system.relaxation, system.elastic)
    if system.goal == "phase_diagram":
        from mlip_autopipe.learning.candidate_target import CandidateTarget

        assert system.phase_diagram is not None, "the plan of a phase diagram has a section for it"
        return CandidateTarget(starts, system.otf, system.phase_diagram)
    if system.goal in ("potential", "diffusion"):
        return ForceTarget(starts, system.otf)
    return VolumeTarget(primitive, system.otf, system.relaxation)


@dataclass
class ForceTarget:
    """Forces along molecular dynamics, as the audits saw them; once, structures from elsewhere are learned, too."""

    starts: Sequence[Start]
    settings: OTFSettings

    @property
    def wants_own_labels(self) -> bool:
        """Whether there is a pool."""
        return self.settings.pool_labels > 0

    def verdict(self, potential: Potential, audits: Sequence[AuditError]) -> Verdict:
        """Return the worst of the newest audits; unknown while a temperature has none."""
        worst = None
        if not unaudited(audits, self.settings):
            worst = max(one.force_rmse_eV_per_A for one in audits)
        return Verdict(worst, self.settings.target_force_error_eV_per_A, 0.0, "eV/A")

    def informative(self, potential: Potential, round_: int, trained: Sequence[Atoms]) -> Wanted:
        """Return the most valuable of a pool; after it nothing: where forces are wrong, molecular dynamics tells."""
        from mlip_autopipe.learning.pool import choose_from_pool

        if round_ > 0 or not self.wants_own_labels:
            return Wanted([])
        candidates, remarks = choose_from_pool(self.starts, self.settings, potential, trained, round_)
        return Wanted(candidates, tuple(remarks))


@dataclass
class ElasticTarget:
    """Elastic constants at zero temperature."""

    primitive: Atoms
    settings: OTFSettings
    relaxation: RelaxationSettings
    elastic: ElasticSettings
    wants_own_labels: bool = True

    def __post_init__(self) -> None:
        from pymatgen.io.ase import AseAtomsAdaptor

        from mlip_autopipe.analysis.symmetry import crystal_symmetry

        structure = AseAtomsAdaptor.get_structure(self.primitive)
        self.rotations = crystal_symmetry(structure, self.elastic.symmetry_tolerance_A).rotations

    def verdict(self, potential: Potential, audits: Sequence[AuditError]) -> Verdict:
        """Return errors relative to the largest constant."""
        fit = self._fit(potential.calculator())
        samples = potential.draw(self.settings.draws, seed=self.settings.seed)
        spread = np.array([self._fit(one.calculator()).tensor - fit.tensor for one in samples])
        largest = float(np.abs(fit.tensor).max())
        model = float(np.sqrt((spread**2).mean(axis=0)).max())
        others = float(fit.stderr.max()) / largest
        return Verdict(model / largest, self.settings.target_property_error, others, "of the largest constant")

    def informative(self, potential: Potential, round_: int, trained: Sequence[Atoms]) -> Wanted:
        """Return the relaxed crystal under strains along the plan's directions."""
        from mlip_autopipe.analysis.elastic import strain_set
        from mlip_autopipe.reference.relax import relax_cell

        relaxed = relax_cell(self.primitive, potential.calculator(), self.relaxation).atoms
        amplitude = self.settings.property_strain * AMPLITUDE_STEPS[round_ % len(AMPLITUDE_STEPS)]
        strains = strain_set(self.elastic.directions, amplitude=amplitude, half_amplitude_check=False)
        cells = [
            candidate(
                strained_cell(relaxed, strain),
                "property",
                f"relaxed crystal under {100 * amplitude:.2g} % strain",
                stress_weight=self.settings.property_stress_weight,
            )
            for strain in strains
        ]
        return Wanted(cells)

    def _fit(self, calculator: Calculator) -> ElasticFit:
        return measure_elastic(self.primitive, calculator, self.relaxation, self.elastic, self.rotations).fit


@dataclass
class VolumeTarget:
    """The volume of the relaxed crystal, from which every thermal one starts."""

    primitive: Atoms
    settings: OTFSettings
    relaxation: RelaxationSettings
    wants_own_labels: bool = True

    def verdict(self, potential: Potential, audits: Sequence[AuditError]) -> Verdict:
        """Return the relative error of the lattice constant."""
        mean = self._length(potential.calculator())
        samples = potential.draw(self.settings.draws, seed=self.settings.seed)
        lengths = np.array([self._length(one.calculator()) for one in samples])
        error = float(np.sqrt(((lengths - mean) ** 2).mean()) / mean)
        return Verdict(error, self.settings.target_property_error, 0.0, "of the lattice constant")

    def informative(self, potential: Potential, round_: int, trained: Sequence[Atoms]) -> Wanted:
        """Return the relaxed crystal, compressed and stretched."""
        from mlip_autopipe.reference.relax import relax_cell

        relaxed = relax_cell(self.primitive, potential.calculator(), self.relaxation).atoms
        amplitude = self.settings.property_strain * AMPLITUDE_STEPS[round_ % len(AMPLITUDE_STEPS)]
        hydrostatic = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        cells = [
            candidate(
                strained_cell(relaxed, sign * amplitude * hydrostatic),
                "property",
                f"relaxed crystal, lengths {100 * sign * amplitude:+.2g} %",
                stress_weight=self.settings.property_stress_weight,
            )
            for sign in (-1.0, 1.0)
        ]
        return Wanted(cells)

    def _length(self, calculator: Calculator) -> float:
        from mlip_autopipe.reference.relax import relax_cell

        return float(relax_cell(self.primitive, calculator, self.relaxation).atoms.get_volume() ** (1 / 3))
