"""Hops of atoms between sites."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

WINDOW_FRAMES: Final = 4
_SEGMENT: Final = 64


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
    counts[moving] = _count(path, hop_distance_A**2)
    return counts


def _count(path: FloatArray, limit_A2: float) -> NDArray[np.int64]:
    """Count along (m, n, 3) paths, a segment at a time, since most atoms sit still in most segments."""
    counts = np.zeros(path.shape[1], dtype=np.int64)
    site = path[0].copy()
    for start in range(1, len(path), _SEGMENT):
        segment = path[start : start + _SEGMENT]
        far = np.sum((segment - site) ** 2, axis=2) > limit_A2
        open_atoms = np.flatnonzero(far.any(axis=0))
        far = far[:, open_atoms]
        while len(open_atoms):
            first = np.argmax(far, axis=0)
            counts[open_atoms] += 1
            site[open_atoms] = segment[first, open_atoms]
            # what lies before the hop is past
            far = np.sum((segment[:, open_atoms] - site[open_atoms]) ** 2, axis=2) > limit_A2
            far &= np.arange(len(segment))[:, None] > first
            still = far.any(axis=0)
            open_atoms, far = open_atoms[still], far[:, still]
    return counts
