"""Calibrate the viscosity's error on pressures whose correlations are known, beside other ways to integrate them.

Two runs of 35 ps as the goal `diffusion` makes them, one or two exponential decays. Other ways: the autocorrelation
summed to the first lag beyond 5, 8 or 12 of its own integrals, and STACIE's Lorentzian (`--lorentzian`, 3 s each).

    OMP_NUM_THREADS=1 python benchmarks/viscosity_noise.py --repeats 100
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import lfilter

from mlip_autopipe.analysis.constants import BOLTZMANN_J_PER_K
from mlip_autopipe.analysis.viscosity import shear_components, shear_viscosity
from mlip_autopipe.errors import AnalysisError

RECORDS, INTERVAL_FS, VOLUME_A3, KELVIN = 3900, 9.0, 920.0, 1500.0
FACTOR = 1e-24 * VOLUME_A3 / (BOLTZMANN_J_PER_K * KELVIN)
CASES = {
    "one decay, 72 fs": ((8.0, 1.0),),
    "45 fs, and 20 % of 360 fs": ((5.0, 0.8), (40.0, 0.2)),
    "54 fs, and 5 % of 900 fs": ((6.0, 0.95), (100.0, 0.05)),
    "54 fs, and 20 % of 3.6 ps": ((6.0, 0.8), (400.0, 0.2)),
}
Estimate = Callable[[list[np.ndarray]], tuple[float, float] | None]


def memory(rng: np.random.Generator, records: float) -> np.ndarray:
    """Five components (5, n) of variance 1 that lose a factor e of their memory in so many records."""
    keep, burn = np.exp(-1 / records), int(20 * records)
    noise = rng.normal(size=(5, burn + RECORDS)) * np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], noise, axis=1)[:, burn:]


def pressures(rng: np.random.Generator, parts: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Pressure tensors (n, 6) in GPa whose shear components have these decays (records, variance)."""
    yz, xz, xy, half, rest = sum(np.sqrt(share) * memory(rng, records) for records, share in parts)
    third = rest / np.sqrt(3)
    return np.array([half + third, third - half, -2 * third, yz, xz, xy]).T


def truth_mPa_s(parts: tuple[tuple[float, float], ...]) -> float:
    keep = [np.exp(-1 / records) for records, _ in parts]
    return FACTOR * INTERVAL_FS * sum(s * 0.5 * (1 + k) / (1 - k) for k, (_, s) in zip(keep, parts, strict=True))


def ours(runs: list[np.ndarray]) -> tuple[float, float] | None:
    try:
        return tuple(shear_viscosity(runs, INTERVAL_FS, VOLUME_A3, KELVIN))
    except AnalysisError:
        return None


def window(times: float) -> Estimate:
    def estimate(runs: list[np.ndarray]) -> tuple[float, float]:
        series = np.concatenate([shear_components(one) for one in runs])
        n, length = series.shape[1], next_fast_len(2 * series.shape[1], real=True)
        products = irfft(np.abs(rfft(series, length)) ** 2, length)[:, : n // 2] / (n - np.arange(n // 2))
        products[:, 0] *= 0.5
        sums = np.cumsum(products, axis=1)
        enough = np.arange(n // 2) >= times * sums.mean(axis=0) / (2 * products[:, 0].mean())
        found = sums[:, int(np.argmax(enough))] * FACTOR * INTERVAL_FS
        return float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found)))

    return estimate


def lorentzian(runs: list[np.ndarray]) -> tuple[float, float]:
    from stacie import LorentzModel, compute_spectrum, estimate_acint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        series = [shear_components(one) for one in runs]
        found = estimate_acint(compute_spectrum(series, prefactors=FACTOR, timestep=INTERVAL_FS), LorentzModel())
    return float(found.acint), float(found.acint_std)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--lorentzian", action="store_true")
    args = parser.parse_args()
    ways: dict[str, Estimate] = {"this program": ours, **{f"window {c}": window(c) for c in (5.0, 8.0, 12.0)}}
    if args.lorentzian:
        ways["Lorentzian"] = lorentzian
    for name, parts in CASES.items():
        rng, truth = np.random.default_rng(0), truth_mPa_s(parts)
        data = [[pressures(rng, parts) for _ in range(2)] for _ in range(args.repeats)]
        for way, estimate in ways.items():
            found = [one for runs in data if (one := estimate(runs)) is not None]
            refused = f", refused {len(data) - len(found)} of {len(data)}" if len(found) < len(data) else ""
            if not found:
                print(f"{name}: {way}: all refused", flush=True)
                continue
            values, errors = np.array(found).T
            print(
                f"{name}: {way}: bias {100 * (values.mean() / truth - 1):+.1f} %, scatter "
                f"{100 * values.std() / truth:.1f} %, stated {100 * errors.mean() / truth:.1f} %, "
                f"rms of error over stated {np.sqrt(np.mean(((values - truth) / errors) ** 2)):.2f}{refused}",
                flush=True,
            )


if __name__ == "__main__":
    main()
