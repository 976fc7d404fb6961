"""What must hold before a diffusion coefficient is believed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.plateau import TRACE, Plateau, TwoPoint
from mlip_autopipe.analysis.results import GateResult
from mlip_autopipe.analysis.statistics import SeriesMean, mean_with_error, student_quantile

# Between the 0.1 to 0.2 of hot crystals and the 0.43 of atoms anywhere in the cells of an fcc lattice.
MAX_SITE_RATIO: Final = 0.25
# A sound run fails once in a thousand times, one of few hops somewhat more often.
DRIFT_LEVEL: Final = 0.001
# Share of the kinetic energy that may be in the motion of all atoms together.
MAX_UNIFORM_SHARE: Final = 0.01
MIN_HOPS: Final = 20
MIN_BINS: Final = 24
_SMOOTH_TERMS: Final = 4
MAX_RELATIVE_ERROR: Final = 0.5
AMU_A2_PER_FS2_EV: Final = 103.642696
"""1 amu A^2/fs^2 in eV."""

EVIDENCE: Final = "enough_evidence"
"""The gate that a longer run mends."""


def diffusive(plateau: Plateau) -> GateResult:
    """Check that D(t) has a plateau: caged or anomalous motion has none within the run."""
    # no exponent where D is not above zero
    known = np.isfinite(plateau.exponent)
    words = f", MSD ~ t^({plateau.exponent:.2f} +- {plateau.exponent_stderr:.2f})" if known else ""
    if not plateau.found:
        kind = "sub-diffusive" if plateau.exponent < 1 else "not diffusive"
        return GateResult("diffusive", False, f"{kind}: D(t) does not settle within the run{words}")
    return GateResult("diffusive", True, f"D(t) is constant from {plateau.start} to {plateau.end} frames{words}")


def not_drifted(points: TwoPoint, place: int) -> GateResult:
    """Check that the mobility neither grows nor falls along the run.

    The trend is that of a straight line through the series of D over time; its error comes from what is left when a
    smooth curve (a cubic) is taken out, with the correlations of that: otherwise the trend would hide in its own error.
    """
    from scipy.special import stdtr

    series = points.by_time[place] @ TRACE
    series = series[np.isfinite(series)]
    if len(series) < MIN_BINS:
        return GateResult("not_drifted", True, "the run is too short at this lag to show a drift of the mobility")
    time = np.linspace(-0.5, 0.5, len(series))
    change = float(series @ time / (time @ time))
    curve = np.polynomial.Polynomial.fit(time, series, _SMOOTH_TERMS - 1)
    left = mean_with_error(series - curve(time))
    freedom = max(float(left.degrees_of_freedom) - _SMOOTH_TERMS, 1.0)
    plain = np.sqrt(np.var(series) / len(series)) if left.stderr == 0 else float(left.stderr) / _one_sigma(left)
    error = float(np.sqrt(12 * (freedom + _SMOOTH_TERMS) / freedom) * plain)
    chance = float(2 * stdtr(freedom, -abs(change) / error)) if error > 0 else 1.0
    return GateResult(
        "not_drifted",
        chance > DRIFT_LEVEL,
        f"from start to end of the run D changes by {100 * change / max(abs(series.mean()), 1e-300):.0f} %; a "
        f"stationary run shows as much with a chance of {chance:.2g}, at least {DRIFT_LEVEL:g}",
    )


def _one_sigma(mean: SeriesMean) -> float:
    """Quantile of Student's t that is in the error of a mean."""
    return float(student_quantile(mean.degrees_of_freedom, 0.8413447460685429))


def at_rest(drift_A: ArrayLike, time_fs: float, mass_amu: float, n_atoms: int, temperature_K: float) -> GateResult:
    """Check that the atoms do not fly together: their thermal energy would be less than the temperature says.

    Parameters
    ----------
    drift_A
        (3,) how far the centre of mass went in `time_fs`.
    """
    speed = np.asarray(drift_A, dtype=float) / time_fs
    energy = 0.5 * mass_amu * AMU_A2_PER_FS2_EV * float(speed @ speed)
    share = energy / (1.5 * n_atoms * BOLTZMANN_EV_PER_K * temperature_K)
    return GateResult(
        "at_rest",
        share <= MAX_UNIFORM_SHARE,
        f"the common motion of all atoms holds {100 * share:.2g} % of the kinetic energy, at most "
        f"{100 * MAX_UNIFORM_SHARE:g} %; it is taken out of the displacements",
    )


def still_solid(site_ratio: float, max_ratio: float = MAX_SITE_RATIO) -> GateResult:
    """Check that atoms are near sites at the end of the run; hops from site to site are no melting."""
    return GateResult(
        "still_solid",
        site_ratio <= max_ratio,
        f"atoms are {site_ratio:.3f} of the nearest-neighbour distance away from the sites, at most {max_ratio:g}"
        + ("" if site_ratio <= max_ratio else ": it has melted"),
    )


def is_liquid(site_ratio: float, max_ratio: float = MAX_SITE_RATIO) -> GateResult:
    """Check that atoms have left all sites by the end of the run."""
    return GateResult(
        "is_liquid",
        site_ratio > max_ratio,
        f"atoms are {site_ratio:.3f} of the nearest-neighbour distance away from where atoms were at the start, more "
        f"than {max_ratio:g} in a liquid",
    )


def enough_evidence(value: float, stderr: float, n_hops: int, min_hops: int = MIN_HOPS) -> GateResult:
    """Check that the coefficient stands out of its error, and rests on some hops."""
    relative = stderr / value if value > 0 else float("inf")
    size = f"{100 * relative:.3g} %" if value > 0 else "unknown, since D is not above zero"
    return GateResult(
        EVIDENCE,
        bool(relative <= MAX_RELATIVE_ERROR and n_hops >= min_hops),
        f"relative error {size}, at most {100 * MAX_RELATIVE_ERROR:g} %; {n_hops} hops, at least "
        f"{min_hops}",
    )
