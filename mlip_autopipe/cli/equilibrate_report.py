"""Lattice constant, density and thermal expansion as tables and as flat results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlip_autopipe.cli.equilibrate_figure import plot_equilibrate
from mlip_autopipe.cli.report_parts import (
    Document,
    GoalReport,
    print_evidence,
    print_gates,
    print_title,
    split_unit,
    spread,
)

if TYPE_CHECKING:
    from rich.console import Console

AT_TEMPERATURE = ("volume_A3_per_atom", "density_g_per_cm3", "bulk_modulus_GPa")
SERIES = {
    "volumes_A3_per_atom": "volume_A3_per_atom",
    "densities_g_per_cm3": "density_g_per_cm3",
    "bulk_moduli_GPa": "bulk_modulus_GPa",
    "energies_eV_per_atom": "energy_eV_per_atom",
}
"""Name of a list over all temperatures, and what is listed."""
EXPANSIONS = {"thermal_expansion_per_K": "linear_per_K", "volumetric_thermal_expansion_per_K": "volumetric_per_K"}


def show_equilibrate(console: Console, document: Document) -> None:
    """Print the averages of all temperatures, thermal expansion, and the errors by source."""
    from rich.table import Table
    from rich.text import Text

    print_title(console, document)
    asked = at_asked(document)
    free = asked["free_parameters"]
    table = Table(title="Averages at constant pressure (B: isothermal bulk modulus)", title_justify="left")
    table.add_column("T (K)", justify="right")
    for name in free:
        table.add_column(_heading(name))
    for heading in ("density (g/cm³)", "B (GPa)"):
        table.add_column(heading)
    for one in document["equilibria"]:
        cells = [*(one["lattice_parameters"][name] for name in free), one["density_g_per_cm3"], one["bulk_modulus_GPa"]]
        style = "bold" if one is asked else ""
        table.add_row(f"{one['temperature_K']:g}", *(pm(cell) for cell in cells), style=style)
    console.print(table)

    expansions = [one for one in (document["thermal_expansion"], *document["further_expansions"]) if one]
    for one in expansions:
        linear, volumetric = one["linear_per_K"], one["volumetric_per_K"]
        console.print(
            Text(
                f"thermal expansion at {one['temperature_K']:g} K: linear ({pm(linear, 1e6)})e-6 /K, volumetric "
                f"({pm(volumetric, 1e6)})e-6 /K"
            )
        )
        for name, axis in one["axes_per_K"].items():
            console.print(Text(f"  along {split_unit(name)[0]}: ({pm(axis, 1e6)})e-6 /K"))
    _print_parts(console, document, asked)
    for one in document["equilibria"]:
        failed = [gate for gate in one["gates"] if not gate["passed"]]
        print_gates(console, failed, prefix=f"{one['temperature_K']:g} K, ")
        passed = len(one["gates"]) - len(failed)
        console.print(Text(f"{one['temperature_K']:g} K: {passed} of {len(one['gates'])} checks passed"))
    print_evidence(console, document)


def flat_equilibrate(document: Document) -> Document:
    """Return the document with what holds at the asked temperature in flat keys, and lists over all temperatures.

    ``lattice_constant_A`` is the length a of the conventional cell. Each value has a ``_stderr`` beside it and
    ``_stderr_parts`` by source.
    """
    flat = {k: v for k, v in document.items() if k not in ("thermal_expansion", "further_expansions") and k[0] != "@"}
    asked = at_asked(document)
    flat |= spread("lattice_constant_A", asked["lattice_parameters"]["a_A"])
    for name in asked["free_parameters"]:
        flat |= spread(name, asked["lattice_parameters"][name])
    for name in AT_TEMPERATURE:
        flat |= spread(name, asked[name])
    flat |= _listed("lattice_constants_A", [one["lattice_parameters"]["a_A"] for one in document["equilibria"]])
    for name, source in SERIES.items():
        flat |= _listed(name, [one[source] for one in document["equilibria"]])
    expansion = document["thermal_expansion"]
    flat |= dict.fromkeys(EXPANSIONS) if expansion is None else _expansion(expansion)
    flat["further_thermal_expansions"] = [
        {"temperature_K": one["temperature_K"], **_expansion(one)} for one in document["further_expansions"]
    ]
    return flat


def at_asked(document: Document) -> Document:
    """Return the averages at the asked temperature."""
    place = document["temperatures_K"].index(document["temperature_K"])
    found: Document = document["equilibria"][place]
    return found


def pm(estimate: Document, scale: float = 1.0) -> str:
    """Write value and error with as many digits as the error has meaning: two."""
    from math import floor, log10

    value, stderr = scale * estimate["value"], scale * estimate["stderr"]
    digits = 4 if stderr <= 0 else max(0, 1 - floor(log10(stderr)))
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"


REPORT = GoalReport(show=show_equilibrate, flatten=flat_equilibrate, draw=plot_equilibrate, figure="equilibrate.png")


def _print_parts(console: Console, document: Document, asked: Document) -> None:
    from rich.table import Table

    rows: list[tuple[str, Any]] = [
        (f"{split_unit(name)[0]} at {asked['temperature_K']:g} K", asked["lattice_parameters"][name])
        for name in asked["free_parameters"]
    ]
    if document["thermal_expansion"]:
        rows.append(("thermal expansion", document["thermal_expansion"]["linear_per_K"]))
    table = Table(title="Errors by source, in % of the value", title_justify="left")
    table.add_column("")
    sources = [k for k in rows[0][1]["stderr_parts"] if k[0] != "@"]
    for source in (*sources, "all"):
        table.add_column(source.replace("_", " "), justify="right")
    for name, estimate in rows:
        parts = [*(estimate["stderr_parts"][source] for source in sources), estimate["stderr"]]
        table.add_row(name, *("" if part is None else f"{100 * part / abs(estimate['value']):.2g}" for part in parts))
    console.print(table)


def _heading(name: str) -> str:
    stem, unit = split_unit(name)
    return f"{stem} ({'Å' if unit == '_A' else '°'})"


def _expansion(one: Document) -> Document:
    flat: Document = {}
    for name, source in EXPANSIONS.items():
        flat |= spread(name, one[source])
    return flat


def _listed(name: str, estimates: list[Document]) -> Document:
    stem, unit = split_unit(name)
    return {name: [one["value"] for one in estimates], f"{stem}_stderr{unit}": [one["stderr"] for one in estimates]}
