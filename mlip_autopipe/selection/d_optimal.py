r"""D-optimal selection for a linear model: the rows that shrink the posterior's volume most.

With the information matrix :math:`A = \alpha 1 + \sum_i x_i x_i^T` of the chosen rows, a further row multiplies
:math:`\det A` by :math:`1 + h`, where :math:`h = x^T A^{-1} x` is its leverage. Leverage is also the measure of
extrapolation: :math:`\sqrt{h}` is the model's standard deviation along `x` in units of the noise. It plays the part
of the extrapolation grade of Podryabinkin and Shapeev (Computational Materials Science 140, 171-180 (2017),
doi:10.1016/j.commatsci.2017.08.031) without needing as many rows as features.
The gain of the logarithm is monotone and submodular, so that the greedy choice reaches at least 1 - 1/e of the best
possible gain (Nemhauser, Wolsey and Fisher, Math. Program. 14, 265-294 (1978), doi:10.1007/BF01588971). The
inverse is updated by Sherman and Morrison's formula (Ann. Math. Stat. 21, 124-127 (1950),
doi:10.1214/aoms/1177729893).

A configuration is a block of rows, :math:`X`, chosen or left as a whole: the determinant grows by
:math:`\det(1 + X A^{-1} X^T)`, and half its logarithm is the information that the label gives about the coefficients,
in nats. Gains never grow while more is chosen, so that only the most promising blocks are looked at again (Minoux,
doi:10.1007/BFb0006528).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class DOptimalChoice:
    """What the selection chose and what the model knows afterwards.

    Attributes
    ----------
    indices
        Newly chosen rows, in the order of choice.
    leverages
        Leverage of each at the moment of its choice, no unit; the determinant grew by one plus it.
    log_det
        Natural logarithm of the determinant of the information matrix of all chosen rows.
    inverse
        Inverse of that matrix, shape (features, features).
    remaining_leverages
        Leverage of every row against that matrix, chosen rows included.
    """

    indices: tuple[int, ...]
    leverages: tuple[float, ...]
    log_det: float
    inverse: NDArray[np.float64]
    remaining_leverages: NDArray[np.float64]


def d_optimal(
    rows: NDArray[np.float64],
    n_select: int,
    *,
    ridge: float,
    chosen: Sequence[int] = (),
    min_leverage: float = 0.0,
) -> DOptimalChoice:
    """Choose rows greedily so that the determinant of the information matrix is largest.

    Parameters
    ----------
    rows
        Feature matrix with one row per candidate, each divided by its noise standard deviation when these differ.
    n_select
        How many new rows; no row is chosen twice.
    ridge
        Regularisation: the prior's precision in units of the noise's, on the diagonal of the information matrix.
    chosen
        Rows that the model knows already; they are not returned again.
    min_leverage
        Stop when the largest leverage left is not above it.

    Returns
    -------
    DOptimalChoice
        Fewer than `n_select` rows when the rest is below `min_leverage` or there are no more. Of rows with equal
        leverage the first is taken.

    Raises
    ------
    InvalidInputError
        The matrix is not a finite two-dimensional one, `ridge` is not positive, or an index lies outside.
    """
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim != 2 or not np.all(np.isfinite(x)):
        raise InvalidInputError("the rows must be a matrix of finite numbers, one row per candidate")
    if not (np.isfinite(ridge) and ridge > 0):
        raise InvalidInputError(f"ridge must be a positive number but is {ridge}")
    if n_select < 0 or min_leverage < 0:
        raise InvalidInputError("n_select and min_leverage must not be negative")
    if any(not 0 <= i < len(x) for i in chosen):
        raise InvalidInputError(f"the rows already chosen must lie between 0 and {len(x) - 1}")
    known = x[sorted(set(chosen))]
    information = ridge * np.eye(x.shape[1]) + known.T @ known
    log_det = float(np.linalg.slogdet(information)[1])
    inverse = np.linalg.inv(information)
    inverse = 0.5 * (inverse + inverse.T)
    leverage = row_leverages(x, inverse)
    free = np.ones(len(x), dtype=bool)
    free[list(chosen)] = False
    indices: list[int] = []
    leverages: list[float] = []
    while len(indices) < n_select and free.any():
        i = int(np.argmax(np.where(free, leverage, -np.inf)))
        h = float(leverage[i])
        if h <= min_leverage:
            break
        direction = inverse @ x[i]
        inverse = inverse - np.outer(direction, direction) / (1 + h)
        leverage = np.maximum(leverage - (x @ direction) ** 2 / (1 + h), 0.0)
        log_det += float(np.log1p(h))
        free[i] = False
        indices.append(i)
        leverages.append(h)
    return DOptimalChoice(tuple(indices), tuple(leverages), log_det, inverse, leverage)


@dataclass(frozen=True)
class BlockChoice:
    """What the selection of blocks chose.

    Attributes
    ----------
    indices
        Chosen blocks, in the order of choice.
    gains_nats
        Information that each adds to what is known before it.
    leverages
        Largest leverage of a row of each at the moment of its choice, no unit.
    """

    indices: tuple[int, ...]
    gains_nats: tuple[float, ...]
    leverages: tuple[float, ...]


def d_optimal_blocks(
    blocks: Sequence[NDArray[np.float64]],
    n_select: int,
    *,
    factor: NDArray[np.float64],
    chosen: Sequence[int] = (),
    min_leverage: float = 1.0,
) -> BlockChoice:
    """Choose configurations greedily so that the posterior's volume shrinks most.

    Parameters
    ----------
    blocks
        Per configuration the rows of its label, each divided by its noise standard deviation, shape (rows, features).
        Numbers of rows may differ.
    n_select
        How many new blocks; no block is chosen twice.
    factor
        R with R R' = the covariance of the coefficients now, shape (features, any).
    chosen
        Blocks that are chosen already but not in the covariance yet; they are not returned again.
    min_leverage
        Leave out a block all of whose rows have a leverage of at most this. With 1 the model's standard deviation
        for each number of the label is within the noise already: it would learn nothing that it can see. A copy of a
        chosen block is always below 1.

    Returns
    -------
    BlockChoice
        Fewer than `n_select` blocks when the rest is below `min_leverage`. Of equal gains the first block is taken.

    Raises
    ------
    InvalidInputError
        A block does not fit the factor or is not finite, or an index lies outside.
    """
    r = np.asarray(factor, dtype=np.float64)
    white = []
    for i, block in enumerate(blocks):
        x = np.asarray(block, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != len(r) or not np.all(np.isfinite(x)):
            raise InvalidInputError(f"block {i} must be a matrix of finite numbers with {len(r)} columns")
        white.append(x @ r)
    if n_select < 0 or min_leverage < 0:
        raise InvalidInputError("n_select and min_leverage must not be negative")
    if any(not 0 <= i < len(white) for i in chosen):
        raise InvalidInputError(f"the blocks already chosen must lie between 0 and {len(white) - 1}")
    covariance = np.asarray(np.eye(r.shape[1]), dtype=np.float64)
    for i in sorted(set(chosen)):
        covariance = _updated(covariance, white[i])
    # entries: minus the gain, block, leverage, number of choices when it was computed
    queue = [(-np.inf, i, np.inf, -1) for i in range(len(white)) if i not in set(chosen)]
    indices: list[int] = []
    gains: list[float] = []
    leverages: list[float] = []
    while queue and len(indices) < n_select:
        minus_gain, i, leverage, when = heapq.heappop(queue)
        if when < len(indices):
            gain, leverage = _gain(covariance, white[i])
            if leverage > min_leverage:
                heapq.heappush(queue, (-gain, i, leverage, len(indices)))
            continue
        covariance = _updated(covariance, white[i])
        indices.append(i)
        gains.append(-minus_gain)
        leverages.append(leverage)
    return BlockChoice(tuple(indices), tuple(gains), tuple(leverages))


def row_leverages(rows: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate how far rows extrapolate from the data behind an inverse information matrix.

    Parameters
    ----------
    rows
        Feature matrix, scaled like the rows that the inverse was built from.
    inverse
        Inverse of the information matrix, for example `DOptimalChoice.inverse`.

    Returns
    -------
    ndarray
        One leverage per row, no unit, never negative.
    """
    return np.asarray(np.maximum(np.einsum("ij,ij->i", rows @ inverse, rows), 0.0))


def _gain(covariance: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[float, float]:
    """Return half the log-determinant and the largest leverage of a block."""
    if len(rows) == 0:
        return 0.0, 0.0
    spread = rows @ covariance
    if len(rows) <= len(covariance):
        inner = np.eye(len(rows)) + spread @ rows.T
    else:
        # the smaller determinant of the two equal ones
        inner = np.eye(len(covariance)) + covariance @ (rows.T @ rows)
    leverages = np.einsum("ij,ij->i", spread, rows)
    return 0.5 * float(np.linalg.slogdet(inner)[1]), float(max(leverages.max(), 0.0))


def _updated(covariance: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance after a block (Woodbury's formula, or the inverse itself where that is smaller)."""
    if len(rows) <= len(covariance):
        spread = rows @ covariance
        new = np.asarray(covariance - spread.T @ np.linalg.solve(np.eye(len(rows)) + spread @ rows.T, spread))
    else:
        new = np.asarray(np.linalg.solve(np.eye(len(covariance)) + covariance @ (rows.T @ rows), covariance))
    return np.asarray(0.5 * (new + new.T), dtype=np.float64)
