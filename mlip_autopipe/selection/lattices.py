"""Lattices for small periodic cells: the crystal's own translations, and compact cells made of them."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MATCH_FRACTION = 0.7
"""A vector is a translation of the crystal when this part of the atoms has a like atom at its end."""

MATCH_RADIUS = 0.35
"""... within this part of the nearest-neighbour distance. In liquids, 0.2 to 0.45 of the atoms have one by chance."""

_REFERENCES = 8
_COPLANAR = 0.1
_SNAP = 0.25
_ROTATIONS = 60
_SCALES = np.arange(0.86, 1.4, 0.012)
_FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2)
_BCC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / np.sqrt(3)
_HEXAGON = np.array([[1, 0], [0.5, np.sqrt(0.75)]])


def crystal_lattice(
    positions: NDArray[np.float64], kinds: NDArray[np.int_], neighbour_A: float, large_cell: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Find the translations under which a region looks the same, as far as thermal motion and defects let it.

    Parameters
    ----------
    positions
        Atoms of a ball, Cartesian relative to its centre, Angstrom, nearest first, shape (n, 3).
    kinds
        Their atomic numbers. Translations may exchange elements only if none keeps them (disordered alloys).
    neighbour_A
        Typical nearest-neighbour distance, Angstrom.
    large_cell
        Cell that the region was taken from; translations that nearly divide it are made to divide it exactly.

    Returns
    -------
    ndarray or None
        Minkowski-reduced primitive vectors in rows; None when the region is no crystal.
    """
    for labels in (kinds, np.zeros_like(kinds)):
        basis = _primitive(_translations(positions, labels, neighbour_A))
        if basis is not None:
            return _snapped(basis, large_cell)
    return None


def _translations(positions: NDArray[np.float64], labels: NDArray[np.int_], neighbour_A: float) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    radius = float(np.linalg.norm(positions[-1]))
    longest = min(0.5 * radius, 3.0 * neighbour_A)
    distances = np.linalg.norm(positions, axis=1)
    inner = np.flatnonzero(distances <= radius - longest)
    if len(inner) < _REFERENCES:
        return np.empty((0, 3))
    trees = {label: cKDTree(positions[labels == label]) for label in np.unique(labels)}
    found: list[NDArray[np.float64]] = []
    # several references, since one of them may be a defect
    for reference in inner[np.linspace(0, len(inner) - 1, _REFERENCES).astype(int)]:
        like = positions[labels == labels[reference]] - positions[reference]
        lengths = np.linalg.norm(like, axis=1)
        for vector in like[(lengths > 0.5 * neighbour_A) & (lengths <= longest)]:
            if any(np.linalg.norm(vector - other) < MATCH_RADIUS * neighbour_A for other in found):
                continue
            refined = _refined(vector, positions, labels, inner, trees, MATCH_RADIUS * neighbour_A)
            if refined is not None:
                found.append(refined)
    return np.array(found).reshape(-1, 3)


def _refined(
    vector: NDArray[np.float64],
    positions: NDArray[np.float64],
    labels: NDArray[np.int_],
    inner: NDArray[np.int_],
    trees: dict[int, object],
    radius_A: float,
) -> NDArray[np.float64] | None:
    """Return the mean translation of the atoms that have a like one near the vector's end, if they are many."""
    for _ in range(2):
        offsets = []
        for label, tree in trees.items():
            ends = positions[inner[labels[inner] == label]] + vector
            if len(ends):
                distance, index = tree.query(ends, distance_upper_bound=radius_A)  # type: ignore[attr-defined]
                hit = np.isfinite(distance)
                offsets.append(tree.data[index[hit]] - ends[hit])  # type: ignore[attr-defined]
        residual = np.concatenate(offsets)
        if len(residual) < MATCH_FRACTION * len(inner):
            return None
        vector = vector + residual.mean(axis=0)
    return vector


