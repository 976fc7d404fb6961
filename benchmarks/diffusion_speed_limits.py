"""Measure what limits the speed of diffusion coefficients from positions in memory, and what two ways out would give.

200 atoms x 10^4 frames, CPU seconds, least of five: the whole analysis; the whole without counting hops and looking at
sites (what the others do not do either); the bare Fourier transforms of all coordinates, forward only, in double and in
single precision: less than those no mean square displacement over all time origins takes.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_speed_limits.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import scipy.fft

from benchmarks.diffusion_speed import ours, positions

ATOMS, FRAMES, REPEATS = 200, 10_000, 5


def seconds(work: Callable[[], object]) -> float:
    found = []
    for _ in range(REPEATS):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def main() -> None:
    walk = positions(ATOMS, FRAMES)
    series = {kind: np.ascontiguousarray(walk.reshape(FRAMES, -1).T.astype(kind)) for kind in (np.float64, np.float32)}
    padded = scipy.fft.next_fast_len(2 * FRAMES, real=True)
    print(f"whole analysis: {seconds(lambda: ours(walk)):.3f} s")
    with (
        patch("mlip_autopipe.analysis.msd.count_hops", lambda moved, *_: np.zeros(len(moved), dtype=np.int64)),
        patch("mlip_autopipe.analysis.msd.square_distances_from_sites", lambda p, *_: np.zeros(p.shape[:2])),
    ):
        print(f"without hops and sites: {seconds(lambda: ours(walk)):.3f} s")
    for kind, one in series.items():
        print(f"transforms, {kind.__name__}: {seconds(lambda one=one: scipy.fft.rfft(one, padded)):.3f} s")


if __name__ == "__main__":
    main()
