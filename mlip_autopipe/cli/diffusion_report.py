"""Diffusion coefficients as a table, as flat results and as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.cli.report_parts import Document, GoalReport, print_evidence, print_gates

if TYPE_CHECKING:
    from rich.console import Console

KELVIN_PER_EV = 11604.518
"""1 / k (CODATA 2018)."""
FITTED = (
    "activation_energy_eV",
    "activation_energy_stderr_eV",
    "D0_cm2_s",
    "ln_D0_stderr",
    "covariance",
)


def show_diffusion(console: Console, document: Document) -> None:
    """Print coefficients by temperature and species, the Arrhenius law and the evidence."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    what = f"{document['phase']}"
    if document["vacancy_fraction"]:
        what += f" with {100 * document['vacancy_fraction']:.2g} % of its sites vacant"
    console.print(f"[bold]{escape(document['formula'])}[/], {what}, run {escape(document['run_id'])}")
    table = Table(title="Tracer diffusion coefficients", title_justify="left")
    liquid = document["phase"] == "liquid"
    for column in ("T (K)", "species", "D (cm²/s)", "statistics", "model", "size" if liquid else "hops", "ns"):
        table.add_column(column, justify="left" if column == "species" else "right")
    for one in document["results"]:
        for name, found in _species(one).items():
            value, parts = found["D_cm2_s"], found["D_cm2_s"]["stderr_parts"]
            shares = [_percent(parts[source], value["value"]) for source in ("statistics", "model", "finite_size")]
            if not liquid:
                shares[-1] = "" if found["n_hops"] is None else f"{found['n_hops']:.0f}"
            table.add_row(
                f"{one['temperature_K']:g}",
                escape(name),
                f"{value['value']:.3g} ± {value['stderr']:.2g}",
                *shares,
                f"{one['simulated_time_ps'] / 1000:.3g}",
            )
    console.print(table)
    for name, fit in _species_of(document["arrhenius"]).items():
        console.print(
            Text(
                f"{name}: activation energy {fit['activation_energy_eV']:.3f} ± "
                f"{fit['activation_energy_stderr_eV']:.3f} eV, "
                f"D0 = {fit['D0_cm2_s']:.3g} cm²/s (ln D0 ± {fit['ln_D0_stderr']:.2g})"
            )
        )
    for name, fit in _species_of(document.get("vtf", {})).items():
        law = f"D0 = {fit['D0_cm2_s']:.3g} cm²/s, B = {fit['B_K']:.0f} K, T0 = {fit['T0_K']:.0f} K"
        console.print(Text(f"{name}: Vogel-Fulcher-Tammann {law}"))
    for one in document["results"]:
        if eta := one.get("viscosity_mPa_s"):
            text = f"{one['temperature_K']:g} K: viscosity {eta['value']:.3g} ± {eta['stderr']:.2g} mPa s"
            console.print(Text(text))
        for name, found in _species(one).items():
            failed = [gate for gate in found["gates"] if not gate["passed"]]
            print_gates(console, failed, prefix=f"{one['temperature_K']:g} K, {name}, ")
    if document["relearnings"]:
        console.print(f"production sent frames back to learning {document['relearnings']} times")
    print_evidence(console, document)


def flat_diffusion(document: Document) -> Document:
    """Return the document with lists over temperatures under the name of each species.

    Each species has ``D_cm2_s``, ``D_stderr_cm2_s``, ``D_stderr_parts_cm2_s``, ``n_hops``, ``plateau_ps`` and, where
    the law could be fitted, its parameters; what was not measured is null.
    """
    flat = {key: value for key, value in document.items() if key not in ("arrhenius",) and key[0] != "@"}
    names = dict.fromkeys(name for one in document["results"] for name in _species(one))
    flat["species"] = {name: _flat_species(document, name) for name in names}
    return flat


