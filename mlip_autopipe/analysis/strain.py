"""Strains: conversions, and the fewest directions that determine all elastic constants of a point group.

Voigt order xx yy zz yz xz xy with engineering shear (e4 = 2 eps_yz).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.symmetry import (
    VOIGT_PAIRS,
    FloatArray,
    invariant_stress_basis,
    invariant_tensor_basis,
    rotate_strain,
    stabilisers,
)
from mlip_autopipe.errors import AnalysisError

MAX_CONDITION_NUMBER = 4.0
"""Bound on the ratio of the best to the worst determined combination of constants; chosen sets have 1.4 to 2.

Without a bound the search for high symmetry could accept directions that determine some constants badly.
"""

_ENGINEERING = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
_KELVIN = np.array([1.0, 1.0, 1.0, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
_MAX_STARTS = 6
_MAX_SWEEPS = 6


def strain_matrix(voigt: ArrayLike) -> FloatArray:
    """Return the symmetric (..., 3, 3) strain tensor of (..., 6) Voigt strains with engineering shear."""
    components = np.asarray(voigt, dtype=float) / _ENGINEERING
    matrix = np.zeros((*components.shape[:-1], 3, 3))
    for k, (i, j) in enumerate(VOIGT_PAIRS):
        matrix[..., i, j] = matrix[..., j, i] = components[..., k]
    return matrix


def voigt_from_matrix(strain: ArrayLike) -> FloatArray:
    """Return (..., 6) Voigt strains with engineering shear of symmetric (..., 3, 3) strain tensors."""
    array = np.asarray(strain, dtype=float)
    result: FloatArray = np.stack([array[..., i, j] for i, j in VOIGT_PAIRS], axis=-1) * _ENGINEERING
    return result


def deformation_gradient(voigt: ArrayLike) -> FloatArray:
    """Return F = 1 + eps, (..., 3, 3): symmetric, therefore without rotation; r' = F r."""
    return np.eye(3) + strain_matrix(voigt)


def stabiliser_sizes(directions: ArrayLike, rotations: ArrayLike) -> NDArray[np.int64]:
    """Count the point-group operations that (k, 6) strain directions keep; more means fewer k-points."""
    return np.asarray(stabilisers(directions, rotations).sum(axis=1), dtype=np.int64)


def choose_strain_directions(rotations: ArrayLike) -> FloatArray:
    """Choose the fewest strain directions whose stresses determine all elastic constants.

    Among sets of that size (and of a bounded condition number) the one with the smallest total number of
    k-points is taken, which is proportional to the sum of 1 / stabiliser size, and among those the one with
    the smallest sum of variances of the constants. Candidates have tensor components -1, 0 and 1 in a frame
    of the crystal's own symmetry axes, so the choice turns with the crystal. At most as many directions are
    needed as there are invariant stresses: 1 cubic, 2 uniaxial, 3 orthorhombic, 4 monoclinic, 6 triclinic,
    and never fewer, because each direction contributes one vector to a symmetric block of that dimension.

    Parameters
    ----------
    rotations
        (n, 3, 3) Cartesian operations of the point group.

    Returns
    -------
    ndarray
        (k, 6) Voigt directions with engineering shear; the largest principal strain of each is 1 in
        magnitude, so no bond is strained by more than the amplitude, whatever the orientation. Aligned with
        simple axes the largest component of the strain tensor is 1 too: (1, 0, 0, 2, 0, 0), for instance.
    """
    group = np.asarray(rotations, dtype=float)
    basis = invariant_tensor_basis(group)
    count = len(invariant_stress_basis(group))
    frame = symmetry_frame(group)
    candidates = rotate_strain(_candidates(), frame.T)
    sizes = stabiliser_sizes(candidates, group)
    information = _information(candidates, basis)
    for slots in _slots_by_cost(np.unique(sizes), count):
        pools = [np.flatnonzero(sizes == size) for size in slots]
        chosen = _search(information, pools)
        if chosen is not None:
            directions = candidates[list(chosen)]
            result: FloatArray = np.round(directions / _principal(directions)[:, None], 12) + 0.0
            return result
    raise AnalysisError(
        f"No set of {count} strain directions determines the elastic constants of this point group; "
        "pass directions of your own, for instance the six unit strains."
    )


def symmetry_frame(rotations: ArrayLike) -> FloatArray:
    """Return a right-handed frame (3, 3), rows x y z, along the symmetry axes of highest order.

    Of equivalent axes those closest to the given coordinate axes are taken, and the coordinate axes
    themselves where the symmetry does not fix one.
    """
    axes, orders = _rotation_axes(np.asarray(rotations, dtype=float))
    if np.sum(orders == 3) > 1:
        # Cubic: the threefold axes are the body diagonals, not the cube's edges.
        axes, orders = axes[orders != 3], orders[orders != 3]
    z = _closest(axes, orders, np.eye(3)[2])
    across = np.abs(axes @ z) < 1e-4
    x = np.eye(3)[0] if abs(z[0]) < 0.9 else np.eye(3)[1]
    x = _unit(x - (x @ z) * z)
    x = _closest(axes[across], orders[across], x)
    x = _unit(x - (x @ z) * z)
    return np.array([x, np.cross(z, x), z])


