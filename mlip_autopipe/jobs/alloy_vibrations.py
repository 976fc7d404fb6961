"""Vibrations of the phases on and near the hull: their free energies by the potential, and hulls of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlip_autopipe.errors import AnalysisError, EnvironmentProblemError, InvalidInputError
from mlip_autopipe.potentials.errors import PredictionError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.analysis.vibrations import Evaluate, Phonons, QuasiHarmonicCrystal
    from mlip_autopipe.jobs.hull_doubt import HullDoubt
    from mlip_autopipe.jobs.hull_search import HullSearch, RelaxedCandidates
    from mlip_autopipe.potentials.base import ForceField

    FloatArray = NDArray[np.float64]

RECORD: Final = "alloy_vibrations"
NEAR_eV: Final = 0.02
"""Above the hull, per atom: vibrations rarely change differences by more below the melting point."""
LIKELY: Final = 0.05
MOST_ENTRIES: Final = 40
DRAWS: Final = 4
"""Of the potential; their spread is the error of the vibrational part."""
DECIMALS: Final = 7
"""Of energies per atom in eV, as stored."""


@dataclass(frozen=True, eq=False)
class EntryVibrations:
    """What the potential says of the vibrations of one candidate.

    Attributes
    ----------
    candidate
        Its number.
    phonons
        By the potential, at the structure that it has relaxed.
    vibrational_eV
        (T,) per atom, that vibrations add to the energy at rest; not a number where nothing is known.
    changes_eV
        (draws, T) per atom: what draws of the potential change about it, around their mean, widened.
    unstable_draws
        In how many draws it is dynamically unstable.
    expanded
        The quasi-harmonic crystal.
    """

    candidate: int
    phonons: Phonons
    vibrational_eV: FloatArray
    changes_eV: FloatArray
    unstable_draws: int = 0
    expanded: QuasiHarmonicCrystal | None = None


def add_vibrations(search: HullSearch, relaxed: RelaxedCandidates, found: HullDoubt) -> None:
    """Compute the phonons of candidates on and near the hull and hulls at temperatures, and store both.

    Parameters
    ----------
    search, relaxed, found
        The candidates, as relaxed, and their hull.
    """
    record: dict[str, Any] = {"kind": RECORD, "method": search.settings.vibrations, "reason": None}
    try:
        record |= _calculated(search, relaxed, found)
    except (AnalysisError, InvalidInputError, EnvironmentProblemError) as error:
        record["reason"] = str(error)
    search.records.save(RECORD, record)


def vibrations_part(search: HullSearch, places: Mapping[int, int]) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the part of the document on vibrations, and warnings.

    Parameters
    ----------
    search
        The candidates.
    places
        Of candidates in the document's entries.
    """
    record = search.records.find(RECORD)
    if record is None:
        return None, []
    if record["reason"] is not None:
        return None, [f"no vibrations: {record['reason']}"]
    entries = [
        {"entry": places[one["candidate"]], **{key: value for key, value in one.items() if key != "candidate"}}
        for one in record["entries"]
    ]
    hulls = [
        {
            "temperature_K": one["temperature_K"],
            "hull_vertices": sorted(places[k] for k in one["vertices"]),
        }
        for one in record["hulls"]
    ]
    part = {key: record[key] for key in ("method", "temperatures_K", "draws")} | {"entries": entries, "hulls": hulls}
    return part, _warnings(record)


def near_the_hull(found: HullDoubt) -> list[int]:
    """Return the places in `found.kept` of what is near the hull or may be stable, the nearest first."""
    above = found.hull.e_above_hull_eV_per_atom
    near = (above < NEAR_eV) | (found.hulls.probability_stable > LIKELY)
    return [int(place) for place in np.argsort(above, kind="stable") if near[place]][:MOST_ENTRIES]


