"""Does a stated interval hold? Counts of what it covered, in labels whose atoms are alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.errors import AnalysisError

CONFIDENCE: Final = 0.95
LEAST_LABELS: Final = 2
"""One label says nothing of how much labels differ."""


@dataclass(frozen=True)
class CoveredShare:
    """How often an interval held.

    Attributes
    ----------
    share
        Covered atoms over all atoms.
    stderr
        Its standard error, with labels as the independent units.
    upper
        The true share is below this with 95 % confidence.
    labels
        Number of labels.
    """

    share: float
    stderr: float
    upper: float
    labels: int


def covered_share(covered: ArrayLike, atoms: ArrayLike) -> CoveredShare:
    """Return the covered share of labels, and what it may be at most beyond chance.

    Atoms of one frame are wrong together, so labels are the sample: the error is that of a ratio estimate over clusters
    (Cochran, Sampling Techniques, 3rd edition, section 2.11 and 9A; ISBN 978-0-471-16240-7) with Student's t for few
    of them, and not below that of independent atoms, which few labels that happen to agree would undercut.

    Parameters
    ----------
    covered, atoms
        Shape (n,): covered and all atoms of each label.

    Raises
    ------
    AnalysisError
        There are fewer than two labels, or the counts are impossible.
    """
    from scipy.stats import t

    hits, sizes = np.asarray(covered, dtype=float), np.asarray(atoms, dtype=float)
    n = len(hits)
    if n < LEAST_LABELS:
        raise AnalysisError(f"{n} labels do not tell how often an interval holds; at least {LEAST_LABELS} are needed")
    if hits.shape != sizes.shape or (sizes < 1).any() or (hits < 0).any() or (hits > sizes).any():
        raise AnalysisError("covered atoms must be between 0 and the number of atoms, which must be at least 1")
    total = sizes.sum()
    share = float(hits.sum() / total)
    clustered = n / (n - 1) * float(((hits - share * sizes) ** 2).sum()) / total**2
    stderr = float(np.sqrt(max(clustered, share * (1 - share) / total)))
    return CoveredShare(share, stderr, float(share + t.ppf(CONFIDENCE, n - 1) * stderr), n)