def _primitive(translations: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the reduced basis of smallest volume among short translations."""
    from ase.geometry import minkowski_reduce

    order = np.argsort(np.linalg.norm(translations, axis=1))
    best: tuple[float, NDArray[np.float64]] | None = None
    for rows in combinations(translations[order[:14]], 3):
        basis = np.array(rows)
        volume = abs(float(np.linalg.det(basis)))
        if volume > _COPLANAR * np.prod(np.linalg.norm(basis, axis=1)) and (best is None or volume < 0.95 * best[0]):
            best = (volume, basis)
    if best is None:
        return None
    # each translation is uncertain by thermal motion; together they know the basis several times better
    whole = np.round(translations @ np.linalg.inv(best[1]))
    fitted = np.linalg.lstsq(whole, translations, rcond=None)[0]
    return np.asarray(minkowski_reduce(fitted)[0])


def _snapped(basis: NDArray[np.float64], large_cell: NDArray[np.float64]) -> NDArray[np.float64]:
    exact = large_cell @ np.linalg.inv(basis)
    multiples = np.round(exact)
    if abs(np.linalg.det(multiples)) < 0.5 or np.abs(exact - multiples).max() > _SNAP:
        return basis
    return np.asarray(np.linalg.solve(multiples, large_cell))


def compact_lattices(
    shortest_A: float, large_cell: NDArray[np.float64], crystal: NDArray[np.float64] | None
) -> list[NDArray[np.float64]]:
    """List lattices whose vectors are about as long as wanted, smallest cell first.

    Face- and body-centred cubic shapes need the least volume for a given shortest vector; they are tried in many
    orientations and sizes. In a crystal their vectors are rounded to its translations. Directions in which the large
    cell is short itself are also kept as they are.

    Parameters
    ----------
    shortest_A
        Wanted length of the shortest vector, Angstrom; lattices up to 14 % shorter and 40 % longer are listed.
    large_cell
        Vectors of the large cell in rows.
    crystal
        Primitive vectors from `crystal_lattice`, or None.

    Returns
    -------
    list of ndarray
        Cells with vectors in rows, right-handed.
    """
    from ase.geometry import minkowski_reduce
    from scipy.spatial.transform import Rotation

    large = np.asarray(minkowski_reduce(large_cell)[0])
    # orientations relative to the material, so that turning everything turns the result
    frame = np.linalg.qr((large if crystal is None else crystal).T)[0].T
    rotations = np.concatenate([np.eye(3)[None], Rotation.random(_ROTATIONS, rng=0).as_matrix()]) @ frame
    shapes = [shape @ rotation for shape in (_FCC, _BCC) for rotation in rotations]
    cells = np.array([shortest_A * scale * shape for scale in _SCALES for shape in shapes])
    short = large[np.linalg.norm(large, axis=1) <= shortest_A * _SCALES[-1]]
    for n_kept in (1, 2):
        for kept in combinations(short, n_kept):
            cells = np.concatenate([cells, _around(np.array(kept), shortest_A)])
    if crystal is not None:
        whole = np.unique(np.round(cells @ np.linalg.inv(crystal)), axis=0)
        cells = whole[np.abs(np.linalg.det(whole)) > 0.5] @ crystal
    volumes = np.linalg.det(cells)
    cells[volumes < 0] *= -1
    return list(cells[np.argsort(np.abs(volumes), kind="stable")])


def _around(kept: NDArray[np.float64], shortest_A: float) -> NDArray[np.float64]:
    """Complete one or two vectors by perpendicular ones."""
    first = kept[0] / np.linalg.norm(kept[0])
    if len(kept) == 2:
        normal = np.cross(kept[0], kept[1])
        normal /= np.linalg.norm(normal)
        offsets = [0.0 * kept[0], 0.5 * kept[0], 0.5 * kept[1], 0.5 * (kept[0] + kept[1])]
        return np.array([[*kept, shortest_A * scale * normal + shift] for scale in _SCALES for shift in offsets])
    side = np.eye(3)[np.argmin(np.abs(first))]
    second = np.cross(first, side) / np.linalg.norm(np.cross(first, side))
    plane = np.array([second, np.cross(first, second)])
    cells = []
    for angle in np.linspace(0, np.pi / 3, 12, endpoint=False):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        cells += [[kept[0], *(shortest_A * scale * _HEXAGON @ turn @ plane)] for scale in _SCALES]
    return np.array(cells)
