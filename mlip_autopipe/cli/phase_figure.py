"""Figures of temperature-composition diagrams of two elements: a PNG file, and a page that can be pointed at.

Both are drawn from the document that `PhaseBoundaries.to_dict` gives (`analysis/phase_boundaries.py`).
"""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.phase_slices import SOLUTION
from mlip_autopipe.analysis.solution_model import SolutionModel

Document = dict[str, Any]
FloatArray = NDArray[np.float64]

SOLUTION_COLOUR: Final = "#4477aa"
PHASE_COLOURS: Final = ("#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee", "#ee8866", "#44bb99", "#997700")
"""Tol's colours (https://personal.sron.nl/~pault/), which the colour-blind can tell apart; used in turn."""
_TWO_PHASE: Final = "#d9d9d9"
_DASHED: Final = "#777777"
_BASELINE_POINTS: Final = 60


def phase_figure(document: Document, title: str) -> bytes:
    """Draw the diagram.

    Returns
    -------
    bytes
        A PNG file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.5, 6.5), layout="constrained")
    colours = phase_colours(document)
    for corners in two_phase_areas(document):
        axes.fill(corners[:, 0], corners[:, 1], color=_TWO_PHASE, lw=0, zorder=1)
    for x, kelvin in baseline_curves(document):
        axes.plot(x, kelvin, "--", c=_DASHED, lw=1, zorder=2, label="random alloy (mean field)")
    for phase, colour in colours.items():
        lines = _intervals(document, phase)
        axes.plot(
            lines[:, 0], lines[:, 1], "-", c=colour, lw=4, alpha=0.45, solid_capstyle="butt", label=phase, zorder=3
        )
        ends = _ends(document, phase)
        axes.errorbar(
            ends[:, 0], ends[:, 1], xerr=ends[:, 2], fmt="o", ms=3.5, c=colour, elinewidth=1, capsize=2, zorder=4
        )
    for point in transitions(document):
        axes.errorbar(
            point["x"],
            point["kelvin"],
            yerr=point["stderr"],
            fmt="D",
            ms=6,
            mfc="w",
            c=point["colour"],
            capsize=3,
            zorder=5,
        )
    axes.set(xlim=(0, 1), ylim=_range(document), xlabel=_x_label(document), ylabel="temperature (K)")
    axes.set_title(title + _remark(document))
    handles = {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), fontsize="small", loc="outside lower center", ncols=6)
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, dpi=150, format="png")
    finally:
        plt.close(figure)
    return buffer.getvalue()


def phase_page(document: Document, title: str) -> str | None:
    """Return the same figure as a page for a browser, which needs no network; None where Plotly is not installed."""
    try:
        import plotly.graph_objects as go  # type: ignore[import-untyped]
    except ImportError:
        return None
    figure = go.Figure()
    for corners in two_phase_areas(document):
        figure.add_trace(_trace(go, corners, mode="none", fill="toself", fillcolor=_TWO_PHASE, hoverinfo="skip"))
    for x, kelvin in baseline_curves(document):
        line = {"color": _DASHED, "dash": "dash", "width": 1}
        options = {"name": "random alloy (mean field)", "showlegend": True, "line": line}
        figure.add_trace(_trace(go, np.column_stack([x, kelvin]), mode="lines", **options))
    for phase, colour in phase_colours(document).items():
        options = {"line": {"color": colour, "width": 6}, "opacity": 0.5, "name": phase, "showlegend": True}
        figure.add_trace(_trace(go, _intervals(document, phase), mode="lines", hoverinfo="skip", **options))
        ends = _ends(document, phase)
        figure.add_trace(
            _trace(
                go,
                ends,
                mode="markers",
                marker={"color": colour, "size": 6},
                error_x={"type": "data", "array": ends[:, 2].tolist(), "thickness": 1},
                hovertext=[f"{phase}: {x:.4f} ± {error:.2g} at {kelvin:.0f} K" for x, kelvin, error in ends.tolist()],
                hoverinfo="text",
            )
        )
    for point in transitions(document):
        place = np.array([[point["x"], point["kelvin"]]])
        marker = {"symbol": "diamond-open", "size": 11, "color": point["colour"]}
        bars = {"type": "data", "array": [point["stderr"]]}
        figure.add_trace(
            _trace(go, place, mode="markers", marker=marker, error_y=bars, hovertext=[point["text"]], hoverinfo="text")
        )
    figure.update_layout(title=title + _remark(document), template="simple_white", legend={"orientation": "h"})
    figure.update_xaxes(title=_x_label(document), range=[0, 1])
    figure.update_yaxes(title="temperature (K)", range=list(_range(document)))
    page: str = figure.to_html(include_plotlyjs=True, full_html=True, div_id="phases")
    return page


def phase_colours(document: Document) -> dict[str, str]:
    """Return a colour for every phase of the diagram, the same in both figures."""
    names = [part["phase"] for item in document["slices"] for part in item["single_phase"]]
    names += [item["phase"] for item in document["order_disorder"]]
    ordered = sorted({name for name in names if name != SOLUTION})
    colours = {name: PHASE_COLOURS[k % len(PHASE_COLOURS)] for k, name in enumerate(ordered)}
    return {SOLUTION: SOLUTION_COLOUR, **colours} if SOLUTION in names else colours


def two_phase_areas(document: Document) -> list[FloatArray]:
    """Return polygons (4, 2) of fraction and temperature between neighbouring slices that hold the same two phases."""
    areas = []
    for below, above in pairwise(document["slices"]):
        left = list(above["two_phase"])
        for one in below["two_phase"]:
            # of several regions of the same phases the one that overlaps most
            fitting = [r for r in left if r["phases"] == one["phases"] and _overlap(one, r) > 0]
            if not fitting:
                continue
            other = max(fitting, key=lambda region: _overlap(one, region))
            left.remove(other)
            low, high = below["temperature_K"], above["temperature_K"]
            areas.append(
                np.array(
                    [
                        [one["low"]["value"], low],
                        [one["high"]["value"], low],
                        [other["high"]["value"], high],
                        [other["low"]["value"], high],
                    ]
                )
            )
    return areas


def transitions(document: Document) -> list[dict[str, Any]]:
    """Return the temperatures at which ordered phases disorder, and the top of a miscibility gap, with their places."""
    colours = phase_colours(document)
    points = []
    for item in document["order_disorder"]:
        if found := item["temperature_K"]:
            text = f"{item['phase']} disorders at {found['value']:.0f} ± {found['stderr']:.2g} K ({item['method']})"
            points.append(_point(item["fractions"][1], found, colours[item["phase"]], text))
    if found := document["consolute_temperature_K"]:
        text = f"top of the miscibility gap at {found['value']:.0f} ± {found['stderr']:.2g} K"
        points.append(_point(_middle_of_gap(document), found, SOLUTION_COLOUR, text))
    return points


def baseline_curves(document: Document) -> list[tuple[FloatArray, FloatArray]]:
    """Return fractions and temperatures of the miscibility gaps of the baseline, none for an alloy that orders."""
    if not document["baseline"] or not document["slices"]:
        return []
    model = SolutionModel.from_dict(document["baseline"])
    top = model.critical_temperature_K()
    coldest = document["slices"][0]["temperature_K"]
    if top <= coldest:
        return []
    kelvin = np.linspace(coldest, 0.9999 * top, _BASELINE_POINTS)
    found = [(t, gaps[0]) for t in kelvin if len(gaps := model.miscibility_gaps(float(t))) == 1]
    if not found:
        return []
    low, high = (np.array([gap[side] for _, gap in found]) for side in (0, 1))
    own = np.array([t for t, _ in found])
    return [(np.concatenate([low, high[::-1]]), np.concatenate([own, own[::-1]]))]


def _middle_of_gap(document: Document) -> float:
    """Return the middle of the miscibility gap in the hottest slice that has one: the top itself may show none."""
    for item in reversed(document["slices"]):
        gaps = [r for r in item["two_phase"] if list(r["phases"]) == [SOLUTION, SOLUTION]]
        if gaps:
            widest = max(gaps, key=lambda r: r["high"]["value"] - r["low"]["value"])
            return float(widest["low"]["value"] + widest["high"]["value"]) / 2
    return 0.5


def _point(x: float, found: dict[str, float], colour: str, text: str) -> dict[str, Any]:
    return {"x": x, "kelvin": found["value"], "stderr": found["stderr"], "colour": colour, "text": text}


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> float:
    high, low = (pick(r[end]["value"] for r in (one, other)) for pick, end in ((min, "high"), (max, "low")))
    return float(high - low)


def _intervals(document: Document, phase: str) -> FloatArray:
    """Return fraction and temperature of the ends of the phase's intervals, parted by rows that are not numbers."""
    rows = []
    for item in document["slices"]:
        for part in item["single_phase"]:
            if part["phase"] == phase:
                rows += [[part[end]["value"], item["temperature_K"]] for end in ("low", "high")]
                rows.append([np.nan, np.nan])
    return np.array(rows, dtype=float).reshape(-1, 2)


