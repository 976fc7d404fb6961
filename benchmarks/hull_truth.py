"""Measure goal phase_diagram against its hidden truth: all candidates relaxed by the reference itself.

The goal runs in memory with at most 80 labels. Then the reference relaxes every candidate from where it was generated,
and the true hull is built from those energies. Reported: labels; vertices found and missed (structures that relax to
the same one count as one); the largest depth of a missed vertex below the true hull of the others; the Brier score of
the stated probabilities over the candidates in doubt (stated or true probability not zero), with that of the plain
hull; errors of formation energies against what was stated, by distance from the true hull: of the relaxed candidates,
and at the geometry that the potential has relaxed (the rest is what the reference relaxes to something else).

    OMP_NUM_THREADS=1 python benchmarks/hull_truth.py --systems Cu,Au Ag,Pd Ni,Al Cu,Pt Ag,Au
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from typing import Any

import numpy as np
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.flows.otf import OTFMaker
from mlip_autopipe.generation.candidates import same_after_relaxation
from mlip_autopipe.heuristics import HeuristicEngine
from mlip_autopipe.jobs.hull_search import HullSearch
from mlip_autopipe.learning.batch_relaxation import Relaxed, relax_structures
from mlip_autopipe.reference.ase_engine import make_calculator
from mlip_autopipe.schemas.loading import parse_user_config

EMT = "ase.calculators.emt.EMT"
LABELS = 80
BANDS_eV = ((0.0, 0.01), (0.01, 0.03), (0.03, 0.1))
"""Above the true hull, per atom: of these candidates the errors are shown."""


class Reference:
    """The reference as a force field."""

    def calculator(self) -> Any:
        """Return a fresh calculator."""
        return make_calculator(EMT, {})


def goal(elements: list[str], labels: int, overrides: dict[str, Any]) -> tuple[dict[str, Any], HullSearch]:
    """Run the goal and return its document and its search."""
    user = {
        "project_name": "-".join(elements),
        "target_system": {"elements": elements},
        "simulation_goal": "phase_diagram",
        "reference": {"engine": "ase", "calculator": EMT},
        "resources": {"max_reference_calculations": labels},
        "overrides": {"phase_diagram.temperatures_K": [], **overrides},
    }
    config = HeuristicEngine().expand(parse_user_config(user))
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = OTFMaker().make(config)
        run_locally(flow, store=store, log=False, ensure_success=True, create_folders=True, root_dir=folder)
    return store.get_output(flow.output.uuid, which="last"), HullSearch(store, config.run_id)


def truth(search: HullSearch) -> list[Relaxed]:
    """Relax all candidates by the reference, and again from where the potential left them: the lower one counts."""
    field: Any = Reference()
    generated = list(relax_structures(search.candidates.structures, field))
    learned = list(relax_structures(search.relaxed().structures, field))
    return [min(pair, key=lambda one: one.energy_eV) for pair in zip(generated, learned, strict=True)]


def same_geometry(search: HullSearch) -> Any:
    """Return the reference's energies per atom where the potential has relaxed the candidates."""
    found = []
    for atoms in search.relaxed().structures:
        copy = atoms.copy()
        copy.calc = make_calculator(EMT, {})
        found.append(copy.get_potential_energy() / len(copy))
    return np.array(found)


