"""What the size of the simulation cell leaves in a volume or another property."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.errors import AnalysisError


@dataclass(frozen=True)
class SizeExtrapolation:
    """A property of the infinite crystal.

    Attributes
    ----------
    value
        Extrapolated to 1/N = 0; in the unit of the data.
    stderr_statistics
        From the errors of the data.
    stderr_finite_size
        From the form of the extrapolation: half of what it changed with respect to the largest cell.
    slope
        d value / d (1/N).
    chi_squared, n_dof
        Weighted squared residuals; without degrees of freedom the form is not tested.
    """

    value: float
    stderr_statistics: float
    stderr_finite_size: float
    slope: float
    chi_squared: float
    n_dof: int


def extrapolate_to_infinite_size(n_atoms: ArrayLike, values: ArrayLike, stderrs: ArrayLike) -> SizeExtrapolation:
    """Extrapolate values from cells of two sizes or more, linearly in 1/N, weighted by their errors.

    Averages of a periodic crystal away from phase transitions approach those of the infinite one as 1/N: the three
    modes of uniform motion are missing, and fluctuations of the cell contribute kT per cell (Lebowitz, Percus and
    Verlet, 10.1103/PhysRev.153.250, for the ensembles).

    Parameters
    ----------
    n_atoms, values, stderrs
        (m,) with two different sizes at least and positive errors.

    Raises
    ------
    AnalysisError
        When there are fewer than two sizes or an error is not positive.
    """
    sizes, x, errors = (np.asarray(a, dtype=float) for a in (n_atoms, values, stderrs))
    if sizes.ndim != 1 or not sizes.shape == x.shape == errors.shape or len(np.unique(sizes)) < 2:
        raise AnalysisError("An extrapolation needs values and errors from cells of two sizes at least.")
    if not ((sizes > 0).all() and (errors > 0).all() and np.isfinite(x).all() and np.isfinite(errors).all()):
        raise AnalysisError("Sizes and errors must be positive, and all values finite.")
    design = np.stack([np.ones_like(sizes), 1 / sizes], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    infinite, slope = covariance @ design.T @ (x / errors)
    residuals = x / errors - design @ np.array([infinite, slope])
    return SizeExtrapolation(
        value=float(infinite),
        stderr_statistics=float(np.sqrt(covariance[0, 0])),
        stderr_finite_size=abs(float(slope)) / float(sizes.max()) / 2,
        slope=float(slope),
        chi_squared=float(residuals @ residuals),
        n_dof=len(x) - 2,
    )


def thermal_size_bound(value: float, static_value: float, n_atoms: int) -> float:
    """Bound the finite-size error of a volume or length from one cell: three times its thermal part over N.

    The thermal part, value at T minus value of the static lattice, comes from 3N - 3 vibrations instead of 3N, and the
    fluctuations of the cell change it by another one to two parts in N; see docs/equilibrate.md for measured sizes. It
    holds for cells that contain the forces (no interaction with the own image) and have no static finite-size error.

    Raises
    ------
    AnalysisError
        When there are no atoms.
    """
    if n_atoms < 1:
        raise AnalysisError(f"A cell of {n_atoms} atoms has no volume per atom.")
    return 3 * abs(value - static_value) / n_atoms
