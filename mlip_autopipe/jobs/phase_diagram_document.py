"""From a settled hull to the property document: phases, regions, what is missing, temperature, vibrations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.jobs.elastic_document import provenance
from mlip_autopipe.jobs.hull_doubt import HullDoubt, doubt
from mlip_autopipe.jobs.hull_energies import candidate_energies
from mlip_autopipe.jobs.hull_relearning import finished_labels
from mlip_autopipe.jobs.structure_blobs import pack_structures
from mlip_autopipe.schemas.phase_diagram import PhaseDiagramDocument, PhaseEntry, PhaseRegion
from mlip_autopipe.schemas.property import Gate

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.jobs.hull_search import HullSearch, RelaxedCandidates

MOST_ENTRIES = 1200
"""Of a document, which stays below a megabyte; the rest is in the blob."""
EXTRAPOLATES_eV = 0.03
"""Per atom: a posterior so wide has not seen such a structure."""
MOST_STRUCTURES = 60
"""In a document; a structure takes as much room as its entry, or more."""
TELLING_LABELS = 5


def build_phase_diagram_document(store: JobStore, search: HullSearch) -> PhaseDiagramDocument:
    """Write everything that is known of the phases.

    Parameters
    ----------
    store
        A connected JobStore.
    search
        Its hull is settled, or its budget spent.
    """
    from mlip_autopipe.jobs.alloy_temperature import temperature_part
    from mlip_autopipe.jobs.alloy_vibrations import vibrations_part
    from mlip_autopipe.reference.labels import LabelStore, structure_document

    system, settings, progress = search.system, search.settings, search.progress()
    otf = search.records.learned()
    relaxed, found, given_up = settled_hull(store, search)
    flags, _ = flags_of(search, relaxed, found)
    order = np.argsort(found.hull.e_above_hull_eV_per_atom, kind="stable")[:MOST_ENTRIES]
    places = {int(found.kept[k]): place for place, k in enumerate(order)}
    entries = [_entry(search, relaxed, found, int(k), flags) for k in order]
    for entry, k in zip(entries[:MOST_STRUCTURES], order, strict=False):
        entry.structure = structure_document(relaxed.structures[int(found.kept[k])])
    temperature, warned = temperature_part(search)
    vibrations, shaken = vibrations_part(search, places)
    far = len(found.kept) - len(entries)
    left_out = [f"the {far} candidates farthest above the hull are not listed"] if far else []
    gates = [_stated_errors_hold(found)]
    missing = [*otf.missing, *_missing(search, found)]
    passed = all(gate.passed for gate in gates)
    enough = not missing
    return PhaseDiagramDocument(
        run_id=system.run_id,
        project_name=system.project_name,
        state=("done" if enough else "not_enough_evidence") if passed else "failed",
        elements=settings.elements,
        entries=entries,
        n_candidates=progress.n_candidates,
        relaxed_sha256=_stored(search, relaxed),
        hull_vertices=[places[k] for k in found.vertices],
        two_phase_regions=_regions(search, found, places, _pairs(found)),
        regions=_regions(search, found, places, found.hull.simplices.tolist()),
        element_energies_eV_per_atom=_element_energies(found, settings.elements),
        rounds=progress.rounds,
        widening=found.energies.widening,
        fresh_errors_eV_per_atom=[(float(a), float(b)) for a, b in found.energies.fresh],
        temperature=temperature,
        vibrations=vibrations,
        gates=gates,
        n_reference_calculations=otf.n_reference_calculations,
        missing=missing,
        warnings=list(
            dict.fromkeys(
                [*system.warnings, *otf.warnings, *_warnings(entries, given_up), *left_out, *warned, *shaken]
            )
        ),
        provenance=provenance(system, otf.label_ids, LabelStore(store), otf=otf),
    )


def settled_hull(store: JobStore, search: HullSearch) -> tuple[RelaxedCandidates, HullDoubt, set[int]]:
    """Return the relaxed candidates, their hull, and those whose label could not be computed."""
    relaxed = search.relaxed()
    labels, given_up = finished_labels(store, search)
    energies, checked = candidate_energies(search, relaxed, labels), search.progress().checked
    return relaxed, doubt(relaxed, energies, search.settings, given_up, checked=checked), given_up


def _entry(
    search: HullSearch, relaxed: RelaxedCandidates, found: HullDoubt, place: int, flags: dict[int, list[str]]
) -> PhaseEntry:
    k = int(found.kept[place])
    atoms, candidates, hulls = relaxed.structures[k], search.candidates, found.hulls
    return PhaseEntry(
        name=candidates.names[k],
        kind=candidates.kinds[k],
        parent=candidates.parents[k] or None,
        formula=atoms.get_chemical_formula("hill"),
        fractions={
            symbol: float(x) for symbol, x in zip(search.settings.elements, found.energies.fractions[k], strict=True)
        },
        n_atoms=len(atoms),
        source="reference" if found.energies.labelled[k] else "potential",
        energy_eV_per_atom=float(found.energies.energies_eV[k]),
        formation_energy_eV_per_atom=float(found.hull.formation_energies_eV_per_atom[place]),
        formation_energy_stderr_eV_per_atom=float(hulls.formation_energy_stderr_eV_per_atom[place]),
        e_above_hull_eV_per_atom=float(found.hull.e_above_hull_eV_per_atom[place]),
        e_above_hull_stderr_eV_per_atom=float(hulls.e_above_hull_stderr_eV_per_atom[place]),
        probability_stable=float(hulls.probability_stable[place]),
        volume_A3_per_atom=float(atoms.get_volume()) / len(atoms),
        label_id=found.energies.label_ids.get(k),
        flags=flags.get(k, []),
    )


def flags_of(
    search: HullSearch, relaxed: RelaxedCandidates, found: HullDoubt
) -> tuple[dict[int, list[str]], list[int]]:
    """Return what is to be said of candidates, and those that still sit on their parent lattice."""
    from mlip_autopipe.analysis.parent_lattice import judge_relaxation

    flags: dict[int, list[str]] = {}
    fits: list[int] = []
    candidates = search.candidates
    for k in (int(k) for k in found.kept):
        said = [] if relaxed.converged[k] else ["the relaxation is unfinished"]
        if found.energies.stated_eV[k] > EXTRAPOLATES_eV and not found.energies.labelled[k]:
            said.append(
                "the potential extrapolates: its samples spread by "
                f"{1e3 * found.energies.stated_eV[k]:.0f} meV per atom"
            )
        verdict = judge_relaxation(candidates.structures[k], relaxed.structures[k])
        if not verdict.intact:
            said.append(verdict.reason)
        elif candidates.parents[k]:
            fits.append(k)
        if said:
            flags[k] = said
    return flags, fits


def _regions(
    search: HullSearch, found: HullDoubt, places: dict[int, int], simplices: Sequence[Sequence[int]]
) -> list[PhaseRegion]:
    regions = []
    for simplex in simplices:
        members = [int(found.kept[k]) for k in simplex]
        names = [search.candidates.names[k] for k in members]
        regions.append(PhaseRegion(entries=[places[k] for k in members], names=names))
    return regions


def _pairs(found: HullDoubt) -> list[tuple[int, int]]:
    return sorted({pair for corners in found.hull.simplices.tolist() for pair in combinations(sorted(corners), 2)})


def _element_energies(found: HullDoubt, elements: Sequence[str]) -> dict[str, float]:
    pure = found.energies.fractions[found.kept] > 1 - 1e-9
    energies = found.energies.energies_eV[found.kept]
    return {symbol: float(energies[pure[:, k]].min()) for k, symbol in enumerate(elements)}


def _stored(search: HullSearch, relaxed: RelaxedCandidates) -> str:
    data = pack_structures(
        relaxed.structures, {"energies_eV": relaxed.energies_eV, "names": np.array(search.candidates.names)}
    )
    return search.blobs.put(data, "phase diagram structures", search.run_id)


def _stated_errors_hold(found: HullDoubt) -> Gate:
    """Whether labels of candidates were as far off as stated; the widening mends a moderate factor."""
    labels, factor = len(found.energies.fresh), found.energies.widening
    return Gate(
        name="stated_errors_hold",
        passed=labels < TELLING_LABELS or factor < 10.0,
        detail=f"errors of {labels} labels before they were learned over what samples of the potential said: "
        f"{factor:.2g} (by which stated errors are multiplied), must be below 10",
    )


def _missing(search: HullSearch, found: HullDoubt) -> list[str]:
    if not found.needed:
        return []
    names = [f"{search.candidates.names[k]} ({found.probabilities[k]:.2f})" for k in found.needed[:5]]
    more = "" if len(found.needed) <= 5 else " and others"
    return [
        f"candidates without a label may be stable (probability in brackets): {', '.join(names)}{more}; raise "
        "resources.max_reference_calculations or phase_diagram.max_rounds"
    ]


def _warnings(entries: Sequence[PhaseEntry], given_up: set[int]) -> list[str]:
    found = [
        f"{one.name}, near the hull: {flag}"
        for one in entries
        if one.probability_stable > 0.05 or one.e_above_hull_eV_per_atom < 0.005
        for flag in one.flags
    ]
    if given_up:
        found.append(f"the reference calculations of {len(given_up)} candidates failed; their energies are predicted")
    return found
