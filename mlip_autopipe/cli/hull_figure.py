"""Figures of convex hulls of two or three elements: a PNG file, and a page in which every entry can be pointed at.

Both are drawn from a document with ``elements``, ``entries``, ``hull_vertices`` and ``two_phase_regions``, as that of
``mlip-auto analyse hull``.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Document = dict[str, Any]
FloatArray = NDArray[np.float64]

COLOURS: Final = "viridis"
UNLIKELY: Final = 0.005
"""Entries with a lower probability are drawn in grey: colours are for what may be stable."""
MAX_LABELS: Final = 50
_GREY: Final = "#b8b8b8"
_HEIGHT: Final = np.sqrt(3) / 2


def hull_figure(document: Document, title: str) -> bytes:
    """Draw the hull of two or three elements.

    Returns
    -------
    bytes
        A PNG file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
    draw = _draw_binary if len(document["elements"]) == 2 else _draw_ternary
    points = draw(axes, document)
    figure.colorbar(points, ax=axes, label="probability of being stable", shrink=0.8)
    axes.set_title(title)
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, dpi=150, format="png")
    finally:
        plt.close(figure)
    return buffer.getvalue()


def hull_page(document: Document, title: str) -> str | None:
    """Return the same figure as a page for a browser, which needs no network; None where Plotly is not installed."""
    try:
        import plotly.graph_objects as go  # type: ignore[import-untyped]
    except ImportError:
        return None
    binary = len(document["elements"]) == 2
    figure = go.Figure(_binary_traces(go, document) if binary else _ternary_traces(go, document))
    figure.update_layout(title=title, template="simple_white", legend={"orientation": "h"})
    if binary:
        first, second = document["elements"]
        figure.update_xaxes(title=f"atomic fraction of {second} in {first}-{second}", range=[-0.03, 1.03])
        figure.update_yaxes(title="formation energy (eV/atom)", range=_energy_range(document))
    else:
        axes = {f"{axis}axis": {"title": name} for axis, name in zip("abc", document["elements"], strict=True)}
        figure.update_layout(ternary={"sum": 1, **axes})
    page: str = figure.to_html(include_plotlyjs=True, full_html=True, div_id="hull")
    return page


def _draw_binary(axes: Any, document: Document) -> Any:
    first, second = document["elements"]
    x, energies, errors = _fractions(document)[:, 1], *_energies(document)
    probabilities = _values(document, "probability_stable")
    corners = sorted(document["hull_vertices"], key=lambda k: x[k])
    axes.axhline(0, c="k", lw=0.5)
    axes.plot(x[corners], energies[corners], "-", c="k", lw=1.2, zorder=2)
    if errors.any():
        axes.errorbar(x, energies, errors, fmt="none", ecolor=_GREY, elinewidth=0.8, capsize=1.5, zorder=1)
    points = _scatter(axes, x, energies, probabilities)
    _label(axes, document, np.column_stack([x, energies]), -13)
    axes.set(
        xlabel=f"atomic fraction of {second} in {first}-{second}",
        ylabel="formation energy (eV/atom)",
        xlim=(-0.03, 1.03),
        ylim=_energy_range(document),
    )
    return points


def _draw_ternary(axes: Any, document: Document) -> Any:
    places = _triangle(_fractions(document))
    probabilities = _values(document, "probability_stable")
    for region in document["two_phase_regions"]:
        ends = places[region["entries"]]
        axes.plot(ends[:, 0], ends[:, 1], "-", c="k", lw=0.8, zorder=1)
    points = _scatter(axes, places[:, 0], places[:, 1], probabilities)
    _label(axes, document, places, 7)
    axes.set(xlim=(-0.08, 1.08), ylim=(-0.08, _HEIGHT + 0.08), aspect="equal")
    axes.set_axis_off()
    return points


def _scatter(axes: Any, x: FloatArray, y: FloatArray, probabilities: FloatArray) -> Any:
    order = np.argsort(probabilities)  # of several phases at one place the likeliest is seen
    x, y, probabilities = x[order], y[order], probabilities[order]
    likely = probabilities >= UNLIKELY
    axes.scatter(x[~likely], y[~likely], s=8, c=_GREY, lw=0, zorder=1.5)
    return axes.scatter(
        x[likely],
        y[likely],
        s=45,
        c=probabilities[likely],
        cmap=COLOURS,
        vmin=0,
        vmax=1,
        edgecolors="k",
        linewidths=0.6,
        zorder=3,
    )


def _label(axes: Any, document: Document, places: FloatArray, offset: int) -> None:
    """Write the formulas of vertices, unless there are so many that nobody could read them."""
    from matplotlib.patheffects import withStroke
    from pymatgen.core import Composition

    corners = document["hull_vertices"]
    for k in corners if len(corners) <= MAX_LABELS else ():
        axes.annotate(
            Composition(document["entries"][k]["formula"]).reduced_formula,
            places[k],
            xytext=(0, offset),
            textcoords="offset points",
            ha="center",
            fontsize="small",
            path_effects=[withStroke(linewidth=2, foreground="w")],
            zorder=4,
        )


