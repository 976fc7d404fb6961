"""Temperature for alloys whose phases stay on one lattice: a cluster expansion of the candidates, and Monte Carlo."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import AnalysisError, EnvironmentProblemError, InvalidInputError

if TYPE_CHECKING:
    from mlip_autopipe.analysis.cluster_expansion import ClusterExpansion
    from mlip_autopipe.analysis.phase_boundaries import PhaseBoundaries
    from mlip_autopipe.jobs.hull_doubt import HullDoubt
    from mlip_autopipe.jobs.hull_search import HullSearch

RECORD = "alloy_temperature"
WITHHOLDING = ("temperature_known", "stable_in_energies")
"""Gates without which `OrderDisorder` has no temperature."""
MOST_ELEMENTS = 3
NEAR_eV = 0.01
"""Per atom: alloys that much above the hull count for their lattice by 1/e."""
NOTICED_eV = 1e-3
FAR_eV = 0.2
"""Above the hull, per atom: never visited, and hard to expand."""


def add_temperature(search: HullSearch, found: HullDoubt, fits: Sequence[int], *, threads: int = 1) -> None:
    """Expand the energies on the lattice that holds most of what is stable, run Monte Carlo, and store both.

    Parameters
    ----------
    search, found
        The candidates and their hull.
    fits
        Candidates that still sit on their parent lattice.
    threads
        Cores that may be used.
    """
    record: dict[str, Any] = {"kind": RECORD, "parent": None, "reason": None}
    try:
        parent = likeliest_parent(search, found)
        record |= {"parent": parent, **_calculated(search, found, fits, parent, threads)}
    except (AnalysisError, InvalidInputError, EnvironmentProblemError) as error:
        record["reason"] = str(error)
    search.records.save(RECORD, record)


def temperature_part(search: HullSearch) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the part of the document on temperature, and warnings."""
    found = search.records.find(RECORD)
    if found is None:
        return None, []
    if found["reason"] is not None:
        return None, [f"no diagram over temperature: {found['reason']}"]
    part = {key: value for key, value in found.items() if key not in ("kind", "reason", "run_id") and key[0] != "@"}
    said = [
        f"over temperature, {gate['name']} failed: {gate['detail']}"
        for gate in part["diagram"]["gates"]
        if not gate["passed"]
    ]
    said += [
        f"{one['phase']} over temperature, {gate['name']} failed: {gate['detail']}"
        for one in part["diagram"]["order_disorder"]
        for gate in one["gates"]
        if gate["name"] in WITHHOLDING and not gate["passed"]
    ]
    missed = part["below_by_other_lattices_eV_per_atom"]
    if missed > NOTICED_eV:
        said.append(
            f"the diagram over temperature is that of {part['parent']} alone; phases of other lattices lie up to "
            f"{1e3 * missed:.1f} meV per atom below its own hull"
        )
    melting = search.system.material.melting_point_K
    hottest = max((one["temperature_K"] for one in part["diagram"]["slices"]), default=0.0)
    if melting is not None and hottest > melting:
        said.append(f"the diagram goes up to {hottest:.0f} K, where these metals are liquid: it knows no liquid")
    return part, [*said, "the diagram over temperature knows one lattice, no vibrations and no liquid"]


def likeliest_parent(search: HullSearch, found: HullDoubt) -> str:
    """Return the lattice with most alloys on and near the hull; where there are none, that of the plan's elements.

    Of lattices of nearly the same energy the one with more decorations is taken: its expansion is the better one.
    """
    weights = dict.fromkeys(search.settings.parents, 0.0)
    for k, above in zip(found.kept.tolist(), found.hull.e_above_hull_eV_per_atom.tolist(), strict=True):
        parent = search.candidates.parents[k]
        if parent in weights and found.energies.fractions[k].max() < 1:
            weights[parent] += math.exp(-above / NEAR_eV)
    best = max(weights, key=lambda one: weights[one])
    return best if weights[best] > 0 else _own_parent(search)