def _closest(axes: FloatArray, orders: NDArray[np.int64], target: FloatArray) -> FloatArray:
    if not len(axes):
        return target
    highest = axes[orders == orders.max()]
    overlap = highest @ target
    # Rounded, so that ties are broken by position and not by the last bit.
    best = int(np.argmax(np.round(np.abs(overlap), 6)))
    chosen: FloatArray = highest[best] * (-1.0 if overlap[best] < 0 else 1.0)
    return chosen


def _rotation_axes(rotations: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return unit vectors (n, 3) and orders (n,) of the rotation axes; improper ones count as proper."""
    proper = rotations * np.sign(np.linalg.det(rotations))[:, None, None]
    axes: list[FloatArray] = []
    orders: list[int] = []
    for rotation in proper:
        angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
        if angle < 1e-3:
            continue
        values, vectors = np.linalg.eigh((rotation + rotation.T) / 2)
        axis = _unit(vectors[:, int(np.argmax(values))])
        order = round(2 * np.pi / angle)
        for k, known in enumerate(axes):
            if abs(known @ axis) > 1 - 1e-6:
                orders[k] = max(orders[k], order)
                break
        else:
            axes.append(axis)
            orders.append(order)
    return np.array(axes).reshape(-1, 3), np.array(orders, dtype=np.int64)


def _unit(vector: FloatArray) -> FloatArray:
    result: FloatArray = vector / np.linalg.norm(vector)
    return result


@lru_cache(maxsize=1)
def _candidates() -> FloatArray:
    """Return (364, 6) directions with tensor components -1, 0, 1, one of each +- pair."""
    grid = np.array(list(product((0, 1, -1), repeat=6)), dtype=float)[1:]
    first = grid[np.arange(len(grid)), np.argmax(grid != 0, axis=1)]
    simple = grid[first > 0]
    simple = simple[np.argsort(np.abs(simple).sum(axis=1), kind="stable")]
    result: FloatArray = simple * _ENGINEERING
    return result


def _information(candidates: FloatArray, basis: FloatArray) -> FloatArray:
    """Return normal matrices (k, m, m) of the stress responses, in the orientation-free Kelvin metric.

    Candidates count with equal largest principal strain, which is what nonlinearity grows with: (0, 1, 1, 2,
    0, 0) stretches the bonds of fcc along [011] by twice its components and is four times less linear in
    copper than (1, 0, 0, 2, 0, 0).
    """
    unit = candidates / _principal(candidates)[:, None]
    responses = np.einsum("aij,dj->dia", basis, unit) * _KELVIN[:, None]
    result: FloatArray = responses.transpose(0, 2, 1) @ responses
    return result


def _principal(directions: FloatArray) -> FloatArray:
    """Largest magnitude (k,) of the principal strains."""
    result: FloatArray = np.abs(np.linalg.eigvalsh(strain_matrix(directions))).max(axis=1)
    return result


def _slots_by_cost(sizes: NDArray[np.int64], count: int) -> Iterator[tuple[int, ...]]:
    """Stabiliser sizes of the members of a set, cheapest total of k-points first."""
    options = [tuple(int(s) for s in slots) for slots in combinations_with_replacement(sizes[::-1], count)]
    return iter(sorted(options, key=lambda slots: (round(sum(1 / s for s in slots), 9), slots)))


def _search(information: FloatArray, pools: list[NDArray[np.int64]]) -> tuple[int, ...] | None:
    """Greedy start and exchange sweeps from several first members; None when no set is well conditioned."""
    total = sum(information[pool].mean(axis=0) for pool in pools)
    if np.linalg.matrix_rank(total, tol=1e-9) < len(total):
        return None
    best: tuple[float, tuple[int, ...]] | None = None
    scores = np.round(_scores(information[pools[0]]), 9)
    # Equal scores mostly belong to equivalent directions: one start of each.
    _, distinct = np.unique(scores, return_index=True)
    for first in pools[0][distinct[:_MAX_STARTS]]:
        members = [int(first)]
        for pool in pools[1:]:
            members.append(_best_in(pool, information, members)[1])
        score = np.inf
        for _ in range(_MAX_SWEEPS):
            previous = score
            for k, pool in enumerate(pools):
                score, members[k] = _best_in(pool, information, members[:k] + members[k + 1 :])
            if score > previous - 1e-9:
                break
        normal = information[members].sum(axis=0)
        spectrum = np.linalg.eigvalsh(normal)
        conditioned = spectrum[0] > 0 and spectrum[-1] / spectrum[0] <= MAX_CONDITION_NUMBER**2
        if conditioned and (best is None or score < best[0] - 1e-9):
            best = (score, tuple(members))
    return None if best is None else best[1]


def _best_in(pool: NDArray[np.int64], information: FloatArray, others: list[int]) -> tuple[float, int]:
    scores = np.round(_scores(information[pool] + information[others].sum(axis=0)), 9)
    best = int(np.argmin(scores))
    return float(scores[best]), int(pool[best])


def _scores(normal: FloatArray) -> FloatArray:
    """Sum of the variances of the constants; the small ridge makes incomplete sets comparable."""
    ridge = 1e-4 * np.eye(normal.shape[-1])
    result: FloatArray = np.trace(np.linalg.inv(normal + ridge), axis1=1, axis2=2)
    return result