def _binary_traces(go: Any, document: Document) -> list[Any]:
    x, energies, errors = _fractions(document)[:, 1], *_energies(document)
    corners = sorted(document["hull_vertices"], key=lambda k: x[k])
    traces = [
        go.Scatter(
            x=x[corners].tolist(),
            y=energies[corners].tolist(),
            mode="lines",
            line={"color": "black"},
            name="hull",
            hoverinfo="skip",
        )
    ]
    for chosen, options in _groups(document):
        if errors.any():
            bars = {"type": "data", "array": errors[chosen].tolist(), "thickness": 1, "color": _GREY}
            options["error_y"] = bars
        traces.append(go.Scatter(x=x[chosen].tolist(), y=energies[chosen].tolist(), **options))
    return traces


def _ternary_traces(go: Any, document: Document) -> list[Any]:
    fractions = _fractions(document)
    lines: list[list[float | None]] = [[], [], []]
    for region in document["two_phase_regions"]:
        for axis, line in enumerate(lines):
            line += [*fractions[region["entries"], axis].tolist(), None]
    a, b, c = lines
    traces = [
        go.Scatterternary(
            a=a, b=b, c=c, mode="lines", line={"color": "black", "width": 1}, name="tie lines", hoverinfo="skip"
        )
    ]
    for chosen, options in _groups(document):
        a, b, c = fractions[chosen].T.tolist()
        traces.append(go.Scatterternary(a=a, b=b, c=c, **options))
    return traces


def _groups(document: Document) -> list[tuple[NDArray[np.intp], dict[str, Any]]]:
    """Entries that are hardly ever stable, and those that may be, with how they are drawn."""
    probabilities = _values(document, "probability_stable")
    texts = [_hover(k, entry) for k, entry in enumerate(document["entries"])]
    groups = []
    for name, members in (("unlikely", probabilities < UNLIKELY), ("may be stable", probabilities >= UNLIKELY)):
        chosen = np.flatnonzero(members)
        marker: dict[str, Any] = {"color": _GREY, "size": 4}
        if name != "unlikely":
            marker = {"color": probabilities[chosen].tolist(), "colorscale": COLOURS.title(), "cmin": 0, "cmax": 1}
            marker |= {"size": 10, "line": {"color": "black", "width": 1}}
            marker["colorbar"] = {"title": {"text": "probability<br>of being stable"}}
        options = {"mode": "markers", "marker": marker, "name": name, "hoverinfo": "text"}
        groups.append((chosen, options | {"hovertext": [texts[k] for k in chosen]}))
    return groups


def _hover(index: int, entry: dict[str, Any]) -> str:
    named = f" ({entry['name']})" if entry.get("name") else ""
    lines = [
        f"<b>{entry['formula']}</b>{named}, entry {index}",
        f"formation energy {_milli(entry, 'formation_energy')}",
        f"above the hull {_milli(entry, 'e_above_hull')}",
        f"stable with probability {entry['probability_stable']:.3g}",
    ]
    return "<br>".join(lines + ([str(entry["source"])] if entry.get("source") else []))


def _milli(entry: dict[str, Any], name: str) -> str:
    value, stderr = entry[f"{name}_eV_per_atom"], entry.get(f"{name}_stderr_eV_per_atom")
    return f"{1000 * value:.1f}" + ("" if stderr is None else f" ± {1000 * stderr:.1f}") + " meV/atom"


def _fractions(document: Document) -> FloatArray:
    return np.array([[entry["fractions"][name] for name in document["elements"]] for entry in document["entries"]])


def _values(document: Document, key: str) -> FloatArray:
    return np.array([entry.get(key) or 0.0 for entry in document["entries"]], dtype=float)


def _energies(document: Document) -> tuple[FloatArray, FloatArray]:
    return (
        _values(document, "formation_energy_eV_per_atom"),
        _values(document, "formation_energy_stderr_eV_per_atom"),
    )


def _energy_range(document: Document) -> list[float]:
    """Limits that show the hull and what lies near it: entries far above would squash it."""
    energies, errors = _energies(document)
    lowest = float((energies - errors).min())
    depth = max(-lowest, 0.01)
    highest = float((energies + errors).max())
    return [lowest - 0.15 * depth, min(highest, 2 * depth) + 0.1 * depth]


def _triangle(fractions: FloatArray) -> FloatArray:
    """Places in an equilateral triangle: the first element at the top, the second left, the third right."""
    return np.column_stack([fractions[:, 2] + fractions[:, 0] / 2, _HEIGHT * fractions[:, 0]])
