"""The figure of a diffusion analysis: mean square displacement with its plateau, and D against the lag."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlip_autopipe.analysis.diffusion import DiffusionResult
    from mlip_autopipe.analysis.diffusion_result import GroupDiffusion

MAX_POINTS = 400
"""A curve on logarithmic axes does not become clearer by more."""


def diffusion_figure(result: DiffusionResult, title: str) -> bytes:
    """Draw MSD(t) and D(t) of every species and group.

    Parameters
    ----------
    result
        Of `fit_diffusion_coefficient`.
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

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for k, group in enumerate(result.groups.values()):
        _draw_msd(left, group, f"C{k}")
        _draw_coefficient(right, group, f"C{k}")
    moving = any((group.msd_A2 > 0).any() for group in result.groups.values())
    # a logarithmic axis needs something to show
    left.set(xscale="log", yscale="log" if moving else "linear")
    left.set(xlabel="lag (ps)", ylabel="mean square displacement (Å²)")
    left.set_title("thick: the plateau of D, line: its slope", fontsize="medium")
    right.set(xscale="log", xlabel="lag t (ps)", ylabel="D(t) = [MSD(2t) - MSD(t)] / 6t (cm²/s)")
    right.set_title("band: the result with its error", fontsize="medium")
    right.axhline(0, c="k", lw=0.5)
    right.set_ylim(*_range(list(result.groups.values())))
    for axes in (left, right):
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    remark = {"done": "", "not_enough_evidence": "  [not enough evidence]"}.get(result.state, "  [a check failed]")
    figure.suptitle(f"{title} at {result.temperature_K:g} K{remark}")
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, dpi=150, format="png")
    finally:
        plt.close(figure)
    return buffer.getvalue()


def _draw_msd(axes: Any, group: GroupDiffusion, colour: str) -> None:
    count = len(group.lags_ps)
    chosen = np.unique(np.geomspace(1, count - 1, MAX_POINTS).astype(int))
    lags, msd = group.lags_ps[chosen], group.msd_A2[chosen]
    shown = msd > 0
    axes.plot(lags[shown], msd[shown], "-", c=colour, lw=1, label=group.name)
    inside = shown & (lags >= group.plateau_ps[0]) & (lags <= group.plateau_ps[1])
    axes.plot(lags[inside], msd[inside], "-", c=colour, lw=4, alpha=0.4)
    if group.D_cm2_s > 0 and inside.any():
        # 1 cm^2/s = 1e4 A^2/ps
        slope = 6e4 * group.D_cm2_s
        anchor = msd[inside][0] - slope * lags[inside][0]
        line = anchor + slope * lags[inside]
        axes.plot(lags[inside][line > 0], line[line > 0], "--", c="k", lw=0.8)


def _draw_coefficient(axes: Any, group: GroupDiffusion, colour: str) -> None:
    axes.errorbar(
        group.curve_lags_ps,
        group.curve_D_cm2_s,
        np.nan_to_num(group.curve_stderr_cm2_s),
        fmt="o",
        ms=4,
        c=colour,
        elinewidth=1,
        capsize=2,
        label=f"{group.name}: {group.D_cm2_s:.3g} ± {group.D_stderr_cm2_s:.1g}",
    )
    low, high = group.D_cm2_s - group.D_stderr_cm2_s, group.D_cm2_s + group.D_stderr_cm2_s
    axes.fill_between(np.array(group.plateau_ps), low, high, color=colour, alpha=0.3, lw=0)
    axes.axvline(group.plateau_ps[0], c=colour, lw=0.8, ls=":")


def _range(groups: list[GroupDiffusion]) -> tuple[float, float]:
    """Limits that show the plateaus: D(t) before them may be off by orders of magnitude."""
    tops = [max(2 * abs(g.D_cm2_s), abs(g.D_cm2_s) + 4 * float(np.nan_to_num(g.D_stderr_cm2_s))) for g in groups]
    top = max([*tops, 1e-12])
    return -0.25 * top, top