def hulls_of_free_energies(
    found: HullDoubt, entries: Sequence[EntryVibrations], temperatures_K: Sequence[float], elements: Sequence[str]
) -> tuple[list[dict[str, Any]], FloatArray, FloatArray]:
    """Build the hull of free energies at each temperature, and hulls from samples of them.

    Dynamically unstable entries are in the hull at 0 K only.

    Parameters
    ----------
    found
        Knows the energies at rest, with samples.
    entries
        What vibrations add to some of them.
    temperatures_K
        (T,) of these.
    elements
        In the order of the fractions.

    Returns
    -------
    hulls
        ``temperature_K``, ``vertices`` (candidates) and ``lacking``: elements without an entry, so that there is none.
    e_above_hull_eV_per_atom, probability_stable
        (entries, T); not a number where an entry is not in the hull.
    """
    from mlip_autopipe.analysis.hull import convex_hull
    from mlip_autopipe.analysis.hull_samples import sample_hulls

    energies, hulls = found.energies, []
    above = np.full((len(entries), len(temperatures_K)), np.nan)
    probability = above.copy()
    for t, kelvin in enumerate(temperatures_K):
        within = [
            place
            for place, one in enumerate(entries)
            if (one.phonons.dynamically_stable or kelvin == 0) and np.isfinite(one.vibrational_eV[t])
        ]
        members = [entries[place].candidate for place in within]
        fractions = energies.fractions[members]
        lacking = [symbol for symbol, x in zip(elements, fractions.T, strict=True) if x.max(initial=0.0) < 1]
        hulls.append({"temperature_K": kelvin, "vertices": [], "lacking": lacking})
        if lacking:
            continue
        vibrational = np.array([entries[place].vibrational_eV[t] for place in within])
        hull = convex_hull(fractions, energies.energies_eV[members] + vibrational)
        hulls[-1]["vertices"] = [members[k] for k in hull.vertices]
        above[within, t] = hull.e_above_hull_eV_per_atom
        # one draw changes all entries together
        changes = np.array([entries[place].changes_eV[:, t] for place in within]).T
        draw = np.arange(len(energies.samples_eV)) % len(changes)
        samples = energies.samples_eV[:, members] + vibrational + changes[draw]
        probability[within, t] = sample_hulls(fractions, samples).probability_stable
    return hulls, above, probability


def _calculated(search: HullSearch, relaxed: RelaxedCandidates, found: HullDoubt) -> dict[str, Any]:
    temperatures = sorted(set(search.settings.vibration_temperatures_K))
    draws = search.potential.draw(DRAWS, search.settings.seed)
    # labels that show energies to be better than stated say nothing of frequencies
    widening = max(1.0, found.energies.widening)
    entries: list[EntryVibrations] = []
    failed: list[str] = []
    for place in near_the_hull(found):
        k = int(found.kept[place])
        try:
            entries.append(_entry(search, k, relaxed.structures[k], draws, temperatures, widening))
        except (PredictionError, AnalysisError) as error:
            failed.append(f"{search.candidates.names[k]}: {error}")
    hulls, above, probability = hulls_of_free_energies(found, entries, temperatures, search.settings.elements)
    return {
        "temperatures_K": temperatures,
        "draws": DRAWS,
        "entries": [
            _stored(search.candidates.names[one.candidate], one, float(found.energies.energies_eV[one.candidate]), *row)
            for one, *row in zip(entries, above, probability, strict=True)
        ],
        "hulls": hulls,
        "failed": failed,
    }