def _own_parent(search: HullSearch) -> str:
    from mlip_autopipe.heuristics.phase_diagram import parent_of

    return parent_of(search.settings.elements)


def _calculated(search: HullSearch, found: HullDoubt, fits: Sequence[int], parent: str, threads: int) -> dict[str, Any]:
    from mlip_autopipe.analysis.cluster_expansion import fit_cluster_expansion
    from mlip_autopipe.analysis.phase_boundaries import calculate_phase_boundaries

    settings, candidates = search.settings, search.candidates
    if len(settings.elements) > MOST_ELEMENTS:
        raise InvalidInputError(f"expansions of {len(settings.elements)} elements are not made; {MOST_ELEMENTS} are")
    formation = dict(zip(found.kept.tolist(), found.hull.formation_energies_eV_per_atom.tolist(), strict=True))
    above = dict(zip(found.kept.tolist(), found.hull.e_above_hull_eV_per_atom.tolist(), strict=True))
    chosen = [k for k in fits if candidates.parents[k] == parent and above[k] < FAR_eV]
    pure = [k for k in chosen if found.energies.fractions[k].max() == 1]
    if not pure:
        raise AnalysisError(f"no pure element stays on {parent}")
    expansion = fit_cluster_expansion(
        candidates.structures[pure[0]],
        [candidates.structures[k] for k in chosen],
        [formation[k] for k in chosen],
        elements=settings.elements,
        names=[candidates.names[k] for k in chosen],
    )
    diagram = calculate_phase_boundaries(
        expansion,
        settings.temperatures_K,
        target_sites=settings.monte_carlo_sites,
        seed=settings.seed,
        n_threads=threads,
    )
    stored = json.dumps(expansion.to_dict()).encode()
    return {
        "below_by_other_lattices_eV_per_atom": _missed(found, chosen),
        "expansion": _described(expansion, len(chosen)),
        "expansion_sha256": search.blobs.put(stored, "cluster expansion", search.run_id),
        "diagram": diagram.to_dict(),
        "tdb": _tdb(expansion, diagram),
    }


def _tdb(expansion: ClusterExpansion, diagram: PhaseBoundaries) -> str | None:
    """Return the diagram for programs of the CALPHAD kind; None where it cannot be written so."""
    from mlip_autopipe.analysis.tdb_export import tdb_text

    try:
        return tdb_text(expansion, diagram)
    except InvalidInputError:  # three elements, or nothing that can be trusted
        return None


def _missed(found: HullDoubt, chosen: Sequence[int]) -> float:
    """Return how far the deepest phase of the hull lies below the hull of one lattice alone."""
    import numpy as np

    from mlip_autopipe.analysis.hull import convex_hull

    own = np.isin(found.kept, list(chosen))
    fractions = found.energies.fractions[found.kept]
    formation = found.hull.formation_energies_eV_per_atom
    one = convex_hull(fractions[own], formation[own])
    # the planes of its regions, measured from its own elements; the highest plane is the hull
    pure = [float(formation[own][fractions[own][:, k] == 1].min()) for k in range(fractions.shape[1])]
    at_vertices = fractions[found.hull.vertices]
    own_hull = (at_vertices @ one.chemical_potentials_eV.T).max(axis=1) + at_vertices @ np.array(pure)
    return float(max(0.0, (own_hull - formation[found.hull.vertices]).max()))


def _described(expansion: ClusterExpansion, structures: int) -> dict[str, Any]:
    return {
        "structures": structures,
        "cutoffs_A": list(expansion.cutoffs_A),
        "n_parameters": len(expansion.parameters_eV),
        "cross_validation_error_eV_per_atom": expansion.cross_validation_error_eV,
        "fit_error_eV_per_atom": expansion.fit_error_eV,
        "ordering_energy_eV_per_atom": expansion.ordering_energy_eV,
        "ground_states": [state.name for state in expansion.ground_states],
    }
