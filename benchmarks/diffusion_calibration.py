"""Measure bias and honesty of diffusion coefficients on motion whose coefficient is known.

For every kind of motion: mean error of D, its scatter over the repeats, and the stated standard error (root mean
square, and mean) over that scatter. 1 is honest, below 1 is overconfident. "fit" is the least-squares line through the
MSD between a tenth of and the longest lag, with its own error.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_calibration.py --repeats 100
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from diffusion_walks import Walk, brownian, hopping, inertial, rigid_groups

from mlip_autopipe.analysis.msd_kernels import MSDCurves, curves_of
from mlip_autopipe.analysis.plateau import error_at, find_plateau, two_point

CASES: dict[str, Callable[[np.random.Generator], Walk]] = {
    "Brownian": lambda rng: brownian(rng, 64, 2000),
    "Brownian, 16 walkers": lambda rng: brownian(rng, 16, 4000),
    "inertial": lambda rng: inertial(rng, 96, 3000),
    "inertial, few windows": lambda rng: inertial(rng, 256, 600),
    "hops and vibration": lambda rng: hopping(rng, 128, 3000),
    "frequent hops": lambda rng: hopping(rng, 64, 3000, hops_per_frame=0.05),
    "rigid groups of 8": lambda rng: rigid_groups(rng, 64, 2000),
    "rigid groups of 16": lambda rng: rigid_groups(rng, 64, 1000, 16),
    "rare, 40 hops": lambda rng: hopping(rng, 64, 4000, hops_per_frame=40 / (64 * 4000)),
}


def line_fit(curves: MSDCurves) -> tuple[float, float]:
    """D and its error from a least-squares line, as if the points of the MSD were independent."""
    msd = curves.tensor_A2[:, :3].sum(axis=1)
    lags = np.arange(len(msd) // 10, len(msd))
    (slope, _), covariance = np.polyfit(lags, msd[lags], 1, cov=True)
    return slope / 6, float(np.sqrt(covariance[0, 0])) / 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    print(
        "| motion | bias (%) | scatter (%) | stated / true (rms, mean) | by atoms | by time | 68 % interval holds "
        "| plateau found | t (frames) | fit: stated / true |"
    )
    print("|" + "---|" * 10)
    for name, make in CASES.items():
        if args.only and args.only not in name:
            continue
        rng = np.random.default_rng(args.seed)
        rows, lags, lines = [], [], []
        for _ in range(args.repeats):
            positions, truth = make(rng)
            curves = curves_of(positions)
            points = two_point(curves)
            plateau = find_plateau(points)
            place = points.place(plateau.start)
            assert place is not None
            error = error_at(points, place)
            value = points.values[place] / truth - 1
            rows.append((value, error.walkers / truth, error.time / truth, error.larger / truth, plateau.found))
            lags.append(plateau.start)
            slope, stated = line_fit(curves)
            lines.append((slope / truth, stated / truth))
        found, line = np.array(rows), np.array(lines)
        scatter = found[:, 0].std(ddof=1)
        walkers, time, larger = (np.sqrt(np.mean(found[:, k] ** 2)) / scatter for k in (1, 2, 3))
        holds = np.mean(np.abs(found[:, 0]) < found[:, 3])
        print(
            f"| {name} | {100 * found[:, 0].mean():+.2f} ± {100 * scatter / len(found) ** 0.5:.2f} "
            f"| {100 * scatter:.2f} | {larger:.2f}, {found[:, 3].mean() / scatter:.2f} | {walkers:.2f} | {time:.2f} "
            f"| {100 * holds:.0f} % "
            f"| {100 * found[:, 4].mean():.0f} % | {min(lags)}-{max(lags)} "
            f"| {np.sqrt(np.mean(line[:, 1] ** 2)) / line[:, 0].std(ddof=1):.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
