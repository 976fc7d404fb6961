"""``mlip-auto analyse hull``: which of a user's own entries are stable, and how sure that is."""

from __future__ import annotations

import csv
import io
import json
import math
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlip_autopipe.cli.files import require_writable, write_all
from mlip_autopipe.errors import EXIT_OK, InvalidInputError

if TYPE_CHECKING:
    from mlip_autopipe.analysis.hull import Hull
    from mlip_autopipe.analysis.hull_entries import HullEntries
    from mlip_autopipe.analysis.hull_samples import HullSamples

Document = dict[str, Any]

SCHEMA_VERSION: Final = 1
RESULT_NAME, TABLE_NAME, ENTRIES_NAME = "hull.json", "hull.csv", "pymatgen_entries.json"
FIGURE_NAME, PAGE_NAME = "hull.png", "hull.html"
DRAWN_ELEMENTS: Final = (2, 3)
SHOWN_ENTRIES: Final = 20
_LARGE_eV: Final = 10.0
"""No compound is so far from its elements; but an energy per atom taken for that of a formula often is."""


def analyse_hull(
    path: Path, *, n_samples: int = 2000, seed: int = 0, out: Path | None = None, as_json: bool = False
) -> int:
    """Print the convex hull of a file's entries; with a folder, also write tables, figures and pymatgen's entries.

    Returns
    -------
    int
        0.

    Raises
    ------
    InvalidInputError
        Something about the input is wrong. Entries that cannot be used are reported after the result of the others, and
        so is that there is but one element.
    """
    from mlip_autopipe.analysis.hull import convex_hull
    from mlip_autopipe.analysis.hull_entries import read_entries

    if out is not None:
        require_writable(out)
    entries = read_entries(path)
    hull = convex_hull(entries.fractions, entries.energies_eV_per_atom)
    document = hull_document(entries, hull, _samples(entries, n_samples, seed))
    files = [] if out is None else write_all(out, _files(document, entries))
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _show(document)
        if files:
            print("wrote " + ", ".join(str(file) for file in files) + _left_out(document, files))
    if entries.problem:
        raise InvalidInputError(f"{entries.problem}. The result is that of the {len(entries.entries)} other entries.")
    if len(entries.elements) == 1:
        raise InvalidInputError(f"{path} holds {entries.elements[0]} only; a hull needs at least two elements")
    return EXIT_OK


def hull_document(entries: HullEntries, hull: Hull, samples: HullSamples | None) -> Document:
    """Return what ``--json`` prints.

    Parameters
    ----------
    samples
        Of the entries' errors; None where none is known.
    """
    formulas = [entry.formula for entry in entries.entries]
    listed = []
    for k, entry in enumerate(entries.entries):
        shares = hull.decomposition(k)
        listed.append(
            {
                "formula": entry.formula,
                "name": entry.name,
                "fractions": dict(zip(entries.elements, entries.fractions[k].tolist(), strict=True)),
                "energy_eV_per_atom": float(entries.energies_eV_per_atom[k]),
                "energy_stderr_eV_per_atom": _finite(float(entries.energy_stderrs_eV_per_atom[k])),
                "formation_energy_eV_per_atom": float(hull.formation_energies_eV_per_atom[k]),
                "formation_energy_stderr_eV_per_atom": (
                    float(samples.formation_energy_stderr_eV_per_atom[k]) if samples else None
                ),
                "e_above_hull_eV_per_atom": float(hull.e_above_hull_eV_per_atom[k]),
                "e_above_hull_stderr_eV_per_atom": (
                    float(samples.e_above_hull_stderr_eV_per_atom[k]) if samples else None
                ),
                "probability_stable": float(samples.probability_stable[k] if samples else hull.stable[k]),
                "stable": bool(hull.stable[k]),
                "decomposition": [{"entry": one, "fraction": share} for one, share in shares.items()],
            }
        )
    regions = [
        {
            "entries": corners,
            "formulas": [formulas[corner] for corner in corners],
            "chemical_potentials_eV": dict(zip(entries.elements, potentials, strict=True)),
        }
        for corners, potentials in zip(hull.simplices.tolist(), hull.chemical_potentials_eV.tolist(), strict=True)
    ]
    pairs = sorted({pair for corners in hull.simplices.tolist() for pair in combinations(corners, 2)})
    return {
        "schema_version": SCHEMA_VERSION,
        "source": entries.source,
        "elements": list(entries.elements),
        "n_entries": len(listed),
        "n_samples": samples.n_samples if samples else 0,
        "hull_vertices": hull.vertices.tolist(),
        "two_phase_regions": [{"entries": list(pair), "formulas": [formulas[k] for k in pair]} for pair in pairs],
        "regions": regions,
        "entries": listed,
        "warnings": _warnings(entries, hull),
    }