def plot_diffusion(document: Document, path: Path) -> Path:
    """Draw the Arrhenius law with its band, mean square displacements, and D(t).

    Parameters
    ----------
    document
        Dump of a `DiffusionDocument`.
    path
        PNG file to write, as a whole or not at all.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from mlip_autopipe.cli.figures import remark, save_figure

    figure, axes = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    _draw_arrhenius(axes[0], document)
    _draw_curves(axes[1], axes[2], document)
    figure.suptitle(f"{document['formula']}: tracer diffusion ({document['phase']}){remark(document)}")
    return save_figure(figure, path, document["run_id"])


REPORT = GoalReport(show=show_diffusion, flatten=flat_diffusion, draw=plot_diffusion, figure="diffusion.png")


def _species(one: Document) -> dict[str, Document]:
    return _species_of(one["species"])


def _species_of(mapping: Document) -> dict[str, Document]:
    return {name: value for name, value in mapping.items() if name[0] != "@"}


def _percent(part: float | None, value: float) -> str:
    return "" if part is None or value == 0 else f"{100 * part / abs(value):.2g} %"


def _flat_species(document: Document, name: str) -> Document:
    found = [_species(one)[name] for one in document["results"]]
    coefficients = [one["D_cm2_s"] for one in found]
    sources = [key for key in coefficients[0]["stderr_parts"] if key[0] != "@"]
    fit = document["arrhenius"].get(name)
    return {
        "D_cm2_s": [one["value"] for one in coefficients],
        "D_stderr_cm2_s": [one["stderr"] for one in coefficients],
        "D_stderr_parts_cm2_s": {key: [one["stderr_parts"][key] for one in coefficients] for key in sources},
        "n_hops": [one["n_hops"] for one in found],
        "size_correction_cm2_s": [(one.get("size_correction_cm2_s") or {}).get("value") for one in found],
        "plateau_ps": [one["plateau_ps"] for one in found],
        **{key: None if fit is None else fit[key] for key in FITTED},
    }


def _draw_arrhenius(axes: Any, document: Document) -> None:
    import numpy as np

    kelvin = np.array([one["temperature_K"] for one in document["results"]])
    names = dict.fromkeys(name for one in document["results"] for name in _species(one))
    for k, name in enumerate(names):
        found = [_species(one)[name]["D_cm2_s"] for one in document["results"]]
        values, errors = (np.array([one[key] for one in found]) for key in ("value", "stderr"))
        seen = values > 0
        axes.errorbar(1000 / kelvin[seen], values[seen], errors[seen], fmt="o", color=f"C{k}", label=name, capsize=3)
        fit = document["arrhenius"].get(name)
        if fit is not None and seen.any():
            line = np.linspace(kelvin.min(), kelvin.max(), 50)
            slope = np.stack([-KELVIN_PER_EV / line, np.ones_like(line)])
            log = np.log(fit["D0_cm2_s"]) + slope[0] * fit["activation_energy_eV"]
            band = np.sqrt(np.einsum("in,ij,jn->n", slope, np.array(fit["covariance"]), slope))
            axes.plot(1000 / line, np.exp(log), color=f"C{k}")
            axes.fill_between(1000 / line, np.exp(log - band), np.exp(log + band), color=f"C{k}", alpha=0.2)
    if any(one["value"] > 0 for r in document["results"] for one in (s["D_cm2_s"] for s in _species(r).values())):
        axes.set_yscale("log")
    axes.set_xlabel("1000 / T (1/K)")
    axes.set_ylabel("D (cm²/s)")
    axes.set_title("Arrhenius law, band: one standard error")
    if names:
        axes.legend(frameon=False)


def _draw_curves(left: Any, right: Any, document: Document) -> None:
    import numpy as np

    plateaus = [two["D_cm2_s"]["value"] for one in document["results"] for two in _species(one).values()]
    seen = [value for value in plateaus if value > 0]
    for k, one in enumerate(document["results"]):
        for found, name, style in zip(_species(one).values(), _species(one), ("-", "--", ":", "-.") * 9, strict=False):
            curves, label = found["curves"], f"{one['temperature_K']:g} K, {name}"
            if curves is None:
                continue
            left.plot(curves["lags_ps"], curves["msd_A2"], style, color=f"C{k}", label=label)
            lags, values, errors = (np.array(curves[key]) for key in ("D_lags_ps", "D_cm2_s", "D_stderr_cm2_s"))
            right.errorbar(lags, values, errors, fmt=f"o{style}", ms=3, lw=1, color=f"C{k}", label=label)
            if found["plateau_ps"]:
                left.axvline(found["plateau_ps"], color=f"C{k}", lw=0.7, ls=":")
                right.axvline(found["plateau_ps"], color=f"C{k}", lw=0.7, ls=":")
    left.set(xlabel="lag (ps)", ylabel="mean square displacement (Å²)", title="dotted: where the plateau begins")
    corrected = any(two.get("size_correction_cm2_s") for one in document["results"] for two in _species(one).values())
    title = "D(t), before the correction for the box" if corrected else "D(t)"
    right.set(xlabel="lag t (ps)", ylabel="[MSD(2t) - MSD(t)] / 6t (cm²/s)", title=title, xscale="log")
    if seen:  # vibrations before the plateaus are off by orders of magnitude
        right.set_yscale("log", nonpositive="mask")
        right.set_ylim(0.2 * min(seen), 20 * max(seen))
    if document["results"]:
        left.legend(frameon=False, fontsize="small")