def _entry(
    search: HullSearch,
    candidate: int,
    atoms: Atoms,
    draws: Sequence[ForceField],
    temperatures_K: Sequence[float],
    widening: float,
) -> EntryVibrations:
    from mlip_autopipe.analysis.vibrations import phonons_of, quasi_harmonic

    evaluate = _evaluate(search.potential)
    phonons = phonons_of(atoms, evaluate)
    vibrational, expanded = phonons.free_energy_eV_per_atom(temperatures_K), None
    if search.settings.vibrations == "quasiharmonic" and phonons.dynamically_stable:
        expanded = quasi_harmonic(atoms, evaluate, temperatures_K)
        vibrational = expanded.free_energy_eV_per_atom - phonons.energy_eV_per_atom
    drawn = [phonons_of(atoms, _evaluate(one)) for one in draws]
    free = np.array([one.free_energy_eV_per_atom(temperatures_K) for one in drawn])
    # their spread around their own mean is smaller than around that of many
    few = np.sqrt(len(draws) / (len(draws) - 1))
    return EntryVibrations(
        candidate=candidate,
        phonons=phonons,
        vibrational_eV=vibrational,
        changes_eV=widening * few * (free - free.mean(axis=0)),
        unstable_draws=sum(not one.dynamically_stable for one in drawn),
        expanded=expanded,
    )


def _evaluate(force_field: ForceField) -> Evaluate:
    def evaluate(structures: Sequence[Atoms]) -> list[tuple[float, FloatArray]]:
        predicted = [force_field.predict(one) for one in structures]
        return [(one.energy_eV, one.forces_eV_per_A) for one in predicted]

    return evaluate


def _stored(
    name: str, one: EntryVibrations, energy_eV: float, above: FloatArray, probability: FloatArray
) -> dict[str, Any]:
    found = {
        "candidate": one.candidate,
        "name": name,
        "dynamically_stable": one.phonons.dynamically_stable,
        "worst_imaginary_THz": round(one.phonons.worst_imaginary_THz, 3),
        "unstable_draws": one.unstable_draws,
        "zero_point_energy_eV_per_atom": round(one.phonons.zero_point_energy_eV_per_atom, DECIMALS),
        "free_energy_eV_per_atom": _plain(energy_eV + one.vibrational_eV),
        "vibrational_stderr_eV_per_atom": _plain(one.changes_eV.std(axis=0)),
        "e_above_hull_eV_per_atom": _plain(above),
        "probability_stable": _plain(probability),
    }
    if one.expanded is not None:
        found["volume_A3_per_atom"] = _plain(one.expanded.volume_A3_per_atom)
        found["fit_error_eV_per_atom"] = round(one.expanded.fit_error_eV_per_atom, DECIMALS)
    return found


def _plain(values: FloatArray) -> list[float | None]:
    """Return numbers for JSON: None where there is none."""
    return [round(float(one), DECIMALS) if np.isfinite(one) else None for one in values]


def _warnings(record: Mapping[str, Any]) -> list[str]:
    said = []
    shaken = [one for one in record["entries"] if not one["dynamically_stable"]]
    if shaken:
        named = ", ".join(
            f"{one['name']} ({one['worst_imaginary_THz']:.1f} THz, {one['unstable_draws']} draws)" for one in shaken
        )
        said.append(
            f"dynamically unstable by the potential, and left out of the hulls above 0 K: {named}; in brackets the "
            f"size of the largest imaginary frequency, and in how many of {record['draws']} draws of the potential "
            "they are unstable, too"
        )
    if record["failed"]:
        said.append(f"no vibrations could be computed of {'; '.join(record['failed'])}")
    for one in record["hulls"]:
        if one["lacking"]:
            said.append(
                f"no hull of free energies at {one['temperature_K']:g} K: no dynamically stable entry of "
                f"{', '.join(one['lacking'])} has one"
            )
    for one in record["entries"]:
        outside = [
            f"{kelvin:g}"
            for kelvin, volume in zip(record["temperatures_K"], one.get("volume_A3_per_atom", []), strict=False)
            if volume is None
        ]
        if outside:
            said.append(
                f"{one['name']} has no least free energy inside the volumes at {', '.join(outside)} K, and is left out "
                "of the hulls there"
            )
    return [*said, "the hulls of free energies know vibrations, but no disorder and no liquid"]