def _samples(entries: HullEntries, n_samples: int, seed: int) -> HullSamples | None:
    import numpy as np

    from mlip_autopipe.analysis.hull_samples import independent_samples, sample_hulls

    stderrs = entries.energy_stderrs_eV_per_atom
    if np.isnan(stderrs).all():
        return None
    energies = entries.energies_eV_per_atom
    return sample_hulls(entries.fractions, independent_samples(energies, np.nan_to_num(stderrs), n_samples, seed))


def _warnings(entries: HullEntries, hull: Hull) -> list[str]:
    import numpy as np

    found = [] if entries.problem is None else [entries.problem]
    unknown = int(np.isnan(entries.energy_stderrs_eV_per_atom).sum())
    if unknown == len(entries.entries):
        found.append("no entry has an error bar: the probabilities are 1 or 0, by the hull itself")
    elif unknown:
        found.append(f"{unknown} of {len(entries.entries)} entries have no error bar and were taken as exact")
    largest = int(abs(hull.formation_energies_eV_per_atom).argmax())
    if abs(value := float(hull.formation_energies_eV_per_atom[largest])) > _LARGE_eV:
        found.append(
            f"entry {largest} ({entries.entries[largest].formula}) has a formation energy of {value:.3g} eV per atom: "
            "energies must be those of whole formulas, not per atom, and of one method"
        )
    return found


def _files(document: Document, entries: HullEntries) -> dict[str, bytes]:
    from monty.json import MontyEncoder

    from mlip_autopipe.analysis.hull_entries import pymatgen_entries
    from mlip_autopipe.cli.hull_figure import hull_figure, hull_page

    files = {
        RESULT_NAME: (json.dumps(document, indent=2) + "\n").encode(),
        TABLE_NAME: hull_table(document, entries).encode(),
        ENTRIES_NAME: json.dumps(pymatgen_entries(entries), cls=MontyEncoder).encode(),
    }
    if len(entries.elements) in DRAWN_ELEMENTS:
        title = Path(document["source"]).name
        files[FIGURE_NAME] = hull_figure(document, title)
        if (page := hull_page(document, title)) is not None:
            files[PAGE_NAME] = page.encode()
    return files


def _left_out(document: Document, files: list[Path]) -> str:
    if len(document["elements"]) not in DRAWN_ELEMENTS:
        return "; figures are for two or three elements"
    return "" if any(file.name == PAGE_NAME for file in files) else f"; {PAGE_NAME} needs plotly (pip install plotly)"


def hull_table(document: Document, entries: HullEntries) -> str:
    """Return the entries as CSV, which `read_entries` reads again: the first columns are a user's own."""
    columns = (
        "formation_energy_eV_per_atom",
        "formation_energy_stderr_eV_per_atom",
        "e_above_hull_eV_per_atom",
        "e_above_hull_stderr_eV_per_atom",
        "probability_stable",
        "stable",
    )
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["formula", "energy_eV", "energy_stderr_eV", "name", *columns])
    for entry, one in zip(entries.entries, document["entries"], strict=True):
        values = [entry.formula, entry.energy_eV, entry.energy_stderr_eV, entry.name, *(one[name] for name in columns)]
        rows.writerow(["" if value is None else value for value in values])
    return text.getvalue()


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _show(document: Document) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    entries, corners = document["entries"], document["hull_vertices"]
    words = (
        f"{document['source']}: {len(entries)} entries of {'-'.join(document['elements'])}, {len(corners)} on the hull"
    )
    console.print(Text(words), soft_wrap=True)
    order = sorted(range(len(entries)), key=lambda k: (-entries[k]["probability_stable"], _above(entries[k]), k))
    table = Table(title="Convex hull (meV/atom)", title_justify="left")
    for heading in ("entry", "", "formation energy", "above the hull", "stable", "otherwise"):
        table.add_column(heading, justify="left" if heading in ("", "otherwise") else "right")
    for k in order[:SHOWN_ENTRIES]:
        one = entries[k]
        table.add_row(
            str(k),
            one["formula"],
            _milli(one["formation_energy_eV_per_atom"], one["formation_energy_stderr_eV_per_atom"]),
            _milli(one["e_above_hull_eV_per_atom"], one["e_above_hull_stderr_eV_per_atom"]),
            _percent(one["probability_stable"]),
            "" if one["stable"] else " + ".join(f"{p['fraction']:.2f} of {p['entry']}" for p in one["decomposition"]),
        )
    console.print(table)
    if len(order) > SHOWN_ENTRIES:
        console.print(Text(f"and {len(order) - SHOWN_ENTRIES} more: --json or --out shows all"))
    for warning in document["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)


def _above(entry: Document) -> float:
    return float(entry["e_above_hull_eV_per_atom"])


def _percent(probability: float) -> str:
    """Write a probability; what is neither certain nor impossible is not rounded to it."""
    if 0 < probability < 0.01:
        return "< 1 %"
    if 0.99 < probability < 1:
        return "> 99 %"
    return f"{100 * probability:.0f} %"


def _milli(value_eV: float, stderr_eV: float | None) -> str:
    return f"{1000 * value_eV:.1f}" + ("" if stderr_eV is None else f" ± {1000 * stderr_eV:.1f}")