def compare(document: dict[str, Any], search: HullSearch, true: list[Relaxed]) -> dict[str, Any]:
    """Return what was found against what is true."""
    elements = search.settings.elements
    names = search.candidates.names
    energies = np.array([one.energy_eV / len(one.atoms) for one in true])
    fractions = np.array(
        [[one.atoms.get_chemical_symbols().count(s) / len(one.atoms) for s in elements] for one in true]
    )
    groups = same_after_relaxation([one.atoms for one in true], energies)
    group_of = {k: number for number, group in enumerate(groups) for k in group}
    hull = convex_hull(fractions, energies)
    place = {name: k for k, name in enumerate(names)}
    stated = {place[one["name"]]: one["probability_stable"] for one in document["entries"]}
    found_groups = {group_of[place[document["entries"][k]["name"]]] for k in document["hull_vertices"]}
    true_groups = {group_of[int(k)] for k in hull.vertices}
    by_group: dict[int, float] = {}
    for k, p in stated.items():
        by_group[group_of[k]] = min(1.0, by_group.get(group_of[k], 0.0) + p)
    plain = {group: float(group in found_groups) for group in by_group}
    doubtful = [group for group, p in by_group.items() if p > 0 or group in true_groups]
    outcome = np.array([float(group in true_groups) for group in doubtful])
    brier, plain_brier = (
        float(np.mean((np.array([one[group] for group in doubtful]) - outcome) ** 2)) for one in (by_group, plain)
    )
    listed = [place[one["name"]] for one in document["entries"]]
    above = hull.e_above_hull_eV_per_atom[listed]
    errors = [one["formation_energy_eV_per_atom"] for one in document["entries"]]
    errors = np.array(errors) - hull.formation_energies_eV_per_atom[listed]
    geometry = errors - (same_geometry(search) - energies)[listed]
    sigmas = np.array([one["formation_energy_stderr_eV_per_atom"] for one in document["entries"]])
    unknown = np.array([one["source"] == "potential" for one in document["entries"]])
    bands = []
    for low, high in BANDS_eV:
        inside = unknown & (above >= low) & (above < high)
        found = [_rms_meV(one[inside]) for one in (errors, geometry, sigmas)]
        bands.append((f"{inside.sum()} not labelled, {1e3 * low:g} to {1e3 * high:g} meV above", *found))
    missed = sorted(true_groups - found_groups)
    depth = _depth(fractions, energies, missed, groups, group_of)
    return {
        "labels": document["n_reference_calculations"],
        "rounds": document["rounds"],
        "state": document["state"],
        "candidates": len(names),
        "vertices": len(true_groups),
        "missed": [names[groups[group][0]] for group in missed],
        "false": [names[groups[group][0]] for group in sorted(found_groups - true_groups)],
        "missed_by_meV": 1e3 * depth,
        "brier": brier,
        "plain_brier": plain_brier,
        "doubtful": len(doubtful),
        "pairs": [(by_group[group], group in true_groups) for group in doubtful],
        "bands": bands,
    }


def _rms_meV(values: Any) -> float:
    return 1e3 * float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")


def _depth(
    fractions: Any, energies: Any, missed: list[int], groups: list[list[int]], group_of: dict[int, int]
) -> float:
    """Return how far below the true hull of all others the deepest missed vertex lies, in eV per atom."""
    rest = np.array([k for k in range(len(energies)) if group_of[k] not in missed])
    deepest, lift = 0.0, 10.0
    for group in missed:
        k = groups[group][0]
        # lifted, it is no vertex, and its height above the hull of the others shows
        lifted = convex_hull(
            np.vstack([fractions[rest], fractions[[k]]]), np.append(energies[rest], energies[k] + lift)
        )
        deepest = max(deepest, lift - float(lifted.e_above_hull_eV_per_atom[-1]))
    return deepest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["Cu,Au", "Ag,Pd", "Ni,Al", "Cu,Pt", "Ag,Au"])
    parser.add_argument("--labels", type=int, default=LABELS)
    parser.add_argument("--overrides", type=json.loads, default={})
    args = parser.parse_args()
    pairs: list[tuple[float, bool]] = []
    for system in args.systems:
        started = time.perf_counter()
        document, search = goal(system.split(","), args.labels, args.overrides)
        took = time.perf_counter() - started
        one = compare(document, search, truth(search))
        pairs += one.pop("pairs")
        print(
            f"{system}: {took:.0f} s, {one['labels']} labels in {one['rounds']} rounds, {one['candidates']} "
            f"candidates, {one['state']}; {one['vertices']} true vertices, missed {one['missed']} (by "
            f"{one['missed_by_meV']:.2f} meV), false {one['false']}; Brier {one['brier']:.4f} over "
            f"{one['doubtful']} in doubt (plain hull {one['plain_brier']:.4f})",
            flush=True,
        )
        for band, error, geometry, stated in one["bands"]:
            words = f"off by {error:.2f} meV rms, at one geometry {geometry:.2f}, stated {stated:.2f}"
            print(f"  {band}: {words}", flush=True)
    p, stable = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    print(f"all: Brier {np.mean((p - stable) ** 2):.4f} over {len(p)} in doubt")
    for low, high in ((0.0, 0.05), (0.05, 0.5), (0.5, 0.95), (0.95, 1.01)):
        inside = (p >= low) & (p < high)
        if inside.any():
            mean, true = p[inside].mean(), stable[inside].mean()
            print(f"  stated {low:g} to {min(high, 1):g}: {mean:.3f}, true {true:.3f} of {inside.sum()}")


if __name__ == "__main__":
    main()
