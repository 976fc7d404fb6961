"""Rules for phase diagrams: which candidates, how many labels, which temperatures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.schemas.system import PhaseDiagramSettings

if TYPE_CHECKING:
    from mlip_autopipe.schemas.config import TargetSystem

RULE = "rule of mlip_autopipe.heuristics.phase_diagram"
DESIGN = "docs/phase_diagram.md"

PARENTS = ("fcc", "bcc", "hcp")
CANDIDATES_PER_ELEMENTS = {2: 600, 3: 1500}
MORE_CANDIDATES = 2500
"""With four elements and more: what a document can hold."""
QUASIRANDOM_SITES = 16
STRUCTURES_PER_JOB = 150
VIBRATION_STEP_K = 300.0
FALLBACK_MELTING_POINT_K = 1500.0
MOST_VIBRATION_TEMPERATURES = 20


def parent_of(elements: list[str]) -> str:
    """Return the lattice on which most of the elements crystallise, fcc where none does on one of ours."""
    from ase.data import atomic_numbers, reference_states

    states = [(reference_states[atomic_numbers[symbol]] or {}).get("symmetry") for symbol in elements]
    counts = Counter(state for state in states if state in PARENTS)
    return max(PARENTS, key=lambda one: counts[one]) if counts else "fcc"


def choose_phase_diagram(
    target: TargetSystem,
    temperatures_K: list[float] | None,
    choices: Choices,
    *,
    melting_point_K: float | None = None,
) -> PhaseDiagramSettings:
    """Choose the candidates, how they are decided, and the temperatures.

    Parameters
    ----------
    target
        Elements, limits of their fractions, the user's own structures.
    temperatures_K
        Of the T-x diagram, if the user asks for some.
    choices
        Takes the reasons.
    melting_point_K
        Of the elements' mean, where known: free energies of crystals are asked for below it.

    Raises
    ------
    InvalidInputError
        A structure of the user's cannot be read or holds other elements.
    """

    def choose(name: str, value: Any, reason: str, source: str = RULE) -> Any:
        return choices.choose(f"phase_diagram.{name}", value, reason, source)

    elements = sorted(target.elements or [])
    limits = {symbol: (target.composition_range or {}).get(symbol, (0.0, 1.0)) for symbol in elements}
    return PhaseDiagramSettings(
        elements=choose("elements", elements, "those of target_system, in alphabetical order"),
        composition_range=choose("composition_range", limits, "as asked for, otherwise everything"),
        parents=choose(
            "parents", list(PARENTS), "lattices of most metals and alloys; their decorations are enumerated", DESIGN
        ),
        max_candidates=choose(
            "max_candidates",
            CANDIDATES_PER_ELEMENTS.get(len(elements), MORE_CANDIDATES),
            "relaxed by the potential in minutes; the size of enumerated cells follows",
        ),
        prototypes=choose("prototypes", True, "phases with larger cells than those enumerated", DESIGN),
        quasirandom_sites=choose(
            "quasirandom_sites", QUASIRANDOM_SITES, "disordered alloys for the expansion and the eye"
        ),
        structures=choose(
            "structures", _own_structures(target.structures or [], elements), "candidates that the user gives"
        ),
        structures_per_job=choose(
            "structures_per_job", STRUCTURES_PER_JOB, "half a minute or so: a job per structure would cost more"
        ),
        window_eV_per_atom=choose(
            "window_eV_per_atom", 0.1, "above the hull in the round before: far beyond the errors of the potential"
        ),
        samples=choose("samples", 1000, "a probability of 0.05 is known to 0.007"),
        target_probability=choose("target_probability", 0.05, "of being stable, without a label", DESIGN),
        labels_per_round=choose("labels_per_round", 8, "the potential learns after so many"),
        audits_per_round=choose(
            "audits_per_round", 3, "how wrong the potential is where it believes to know widens what it states"
        ),
        max_rounds=choose("max_rounds", 12, "far above the usual number"),
        temperatures_K=choose(
            "temperatures_K",
            sorted({float(one) for one in temperatures_K}) if temperatures_K else None,
            "asked for" if temperatures_K else "from deep below to above the transitions that Monte Carlo finds",
        ),
        monte_carlo_sites=choose("monte_carlo_sites", 280, "order over some cells; larger ones sharpen transitions"),
        vibrations=choose(
            "vibrations", "none", "crystals at rest; phonons take up to some hundred force calls for each phase", DESIGN
        ),
        vibration_temperatures_K=choose(
            "vibration_temperatures_K", *_vibration_temperatures(temperatures_K, melting_point_K)
        ),
        seed=choose("seed", 0, "of all random numbers"),
    )


def _vibration_temperatures(asked_K: list[float] | None, melting_point_K: float | None) -> tuple[list[float], str]:
    """Return temperatures at which crystals have a hull of free energies, and why."""
    if asked_K:
        found = sorted({0.0, *(float(one) for one in asked_K)})
        if len(found) <= MOST_VIBRATION_TEMPERATURES:
            return found, "those asked for, and 0 K for the zero-point energy"
    melts_K = melting_point_K or FALLBACK_MELTING_POINT_K
    steps = range(min(int(melts_K / VIBRATION_STEP_K) + 1, MOST_VIBRATION_TEMPERATURES))
    known = f"the melting point ({melts_K:.0f} K)" if melting_point_K else f"{melts_K:.0f} K"
    return [VIBRATION_STEP_K * k for k in steps], f"from the zero-point energy up to {known}"


def _own_structures(files: list[Path], elements: list[str]) -> list[dict[str, Any]]:
    from mlip_autopipe.generation.files import read_structure

    found = []
    for file in files:
        structure = read_structure(file)
        stray = sorted({site.specie.symbol for site in structure} - set(elements))
        if stray:
            raise InvalidInputError(
                f"structure file {file} holds {', '.join(stray)}, which target_system.elements does not; "
                "add the element or remove the file from target_system.structures"
            )
        found.append(json.loads(structure.to_json()))
    return found
