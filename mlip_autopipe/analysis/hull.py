"""Convex hulls of energies over composition: what is stable, and how far above the stable mixture the rest lies.

>>> hull = convex_hull([[1, 0], [0, 1], [0.5, 0.5], [0.75, 0.25]], [-3.0, -4.0, -3.7, -3.2])
>>> hull.vertices.tolist(), hull.e_above_hull_eV_per_atom.round(3).tolist()
([0, 1, 2], [0.0, 0.0, 0.0, 0.15])
>>> hull.decomposition(3)
{0: 0.5, 2: 0.5}

The method is that of Ong et al., 10.1021/cm702327g; the hulls are Qhull's (Barber et al., 10.1145/235815.235821).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError, InvalidInputError

IntArray = NDArray[np.int64]

TOLERANCE_eV: Final = 1e-11
"""An entry that lies below the hull of the others by no more than this is on it, and is no vertex."""
SAME_COMPOSITION_DECIMALS: Final = 10
MAX_ELEMENTS: Final = 8
"""Facets multiply with every element: thousands of entries of eight take a minute, and of more the memory."""
_LEAST_HEIGHT: Final = 1e-10
"""Simplices of compositions that are thinner than this are rounding errors of ones without volume."""
_COPLANAR: Final = 1e-7
_INSIDE: Final = 1e-9
_TILE: Final = 2**15


@dataclass(frozen=True, eq=False)
class Hull:
    """The lower convex hull of N entries over d elements.

    Attributes
    ----------
    fractions
        (N, d) atomic fractions.
    formation_energies_eV_per_atom
        (N,) relative to the lowest entry of each pure element.
    e_above_hull_eV_per_atom
        (N,) not negative: energy above the mixture of phases that is lowest at that composition.
    vertices
        (V,) entries that no mixture of others matches, ascending; of entries that are alike, the first.
    stable
        (N,) whether an entry is a vertex, or has the composition and the energy of one.
    simplices
        (F, d) the d entries that coexist in each region of compositions, ascending.
    chemical_potentials_eV
        (F, d) of the elements in each region, relative to the pure elements.
    """

    fractions: FloatArray
    formation_energies_eV_per_atom: FloatArray
    e_above_hull_eV_per_atom: FloatArray
    vertices: IntArray
    stable: NDArray[np.bool_]
    simplices: IntArray
    chemical_potentials_eV: FloatArray
    _place: IntArray
    _weights: FloatArray

    def decomposition(self, entry: int) -> dict[int, float]:
        """Return the lowest mixture at the composition of an entry: its entries, with their shares of the atoms."""
        phases, shares = self.simplices[self._place[entry]], self._weights[entry]
        return {int(phase): float(share) for phase, share in zip(phases, shares, strict=True) if share > _INSIDE}


def convex_hull(fractions: ArrayLike, energies_eV_per_atom: ArrayLike) -> Hull:
    """Return the lower convex hull of entries.

    Parameters
    ----------
    fractions
        (N, d) atomic fractions of all d elements; each row sums to 1. Several entries may share a composition.
    energies_eV_per_atom
        (N,).

    Raises
    ------
    InvalidInputError
        Shapes do not fit, a number is not finite, rows do not sum to 1, or an element has no entry of its own.
    """
    compositions = Compositions.of(fractions)
    energies = checked_energies(energies_eV_per_atom, len(compositions.fractions))
    if energies.ndim != 1:
        raise InvalidInputError(f"energies have the shape {energies.shape}; `sample_hulls` takes more than one set")
    tolerance = rounding_tolerance_eV(energies)
    first = compositions.lowest_entries(energies)
    references = energies[first[compositions.pure]]
    formation = energies - compositions.fractions @ references
    lowest = formation[first]
    facets = lower_hull(compositions.unique, lowest, compositions.pure, tolerance)
    place, weights = facets.locate(compositions.unique)
    at_hull = (weights * lowest[facets.simplices[place]]).sum(axis=1)
    at_hull[facets.vertices] = lowest[facets.vertices]
    of = compositions.group
    above = np.maximum(formation - at_hull[of], 0.0)
    corner = np.zeros(len(first), dtype=bool)
    corner[facets.vertices] = True
    simplices = first[facets.simplices]
    order = np.argsort(simplices, axis=1)
    return Hull(
        fractions=compositions.fractions,
        formation_energies_eV_per_atom=formation,
        e_above_hull_eV_per_atom=above,
        vertices=np.sort(first[facets.vertices]),
        stable=corner[of] & (above <= tolerance),
        simplices=np.take_along_axis(simplices, order, axis=1),
        chemical_potentials_eV=facets.chemical_potentials_eV,
        _place=place[of],
        _weights=np.take_along_axis(weights, order[place], axis=1)[of],
    )


@dataclass(frozen=True, eq=False)
class Compositions:
    """Entries grouped by composition.

    Attributes
    ----------
    fractions
        (N, d), each row normalised.
    unique
        (U, d) the compositions that occur.
    group
        (N,) the composition of each entry.
    pure
        (d,) the composition that is pure element k.
    """

    fractions: FloatArray
    unique: FloatArray
    group: IntArray
    pure: IntArray
    _order: IntArray
    _starts: IntArray

    @classmethod
    def of(cls, fractions: ArrayLike) -> Compositions:
        """Group entries.

        Raises
        ------
        InvalidInputError
            These are not fractions of all elements, or an element has no entry of its own.
        """
        x = np.array(fractions, dtype=float)
        if x.ndim != 2 or 0 in x.shape:
            raise InvalidInputError(f"fractions have the shape {x.shape}; give (entries, elements)")
        if x.shape[1] > MAX_ELEMENTS:
            raise InvalidInputError(f"a hull over {x.shape[1]} elements is too large; use at most {MAX_ELEMENTS}")
        sums = x.sum(axis=1)
        bad = ~(np.isfinite(x).all(axis=1) & (x >= -_INSIDE).all(axis=1) & (abs(sums - 1) < 1e-6))
        if bad.any():
            entry = int(np.argmax(bad))
            raise InvalidInputError(
                f"the fractions of entry {entry} are {x[entry].tolist()}; give numbers from 0 to 1 that sum to 1"
            )
        x = np.maximum(x, 0.0)
        x /= x.sum(axis=1, keepdims=True)
        rounded = x.round(SAME_COMPOSITION_DECIMALS)
        order = np.lexsort(rounded.T)
        new = np.ones(len(x), dtype=bool)
        new[1:] = (np.diff(rounded[order], axis=0) != 0).any(axis=1)
        starts = np.flatnonzero(new)
        group = np.empty(len(x), dtype=np.int64)
        group[order] = np.cumsum(new) - 1
        unique = x[order[starts]]
        pure = rounded[order[starts]] == 1.0
        if not pure.any(axis=0).all():
            missing = int(np.argmin(pure.any(axis=0)))
            raise InvalidInputError(
                f"no entry is the pure element of column {missing}; formation energies need one of every element"
            )
        return cls(x, unique, group, np.argmax(pure, axis=0), order, starts)

    def lowest(self, energies: FloatArray) -> FloatArray:
        """Return the lowest energy of every composition, (..., U) of (..., N)."""
        found: FloatArray = np.minimum.reduceat(energies[..., self._order], self._starts, axis=-1)
        return found

    def lowest_entries(self, energies: FloatArray) -> IntArray:
        """Return the lowest entry of every composition, (U,); of equal ones the first."""
        order = np.lexsort((energies, self.group))
        return order[self._starts]


@dataclass(frozen=True, eq=False)
class Facets:
    """Simplices of a lower hull, in terms of compositions.

    Attributes
    ----------
    simplices
        (F, d) compositions.
    vertices
        (V,) compositions, ascending.
    chemical_potentials_eV
        (F, d): the plane of each simplex.
    """

    simplices: IntArray
    vertices: IntArray
    chemical_potentials_eV: FloatArray
    _inverses: FloatArray

    def locate(self, fractions: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the simplex of each composition, (n,), and the shares of its corners there, (n, d).

        The hull is the maximum of its planes, so that the highest one shows the simplex.
        """
        n, count = len(fractions), len(self.simplices)
        place = np.empty(n, dtype=np.int64)
        planes = np.ascontiguousarray(self.chemical_potentials_eV.T)
        step = max(1, _TILE // count)
        for k in range(0, n, step):
            place[k : k + step] = (fractions[k : k + step] @ planes).argmax(axis=1)
        weights = np.einsum("ni,nij->nj", fractions, self._inverses[place])
        # of planes that are the same up to rounding, the highest may belong to a neighbour
        for point in np.flatnonzero(weights.min(axis=1) < -_INSIDE):
            shares = np.einsum("i,fij->fj", fractions[point], self._inverses)
            place[point] = shares.min(axis=1).argmax()
            weights[point] = shares[place[point]]
        return place, weights

    def values(self, fractions: FloatArray, energies_eV: FloatArray) -> FloatArray:
        """Return the energy of the hull at compositions, (n,), of the energies of its corners' compositions, (U,)."""
        place, weights = self.locate(fractions)
        found: FloatArray = (weights * energies_eV[self.simplices[place]]).sum(axis=1)
        return found


def lower_hull(
    fractions: FloatArray, formation_energies_eV: FloatArray, pure: IntArray, tolerance_eV: float = TOLERANCE_eV
) -> Facets:
    """Return the lower hull of different compositions.

    Parameters
    ----------
    fractions, formation_energies_eV
        (U, d) and (U,); infinite energies are left out.
    pure
        (d,) the rows of the pure elements, whose formation energies are zero.
    """
    below = formation_energies_eV < -tolerance_eV
    below[pure] = False
    kept = np.concatenate([pure, np.flatnonzero(below)])
    x, energies = fractions[kept], formation_energies_eV[kept]
    d = len(pure)
    energies[:d] = 0.0
    simplices = np.arange(d)[None]
    if len(kept) > d:
        simplices, suspects = _qhull(x, energies)
        if len(suspects):
            simplices = _without_ties(x, energies, simplices, suspects[suspects >= d], tolerance_eV)
    return _facets(x, energies, simplices, kept)


def rounding_tolerance_eV(energies_eV: FloatArray) -> float:
    """Return the difference below which energies of this size are the same."""
    return max(TOLERANCE_eV, 8 * float(np.finfo(float).eps) * float(abs(energies_eV).max(initial=0.0)))


def checked_energies(energies_eV: ArrayLike, n_entries: int) -> FloatArray:
    """Return energies as an array, (..., N).

    Raises
    ------
    InvalidInputError
        There are not as many as entries, or one is not finite.
    """
    energies = np.asarray(energies_eV, dtype=float)
    if energies.ndim == 0 or energies.shape[-1] != n_entries:
        raise InvalidInputError(f"energies have the shape {energies.shape}; there are {n_entries} entries")
    if not np.isfinite(energies).all():
        entry = int(np.argwhere(~np.isfinite(energies))[0, -1])
        raise InvalidInputError(f"the energy of entry {entry} is not a finite number; leave that entry out")
    return energies


def _qhull(x: FloatArray, energies: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the simplices of the lower side, and the corners of neighbours among them that lie in one plane."""
    top = len(x)
    scaled = energies - energies.max()
    scaled /= -scaled.min() or 1.0
    # a point above all gives the body its full dimension, and hardly anything but the lower side is without it
    peak = np.append(x[:, 1:].mean(axis=0), 1.0)
    hull = _body(np.vstack([np.column_stack([x[:, 1:], scaled]), peak]))
    planes = hull.equations
    lower = (hull.simplices != top).all(axis=1) & (planes[:, -2] < 0)
    lower[lower] = _has_volume(x[hull.simplices[lower]])
    simplices = hull.simplices[lower].astype(np.int64)
    near = hull.neighbors[lower]
    alike = lower[near] & (abs(planes[near] - planes[lower, None]).max(axis=2) < _COPLANAR)
    return simplices, np.unique(simplices[alike.any(axis=1)])


def _body(points: FloatArray) -> Any:
    from scipy.spatial import ConvexHull, QhullError

    try:
        return ConvexHull(points)
    except QhullError:
        # many points of one plane in four dimensions and more: moved by some 1e-11, no two facets are coplanar
        try:
            return ConvexHull(points, qhull_options="QJ")
        except QhullError as error:
            raise AnalysisError(f"Qhull found no hull of these entries ({str(error).splitlines()[0]})") from None


def _has_volume(corners: FloatArray) -> NDArray[np.bool_]:
    solid: NDArray[np.bool_] = np.linalg.det(corners) != 0
    # one over the largest entry of the inverse is the least distance of a corner from the opposite side
    solid[solid] = abs(np.linalg.inv(corners[solid])).max(axis=(1, 2)) < 1 / _LEAST_HEIGHT
    return solid


def _without_ties(
    x: FloatArray, energies: FloatArray, simplices: IntArray, suspects: IntArray, tolerance_eV: float
) -> IntArray:
    """Leave out corners that lie on the hull of the others: Qhull may keep them where its facets are coplanar."""
    corners = np.unique(simplices)
    tied = np.zeros(len(x), dtype=bool)
    for corner in suspects:
        # without it, the hull changes only where its own simplices were
        link = np.unique(simplices[(simplices == corner).any(axis=1)])
        link = link[link != corner]
        around = _facets(x[link], energies[link], _qhull(x[link], energies[link])[0])
        at_corner = around.values(x[[corner]], energies[link])[0]
        tied[corner] = energies[corner] >= at_corner - tolerance_eV
    for _ in range(2):
        if not tied.any():
            return simplices
        rest = corners[~tied[corners]]
        simplices = rest[_qhull(x[rest], energies[rest])[0]] if len(rest) > x.shape[1] else rest[None]
        # several that were each on the hull of the others need not all be on the hull of the rest
        at_hull = _facets(x, energies, simplices).values(x, energies)
        missed = tied & (energies < at_hull - tolerance_eV)
        if not missed.any():
            break
        tied &= ~missed
    return simplices


def _facets(x: FloatArray, energies: FloatArray, simplices: IntArray, names: IntArray | None = None) -> Facets:
    inverses = np.asarray(np.linalg.inv(x[simplices]), dtype=np.float64)
    planes: FloatArray = np.einsum("fij,fj->fi", inverses, energies[simplices])
    named = simplices if names is None else names[simplices]
    return Facets(named, np.unique(named), planes, inverses)
