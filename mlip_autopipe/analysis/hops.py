"""Hops of atoms between sites."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

WINDOW_FRAMES: Final = 4


def count_hops(
    displacements_A: FloatArray, hop_distance_A: float, window_frames: int = WINDOW_FRAMES
) -> NDArray[np.int64]:
    """Count how often each atom leaves the place where it sat.

    Positions are averaged over short windows, which takes out much of the vibration. An atom has hopped when it is
    further than `hop_distance_A` from where it was after its last hop (at first: at the start). A hop back counts
    again, so that the number of hops that carry an atom away may be smaller. In a liquid the count is that of moves
    over this distance.

    Parameters
    ----------
    displacements_A
        (n, 3, frames).
    hop_distance_A
        Half the distance between sites is a good choice: vibrations stay below it.
    window_frames
        Frames that are averaged.

    Returns
    -------
    numpy.ndarray
        (n,) counts.
    """
    if not hop_distance_A > 0:
        raise AnalysisError(f"The hop distance ({hop_distance_A:g} A) must be positive.")
    n, _, frames = displacements_A.shape
    window = max(1, min(window_frames, frames // 2))
    m = frames // window
    coarse = displacements_A[..., : m * window].reshape(n, 3, m, window).mean(axis=3)
    counts = np.zeros(n, dtype=np.int64)
    # most atoms of a solid never hop: only those that get that far are followed step by step
    reach = np.abs(coarse - coarse[..., :1]).max(axis=(1, 2)) * np.sqrt(3.0)
    moving = np.flatnonzero(reach > hop_distance_A)
    if not len(moving):
        return counts
    path = np.ascontiguousarray(coarse[moving].transpose(2, 0, 1))
    site = path[0].copy()
    limit = hop_distance_A**2
    for place in path[1:]:
        gone = np.sum((place - site) ** 2, axis=1) > limit
        if gone.any():
            counts[moving[gone]] += 1
            site[gone] = place[gone]
    return counts