def _ends(document: Document, phase: str) -> FloatArray:
    """Return fraction, temperature and error (n, 3) of the phase's boundaries, without the pure elements."""
    rows = [
        [part[end]["value"], item["temperature_K"], part[end]["stderr"]]
        for item in document["slices"]
        for part in item["single_phase"]
        if part["phase"] == phase
        for end in ("low", "high")
        if part[end]["stderr"] > 0
    ]
    return np.array(rows, dtype=float).reshape(-1, 3)


def _trace(go: Any, places: FloatArray, **options: Any) -> Any:
    # gaps between lines are None in JSON
    x, y = ([None if np.isnan(value) else value for value in column] for column in places[:, :2].T.tolist())
    return go.Scatter(x=x, y=y, **{"showlegend": False, **options})


def _x_label(document: Document) -> str:
    first, second = document["elements"]
    return f"atomic fraction of {second} in {first}-{second}"


def _range(document: Document) -> tuple[float, float]:
    kelvin = [item["temperature_K"] for item in document["slices"]]
    kelvin += [point["kelvin"] for point in transitions(document)]
    low, high = min(kelvin, default=0.0), max(kelvin, default=1000.0)
    return max(low - 0.1 * high, 0.0), 1.08 * high


def _remark(document: Document) -> str:
    failed = [gate["name"] for gate in document["gates"] if not gate["passed"]]
    if "transition_temperatures_trustworthy" in failed:
        return "  [the expansion is not good enough]"
    return "  [a check failed]" if failed else ""
