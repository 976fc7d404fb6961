"""A learned potential as tables, as flat results and as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.cli.report_parts import Document, GoalReport, print_evidence

if TYPE_CHECKING:
    from rich.console import Console

MEV = 1e3


def show_potential(console: Console, document: Document) -> None:
    """Print what was learned, the errors by temperature, and the evidence."""
    from rich.markup import escape
    from rich.table import Table

    learned = document["learned"]
    console.print(
        f"[bold]{escape(document['formula'])}[/]: {learned['backend']} {learned['model']}, "
        f"{learned['parameters']} parameters, run {escape(document['run_id'])}"
    )
    target = MEV * document["target_force_error_eV_per_A"]
    table = Table(title=f"Force errors on labels before training (target {target:.0f} meV/A)", title_justify="left")
    crystals = crystals_of(document)
    several = len(crystals) > 1
    for column in (*(["crystal"] if several else []), "temperature", "error meV/A", "stated meV/A"):
        table.add_column(column, justify="left" if column == "crystal" else "right")
    for audit in learned["audit_errors"]:
        error, stated = MEV * audit["force_rmse_eV_per_A"], MEV * audit["predicted_rms_eV_per_A"]
        crystal = [escape(crystals[audit.get("start", 0)])] if several else []
        table.add_row(*crystal, f"{audit['temperature_K']:g} K", f"{error:.1f}", f"{stated:.1f}")
    console.print(table)
    for name, words in (("held_out", "held-out labels"), ("control", "the same labels, random arm")):
        if (found := learned.get(name)) is not None:
            console.print(f"{words}: force error {MEV * found['force_rmse_eV_per_A']:.1f} meV/A ({found['labels']})")
    if learned["coverage_90"] is not None:
        share, labels = 100 * learned["coverage_90"], learned["coverage_labels"]
        console.print(f"90 % interval of forces: held for {share:.0f} % of the atoms of {labels} fresh labels")
    for remark in learned.get("remarks", []):
        console.print(escape(remark))
    console.print(f"stopped because {learned['stop_reason']}")
    print_evidence(console, document)


def crystals_of(document: Document) -> list[str]:
    """Return the names of the crystals that were explored."""
    return [document["formula"], *document["learned"].get("others", [])]


def flat_potential(document: Document) -> Document:
    """Return the document without the store's marks."""
    return {key: value for key, value in document.items() if key[0] != "@"}


def plot_potential(document: Document, path: Path) -> Path:
    """Draw the force errors by temperature beside what the potential stated, and the labels by origin.

    Parameters
    ----------
    document
        Dump of a `PotentialDocument`.
    path
        PNG file to write, as a whole or not at all.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from mlip_autopipe.cli.figures import remark, save_figure

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=(1.4, 1))
    _draw_errors(left, document)
    origins = document["learned"]["labels_by_origin"]
    right.barh(list(origins), list(origins.values()), color="tab:gray")
    right.set_xlabel("labels")
    right.set_title("where the labels come from")
    figure.suptitle(f"{document['formula']}: {document['learned']['model']}{remark(document)}")
    return save_figure(figure, path, document["run_id"])


def _draw_errors(axes: Any, document: Document) -> None:
    crystals = crystals_of(document)
    for start, name in enumerate(crystals):
        audits = [one for one in document["learned"]["audit_errors"] if one.get("start", 0) == start]
        kelvin = [one["temperature_K"] for one in audits]
        for key, style, words in (
            ("force_rmse_eV_per_A", "o-", "error on audits, before training on them"),
            ("predicted_rms_eV_per_A", "s--", "what the potential stated"),
        ):
            # several crystals: colours name them, line styles what is drawn
            look = {} if len(crystals) == 1 else {"color": f"C{start}"}
            label = words if len(crystals) == 1 else (f"{name}, {words}" if start == 0 else name)
            shown = label if key == "force_rmse_eV_per_A" or start == 0 else None
            axes.plot(kelvin, [MEV * one[key] for one in audits], style, label=shown, **look)
    axes.axhline(MEV * document["target_force_error_eV_per_A"], color="tab:red", lw=1, label="target")
    if document["force_rmse_eV_per_A"] is not None:
        axes.axhline(MEV * document["force_rmse_eV_per_A"], color="tab:green", lw=1, ls=":", label="held-out labels")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("temperature (K)")
    axes.set_ylabel("force error per component (meV/Å)")
    axes.legend(frameon=False, fontsize="small")


REPORT = GoalReport(show=show_potential, flatten=flat_potential, draw=plot_potential, figure="potential.png")
