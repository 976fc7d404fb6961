"""The figure of a potential: predicted against reference forces, and force errors against what was stated."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlip_autopipe.potentials.validation import Comparison

MAX_POINTS = 20_000
"""A figure does not become clearer by more."""


def potential_figure(training: Comparison, held_out: Comparison, title: str) -> bytes:
    """Draw force parity, and |dF| against the stated standard deviation.

    Parameters
    ----------
    training
        On the training data.
    held_out
        On configurations that were not trained on, with uncertainties; may be empty.
    title
        Above both.

    Returns
    -------
    bytes
        A PNG file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(12, 6), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(2.2, 1), width_ratios=(1, 1.25))
    upper = figure.add_subplot(grid[0, 0])
    lower, right = figure.add_subplot(grid[1, 0], sharex=upper), figure.add_subplot(grid[:, 1])
    _draw_parity(upper, lower, training, held_out)
    if held_out.force_std_eV_per_A is not None and len(held_out.symbols):
        _draw_errors(right, held_out)
    else:
        right.text(0.5, 0.5, "no forces were held out", ha="center", va="center")
        right.set_axis_off()
    figure.suptitle(title)
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, dpi=150, format="png")
    finally:
        plt.close(figure)
    return buffer.getvalue()


def _draw_parity(upper: Any, lower: Any, training: Comparison, held_out: Comparison) -> None:
    limit = 1e-3
    for one, name, colour in ((training, "training", "0.6"), (held_out, "held out", "C0")):
        if len(one.symbols) == 0:
            continue
        predicted, reference = _thinned(one.forces_eV_per_A.reshape(-1, 2)).T
        rmse = 1e3 * np.sqrt(((one.forces_eV_per_A[..., 0] - one.forces_eV_per_A[..., 1]) ** 2).mean())
        upper.plot(reference, predicted, ".", ms=3, c=colour, label=f"{name}: RMSE {rmse:.3g} meV/Å")
        lower.plot(reference, 1e3 * (predicted - reference), ".", ms=3, c=colour)
        limit = max(limit, 1.05 * np.abs(one.forces_eV_per_A).max())
    upper.plot([-limit, limit], [-limit, limit], "k-", lw=0.8)
    upper.set(xlim=(-limit, limit), ylim=(-limit, limit), ylabel="predicted (eV/Å)", title="Force components")
    upper.tick_params(labelbottom=False)
    upper.legend(fontsize="small", loc="upper left", markerscale=3)
    lower.axhline(0, c="k", lw=0.8)
    lower.set(xlabel="reference (eV/Å)", ylabel="difference (meV/Å)")


def _draw_errors(axes: Any, one: Comparison) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    from mlip_autopipe.potentials.calibration import GAUSSIAN_RATIO, LEVEL

    assert one.force_std_eV_per_A is not None
    errors = np.linalg.norm(one.forces_eV_per_A[..., 0] - one.forces_eV_per_A[..., 1], axis=1)
    inside = (errors <= GAUSSIAN_RATIO * one.force_std_eV_per_A).mean()
    smallest = 1e-3 * np.median(errors) + 1e-12  # an error of zero has no place on a logarithmic axis
    for k, symbol in enumerate(np.unique(one.symbols)):
        points = np.stack([one.force_std_eV_per_A, np.maximum(errors, smallest)], axis=1)[one.symbols == symbol]
        std, error = 1e3 * _thinned(points).T
        axes.loglog(std, error, ".", ms=3, c=f"C{k}", label=str(symbol))
    low, high = 1e3 * one.force_std_eV_per_A.min() / 1.3, 1e3 * one.force_std_eV_per_A.max() * 1.3
    line = np.array([low, high])
    axes.loglog(line, GAUSSIAN_RATIO * line, "k-", lw=0.8, label=f"{LEVEL:.0%} should lie below; {inside:.0%} do")
    axes.set(xlabel="stated standard deviation of a force component (meV/Å)", ylabel="error of the force |ΔF| (meV/Å)")
    axes.set(xlim=(low, high), title="Held-out forces: error against stated uncertainty")
    axes.legend(fontsize="small", loc="lower right", markerscale=3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(NullLocator())


def _thinned(points: np.ndarray) -> np.ndarray:
    if len(points) <= MAX_POINTS:
        return points
    return points[np.random.default_rng(0).choice(len(points), MAX_POINTS, replace=False)]
