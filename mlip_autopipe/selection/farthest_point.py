"""Farthest-point selection: structures that differ most from those already chosen.

The greedy rule covers the candidates within twice the radius of the best cover of the same size (Gonzalez,
Theor. Comput. Sci. 38, 293-306 (1985), doi:10.1016/0304-3975(85)90224-5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class FarthestPoints:
    """What the selection chose.

    Attributes
    ----------
    indices
        Newly chosen rows, in the order of choice.
    distances
        Distance of each to the rows chosen before it, in the descriptor's unit; infinite for a first row.
    coverage_radius
        Largest distance of any row to its nearest chosen row at the end, in the descriptor's unit.
    """

    indices: tuple[int, ...]
    distances: tuple[float, ...]
    coverage_radius: float


def farthest_points(
    descriptors: NDArray[np.float64],
    n_select: int,
    *,
    chosen: Sequence[int] = (),
    min_distance: float | NDArray[np.float64] = 0.0,
) -> FarthestPoints:
    """Choose rows one by one, each the farthest from all chosen ones.

    Parameters
    ----------
    descriptors
        Matrix with one row per structure, Euclidean distances between rows; scale the columns beforehand.
    n_select
        How many new rows.
    chosen
        Rows that are chosen already; they are not returned again.
    min_distance
        Rows this near to a chosen one or nearer are left out; with 0, copies of chosen rows. One value for all rows,
        or one for each.

    Returns
    -------
    FarthestPoints
        Fewer than `n_select` rows when the rest is within `min_distance`. Without `chosen` the first row is the
        one farthest from the mean; of equally far rows the first is taken, so the result is deterministic and
        choosing in two steps equals choosing in one.

    Raises
    ------
    InvalidInputError
        The matrix is not a finite two-dimensional one, or an index lies outside it.
    """
    x = np.asarray(descriptors, dtype=np.float64)
    if x.ndim != 2 or not np.all(np.isfinite(x)):
        raise InvalidInputError("the descriptors must be a matrix of finite numbers, one row per structure")
    least = np.broadcast_to(np.asarray(min_distance, dtype=np.float64), len(x))
    if n_select < 0 or not (least >= 0).all():
        raise InvalidInputError("n_select and min_distance must not be negative")
    if any(not 0 <= i < len(x) for i in chosen):
        raise InvalidInputError(f"the rows already chosen must lie between 0 and {len(x) - 1}")
    nearest = np.full(len(x), np.inf)
    for i in chosen:
        nearest = np.minimum(nearest, _distances(x, i))
    indices: list[int] = []
    distances: list[float] = []
    while len(indices) < min(n_select, len(x)):
        first = not indices and len(chosen) == 0
        free = np.where(nearest > least, nearest, -np.inf)
        i = int(np.argmax(np.linalg.norm(x - x.mean(axis=0), axis=1) if first else free))
        if not nearest[i] > least[i]:
            break
        indices.append(i)
        distances.append(float(nearest[i]))
        nearest = np.minimum(nearest, _distances(x, i))
    return FarthestPoints(tuple(indices), tuple(distances), float(nearest.max(initial=0.0)))


def _distances(x: NDArray[np.float64], i: int) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(x - x[i], axis=1))
