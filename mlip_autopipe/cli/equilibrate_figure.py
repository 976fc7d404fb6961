"""The figure of the equilibrate goal: lengths against temperature, and where their errors come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlip_autopipe.cli.figures import remark, save_figure

Document = dict[str, Any]

SOURCES = ("statistics", "model", "check", "finite_size", "curvature")


def plot_equilibrate(document: Document, path: Path) -> Path:
    """Draw an equilibrate document: lattice lengths with errors and their fit, and the errors by source.

    Parameters
    ----------
    document
        Dump of an `EquilibrateDocument`.
    path
        PNG file to write, as a whole or not at all.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained", width_ratios=(1.25, 1))
    place = document["temperatures_K"].index(document["temperature_K"])
    asked = document["equilibria"][place]
    lengths = [name for name in asked["free_parameters"] if name.endswith("_A")]
    _draw_lengths(left, document, lengths, place)
    rows = {name.removesuffix("_A"): asked["lattice_parameters"][name] for name in lengths}
    expansion = document["thermal_expansion"]
    if expansion:
        rows["thermal expansion"] = expansion["linear_per_K"]
    _draw_parts(right, rows)
    found = ", ".join(
        f"{name} = {e['value']:.4f} ± {e['stderr']:.4f} Å" for name, e in rows.items() if name != "thermal expansion"
    )
    if expansion:
        linear = expansion["linear_per_K"]
        found += f", linear expansion {1e6 * linear['value']:.2f} ± {1e6 * linear['stderr']:.2f} · 10⁻⁶/K"
    what = f"{document['formula']} ({document['space_group']}) at {document['temperature_K']:g} K"
    figure.suptitle(f"{what}: {found}{remark(document)}")
    return save_figure(figure, path, document["run_id"])


def _draw_lengths(axes: Any, document: Document, lengths: list[str], place: int) -> None:
    """One length in A; several as changes with respect to the asked temperature, since their sizes differ."""
    kelvin = np.array(document["temperatures_K"])
    several = len(lengths) > 1
    line = np.linspace(kelvin.min(), kelvin.max(), 101)
    for k, name in enumerate(lengths):
        found = [one["lattice_parameters"][name] for one in document["equilibria"]]
        values, errors = (np.array([one[key] for one in found]) for key in ("value", "stderr"))
        statistics = np.array([one["stderr_parts"]["statistics"] or 0.0 for one in found])
        base, scale = (values[place], 100 / values[place]) if several else (0.0, 1.0)
        values, errors, statistics = (values - base) * scale, errors * scale, statistics * scale
        label = name.removesuffix("_A")
        axes.errorbar(kelvin, values, errors, fmt="none", ecolor=f"C{k}", elinewidth=1, capsize=4)
        axes.errorbar(kelvin, values, statistics, fmt="o", ms=5, c=f"C{k}", elinewidth=3, label=label)
        if len(kelvin) > 1:
            weights = 1 / np.maximum(statistics, 1e-12)
            fit = np.polynomial.Polynomial.fit(kelvin, values, min(2, len(kelvin) - 1), w=weights)
            axes.plot(line, fit(line), "-", c=f"C{k}", lw=1)
    axes.set(xlabel="temperature (K)", ylabel="change of the length (%)" if several else "lattice constant (Å)")
    axes.set_title("thick: statistical error, thin: all of it", fontsize="medium")
    axes.ticklabel_format(useOffset=False)
    axes.legend()


def _draw_parts(axes: Any, rows: dict[str, Document]) -> None:
    sources = [s for s in SOURCES if any(row["stderr_parts"].get(s) is not None for row in rows.values())]
    places = np.arange(len(sources) + 1)
    for k, (name, row) in enumerate(rows.items()):
        parts = [row["stderr_parts"].get(source) for source in sources]
        # a part that was not measured, or is zero, has no place on a logarithmic axis
        relative = np.array([100 * (part or np.nan) / abs(row["value"]) for part in [*parts, row["stderr"]]])
        axes.plot(relative, places, "os^Dv"[k % 5], ms=7, label=name)
    axes.set_xscale("log")
    axes.set_yticks(places, [*(s.replace("_", " ") for s in sources), "all"])
    axes.invert_yaxis()
    axes.grid(axis="both", alpha=0.3)
    axes.set(xlabel="standard error by source (% of the value)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(rows), frameon=False)
