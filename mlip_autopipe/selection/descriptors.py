"""Descriptors of whole structures, without a potential: histograms of distances and angles around the atoms.

Around each atom the neighbours of each element are counted in smooth shells of distance; Legendre polynomials of the
angles between them, summed over all pairs, tell how they are arranged (the power spectrum of
doi:10.1103/PhysRevB.87.184115, with one radial function). A structure's descriptor holds mean and standard deviation
over the atoms of each element, so that one odd atom among many equal ones shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

CUTOFF_A = 5.5
"""Distance up to which neighbours count."""

DEGREES = (1, 2, 3, 4, 6)
"""Degrees of the Legendre polynomials; 4 and 6 tell the common crystals apart."""

_SHELL_A = 0.5
_CENTRES_A = np.arange(1.0, CUTOFF_A, _SHELL_A)


def structure_descriptors(structures: Sequence[Atoms], elements: Sequence[str] | None = None) -> NDArray[np.float64]:
    """Return one row per structure.

    Parameters
    ----------
    structures
        Periodic or not.
    elements
        Chemical symbols that rows have places for; those of the structures when None.

    Returns
    -------
    ndarray
        Shape (structures, features), in numbers of neighbours. Equal for a structure that is moved, turned, renumbered
        or repeated; a smooth function of the positions but where a set of directions is perfectly balanced.
    """
    if elements is None:
        elements = sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()})
    width = 2 * len(elements) ** 2 * (len(_CENTRES_A) + len(DEGREES))
    return np.array([_structure(atoms, elements) for atoms in structures]).reshape(len(structures), width)


def noise_distances(
    structures: Sequence[Atoms], descriptors: NDArray[np.float64], elements: Sequence[str], displacement_A: float
) -> NDArray[np.float64]:
    """Return how far the descriptor of each structure moves when its atoms are displaced at random.

    Parameters
    ----------
    structures, descriptors, elements
        What `structure_descriptors` got and gave.
    displacement_A
        Standard deviation of each Cartesian displacement, Angstrom.

    Returns
    -------
    ndarray
        One distance per structure: two structures that are nearer differ by no more than that.
    """
    moved = []
    for atoms in structures:
        copy = atoms.copy()
        shift = np.random.default_rng(0).normal(0.0, displacement_A, (len(atoms), 3))
        copy.positions = copy.positions + shift
        moved.append(copy)
    return np.asarray(np.linalg.norm(structure_descriptors(moved, elements) - descriptors, axis=1))


def _structure(atoms: Atoms, elements: Sequence[str]) -> NDArray[np.float64]:
    local = atom_descriptors(atoms, elements)
    symbols = np.array(atoms.get_chemical_symbols())
    parts = []
    for element in elements:
        own = local[symbols == element]
        # an element counts by its share, so that distances of structures are dominated by what they are made of
        weight = np.sqrt(len(own) / max(len(atoms), 1))
        empty = np.zeros(local.shape[1])
        parts += [weight * own.mean(axis=0), weight * own.std(axis=0)] if len(own) else [empty, empty]
    return np.concatenate(parts) if parts else np.empty(0)


def atom_descriptors(atoms: Atoms, elements: Sequence[str]) -> NDArray[np.float64]:
    """Return one row per atom: for each element of neighbours the shells, then the degrees.

    Parameters
    ----------
    atoms
        The structure.
    elements
        Chemical symbols.

    Returns
    -------
    ndarray
        Shape (n, elements * (shells + degrees)), in numbers of neighbours.
    """
    first, second, vectors = _pairs(atoms)
    distances = np.linalg.norm(vectors, axis=1)
    fade = 0.5 * (1 + np.cos(np.pi * distances / CUTOFF_A))
    shells = np.exp(-0.5 * ((distances[:, None] - _CENTRES_A) / _SHELL_A) ** 2) * fade[:, None]
    directions = vectors / np.maximum(distances, 1e-9)[:, None]
    kinds = np.array(atoms.get_chemical_symbols())[second]
    found = np.zeros((len(atoms), len(elements), len(_CENTRES_A) + len(DEGREES)))
    for i, start, stop in _slices(first):
        for k, element in enumerate(elements):
            own = start + np.flatnonzero(kinds[start:stop] == element)
            found[i, k, : len(_CENTRES_A)] = shells[own].sum(axis=0)
            found[i, k, len(_CENTRES_A) :] = _angular(directions[own], fade[own])
    return found.reshape(len(atoms), -1)


def _pairs(atoms: Atoms) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.float64]]:
    """Return atoms, neighbours (images included) and vectors between them, ordered by atoms."""
    from scipy.spatial import cKDTree

    # many times faster than ASE's list for cells of this size
    cell = atoms.cell.complete().array
    inverse = np.linalg.inv(cell)
    scaled = atoms.positions @ inverse
    scaled -= np.where(atoms.pbc, np.floor(scaled), 0.0)
    reach = np.where(atoms.pbc, np.ceil(CUTOFF_A * np.linalg.norm(inverse, axis=0)), 0).astype(int)
    shifts = np.array(list(product(*(range(-r, r + 1) for r in reach))))
    here = scaled @ cell
    images = (here[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
    found = cKDTree(images).query_ball_point(here, CUTOFF_A, return_sorted=True)
    first = np.repeat(np.arange(len(atoms)), [len(one) for one in found])
    second = np.concatenate([np.asarray(one, dtype=int) for one in found]) if len(found) else np.empty(0, dtype=int)
    vectors = images[second] - here[first]
    apart = np.linalg.norm(vectors, axis=1) > 1e-9
    return first[apart], second[apart] % max(len(atoms), 1), vectors[apart]


def _slices(first: NDArray[np.int_]) -> Iterator[tuple[int, int, int]]:
    """Where the neighbours of each atom stand in the list, which is ordered by atoms."""
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    for start, stop in zip(starts, np.append(starts, len(first))[1:], strict=True):
        yield int(first[start]), int(start), int(stop)


def _angular(directions: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import eval_legendre

    cosines = np.clip(directions @ directions.T, -1, 1)
    powers = [weights @ eval_legendre(degree, cosines) @ weights for degree in DEGREES]
    # the sum over pairs is a square, which rounding can make negative
    return np.sqrt(np.maximum(powers, 0.0))
