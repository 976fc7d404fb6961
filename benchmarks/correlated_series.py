"""Measure how often intervals for the mean of a correlated series hold the truth, by series length.

Autoregressive series of unit variance. The first table compares the plain error (no correction of the autocorrelation
time, no Student's t) with `mean_with_error`. The second drops a start first, by `equilibration_start` (marginal
standard error rule) and by the largest number of effective samples, for series with and without a transient.

    OMP_NUM_THREADS=1 python benchmarks/correlated_series.py --repeats 2000
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.signal import lfilter

from mlip_autopipe.analysis.statistics import equilibration_start, integrated_autocorrelation_time, mean_with_error


def autoregressive(tau: float, n: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    phi = (2 * tau - 1) / (2 * tau + 1)
    noise = rng.standard_normal((repeats, n))
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise, axis=-1)


def plain_error(series: np.ndarray) -> np.ndarray:
    """Sokal's window of five autocorrelation times and nothing else."""
    n = series.shape[1]
    spectrum = np.fft.rfft(series - series.mean(axis=1, keepdims=True), 2 * n)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:, :n] / n
    tau = np.cumsum(covariance / covariance[:, :1], axis=1) - 0.5
    enough = np.arange(n) >= 5 * tau
    window = np.where(enough.any(axis=1), np.argmax(enough, axis=1), n - 1)
    found = tau[np.arange(len(series)), window]
    return np.sqrt(np.maximum(2 * found * covariance[:, 0] / n, 0))


def most_effective_start(series: np.ndarray) -> int:
    starts = np.linspace(0, len(series) // 2, 20, endpoint=False).astype(int)
    samples = [(len(series) - s) / (2 * float(integrated_autocorrelation_time(series[s:]))) for s in starts]
    return int(starts[np.argmax(samples)])


def held(series: list[np.ndarray]) -> str:
    means = [mean_with_error(one) for one in series]
    one = np.mean([abs(m.mean) < m.stderr for m in means])
    wide = np.mean([abs(m.mean) < m.half_width(0.9) for m in means])
    return f"{one:.0%} | {wide:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    print("| tau | frames | independent samples | plain error holds | 68 % interval holds | 90 % interval holds |")
    print("|---|---|---|---|---|---|")
    for tau, n in ((10, 3000), (30, 3000), (10, 1000), (30, 1000), (10, 300), (30, 300), (10, 100), (30, 100)):
        series = autoregressive(tau, n, args.repeats, rng)
        found = mean_with_error(series)
        plain = np.mean(np.abs(found.mean) < plain_error(series))
        one = np.mean(np.abs(found.mean) < found.stderr)
        wide = np.mean(np.abs(found.mean) < found.half_width(0.9))
        print(f"| {tau} | {n} | {n / (2 * tau):.1f} | {plain:.0%} | {one:.0%} | {wide:.0%} |")
    repeats = args.repeats // 5
    print(f"\n{repeats} series each; 68 % and 90 % intervals hold after dropping a start chosen by")
    print("| tau | frames | transient | marginal standard error | | effective samples | |")
    print("|---|---|---|---|---|---|---|")
    for tau, n in ((10, 300), (10, 1000), (10, 3000)):
        for height in (0.0, 5.0):
            series = autoregressive(tau, n, repeats, rng) + height * np.exp(-np.arange(n) / (2 * tau))
            rule = [one[equilibration_start(one) :] for one in series]
            most = [one[most_effective_start(one) :] for one in series]
            print(f"| {tau} | {n} | {height:g} standard deviations | {held(rule)} | {held(most)} |")


if __name__ == "__main__":
    main()
