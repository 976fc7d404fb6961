"""Training structures around a relaxed crystal: strains, rattles, volumes, supercells, point defects.

Every function returns new structures and leaves its input alone. They keep cell, species, initial magnetic moments
and initial charges; velocities, constraints, calculators and stored results do not belong to a changed structure and
are dropped. Random choices come from the caller's generator (or seed) only, so a seed gives the same structures again.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

SAME_VOID_A = 0.05
"""Two void centres nearer than this are one (Angstrom)."""

SAME_RADIUS_A = 1e-4
"""Voids whose radii differ by less are equally large (Angstrom)."""

MAX_STRAIN = 1 / 3
"""Below it every symmetric strain keeps the cell's volume positive, by Gershgorin's theorem."""


@dataclass(frozen=True)
class Void:
    """An empty sphere between the atoms that touches at least four of them.

    Attributes
    ----------
    position
        Cartesian centre inside the cell, Angstrom, shape (3,).
    radius_A
        Distance from the centre to the nearest atoms, Angstrom.
    """

    position: NDArray[np.float64]
    radius_A: float


def random_strains(
    atoms: Atoms, n_structures: int, amplitude: float, rng: np.random.Generator | int, *, isochoric: bool = False
) -> list[Atoms]:
    """Strain the cell at random, the atoms following affinely.

    Parameters
    ----------
    atoms
        Periodic structure.
    n_structures
        How many strained copies.
    amplitude
        Largest absolute value of each of the six tensor components (not engineering shears), no unit.
    rng
        Generator or seed.
    isochoric
        Scale every strained cell back to the volume of `atoms`.

    Returns
    -------
    list of Atoms
        Copies with cell vectors ``a (1 + e)``; `e` is symmetric, so the deformation holds no rotation.

    Raises
    ------
    InvalidInputError
        The amplitude is not in (0, 1/3), the number is negative or the structure is not periodic.
    """
    _require_periodic(atoms)
    _require(0 < amplitude < MAX_STRAIN, f"the strain amplitude must lie between 0 and 1/3 but is {amplitude}")
    _require(n_structures >= 0, f"the number of structures must not be negative but is {n_structures}")
    generator = np.random.default_rng(rng)
    strained = []
    for _ in range(n_structures):
        e = np.zeros((3, 3))
        e[np.triu_indices(3)] = generator.uniform(-amplitude, amplitude, 6)
        deformation = np.eye(3) + np.triu(e) + np.triu(e, 1).T
        if isochoric:
            deformation /= np.cbrt(np.linalg.det(deformation))
        strained.append(_deformed(atoms, deformation))
    return strained


def rattle(
    atoms: Atoms,
    sigma_A: float,
    rng: np.random.Generator | int,
    *,
    min_distance_A: float | None = None,
    max_attempts: int = 100,
) -> Atoms:
    """Displace every atom by Gaussian noise and keep the atoms apart.

    One draw per atom; only atoms that came too close are drawn again, from their undisturbed places, so that no
    Markov chain is walked and the displacements stay Gaussian wherever the guard does not act. The mean displacement
    is not removed.

    Parameters
    ----------
    atoms
        Structure, periodic or not.
    sigma_A
        Standard deviation of each Cartesian displacement, Angstrom.
    rng
        Generator or seed.
    min_distance_A
        Smallest allowed distance between two atoms, periodic images included, Angstrom; 70 % of the shortest
        distance in `atoms` when None.
    max_attempts
        How often the offending atoms are drawn again before giving up.

    Returns
    -------
    Atoms
        The displaced copy.

    Raises
    ------
    InvalidInputError
        The structure itself breaks the minimum distance, or no displacement was found that respects it.
    """
    _require(sigma_A >= 0, f"sigma_A must not be negative but is {sigma_A}")
    generator = np.random.default_rng(rng)
    rattled = _clean_copy(atoms)
    shortest = shortest_distance(atoms)
    if min_distance_A is None:
        min_distance_A = 0.0 if np.isinf(shortest) else 0.7 * shortest
    _require(
        shortest >= min_distance_A,
        f"two atoms of the structure are {shortest:.3f} A apart, less than min_distance_A = {min_distance_A:.3f}",
    )
    start = atoms.get_positions()
    moved = np.arange(len(atoms))
    positions = start.copy()
    for _ in range(max_attempts + 1):
        positions[moved] = start[moved] + generator.normal(0.0, sigma_A, (len(moved), 3))
        rattled.set_positions(positions)
        moved = _too_close(rattled, min_distance_A)
        if len(moved) == 0:
            return rattled
    raise InvalidInputError(
        f"a rattle of {sigma_A} A brings atoms nearer than {min_distance_A:.3f} A in each of {max_attempts + 1} draws; "
        "choose a smaller sigma_A or min_distance_A"
    )


def volume_scan(atoms: Atoms, relative_volumes: list[float] | NDArray[np.float64]) -> list[Atoms]:
    """Scale the structure to a series of volumes at fixed shape.

    Parameters
    ----------
    atoms
        Periodic structure.
    relative_volumes
        Volumes in units of the volume of `atoms`, each positive.

    Returns
    -------
    list of Atoms
        One isotropically scaled copy per volume, in the given order.
    """
    _require_periodic(atoms)
    for volume in relative_volumes:
        _require(bool(np.isfinite(volume)) and volume > 0, f"a relative volume must be positive but is {volume}")
    return [_deformed(atoms, np.cbrt(volume) * np.eye(3)) for volume in relative_volumes]


def supercell_repeats(atoms: Atoms, min_width_A: float, *, min_atoms: int = 1) -> tuple[int, int, int]:
    """Choose the smallest diagonal supercell that is wide enough.

    Parameters
    ----------
    atoms
        Periodic structure.
    min_width_A
        Smallest allowed distance between opposite faces of the supercell, Angstrom. It bounds the distance between
        an atom and its periodic images from below.
    min_atoms
        Smallest allowed number of atoms; the narrowest direction is repeated until it is reached.

    Returns
    -------
    tuple of int
        Repetitions along the three cell vectors, for ``atoms.repeat``.
    """
    _require_periodic(atoms)
    _require(len(atoms) > 0, "a structure without atoms has no supercell with atoms")
    widths = _widths(atoms.cell.array)
    repeats = np.maximum(1, np.ceil(min_width_A / widths - 1e-9).astype(int))
    while len(atoms) * int(np.prod(repeats)) < min_atoms:
        repeats[np.argmin(repeats * widths)] += 1
    return int(repeats[0]), int(repeats[1]), int(repeats[2])


def supercell(atoms: Atoms, min_width_A: float, *, min_atoms: int = 1) -> Atoms:
    """Repeat the structure as `supercell_repeats` says.

    Parameters
    ----------
    atoms
        Periodic structure.
    min_width_A
        Smallest allowed distance between opposite faces, Angstrom.
    min_atoms
        Smallest allowed number of atoms.

    Returns
    -------
    Atoms
        The supercell.
    """
    return _clean_copy(atoms).repeat(supercell_repeats(atoms, min_width_A, min_atoms=min_atoms))


def with_vacancies(
    atoms: Atoms, n_vacancies: int, rng: np.random.Generator | int, *, symbol: str | None = None
) -> Atoms:
    """Remove atoms chosen at random, without relaxing the others.

    Parameters
    ----------
    atoms
        Structure.
    n_vacancies
        How many atoms to remove; at least one atom stays.
    rng
        Generator or seed.
    symbol
        Remove atoms of this element only.

    Returns
    -------
    Atoms
        The copy with vacancies; the order of the other atoms is kept.
    """
    sites = np.array([i for i, s in enumerate(atoms.get_chemical_symbols()) if symbol in (None, s)], dtype=int)
    _require(
        0 <= n_vacancies <= len(sites) and n_vacancies < len(atoms),
        f"cannot remove {n_vacancies} of {len(sites)} atoms{f' of {symbol}' if symbol else ''} from a structure of "
        f"{len(atoms)}; use a larger supercell",
    )
    removed = np.random.default_rng(rng).choice(sites, n_vacancies, replace=False)
    defective = _clean_copy(atoms)
    del defective[sorted(int(i) for i in removed)]
    return defective


def with_interstitials(
    atoms: Atoms,
    symbols: list[str],
    rng: np.random.Generator | int,
    *,
    min_distance_A: float = 0.0,
) -> Atoms:
    """Put atoms into the largest voids, one after the other, without relaxing the others.

    After each insertion the voids are searched again, so that two added atoms do not share one; equally large voids
    are drawn from at random.

    Parameters
    ----------
    atoms
        Periodic structure.
    symbols
        Elements to add, in this order, behind the atoms that are there.
    rng
        Generator or seed.
    min_distance_A
        Refuse a void whose radius is smaller, Angstrom.

    Returns
    -------
    Atoms
        The copy with interstitials.

    Raises
    ------
    InvalidInputError
        The largest void is smaller than `min_distance_A`.
    """
    from ase import Atom

    generator = np.random.default_rng(rng)
    defective = _clean_copy(atoms)
    for symbol in symbols:
        voids = largest_voids(defective)
        largest = voids[0].radius_A
        _require(
            largest >= min_distance_A,
            f"the largest void has a radius of {largest:.3f} A, too small for {symbol} at {min_distance_A:.3f} A "
            "from its neighbours; use a larger supercell or a smaller min_distance_A",
        )
        equal = [void for void in voids if void.radius_A > largest - SAME_RADIUS_A]
        defective.append(Atom(symbol, equal[int(generator.integers(len(equal)))].position))
    return defective


def largest_voids(atoms: Atoms, n_voids: int | None = None) -> list[Void]:
    """Find the voids of a crystal: the vertices of the Voronoi cells of its atoms.

    Every local maximum of the distance to the nearest atom is such a vertex. The periodic images reach as far as
    the covering radius of the lattice can, half the root of the summed squared lengths of its reduced vectors
    (Babai, Combinatorica 6, 1-13 (1986), doi:10.1007/BF02579403), so that no void is missed or invented.

    Parameters
    ----------
    atoms
        Periodic structure with at least one atom.
    n_voids
        How many voids; all when None.

    Returns
    -------
    list of Void
        Largest first; equal ones ordered by their fractional coordinates in the reduced cell.
    """
    from ase.geometry import minkowski_reduce
    from scipy.spatial import Voronoi, cKDTree

    _require_periodic(atoms)
    _require(len(atoms) > 0, "a structure without atoms has no voids between them")
    cell = np.asarray(minkowski_reduce(atoms.cell.array)[0])
    inverse = np.linalg.inv(cell)
    reach = 0.5 * sqrt(float(np.sum(cell**2))) / _widths(cell) + 1e-6
    scaled = _wrapped(atoms.get_positions() @ inverse)
    shifts = np.array(list(product(*(range(-ceil(r), ceil(r) + 1) for r in reach))))
    images = (scaled[None, :, :] + shifts[:, None, :]).reshape(-1, 3)
    points = images[np.all((images >= -reach) & (images <= 1 + reach), axis=1)] @ cell
    vertices = Voronoi(points).vertices
    fractional = vertices @ inverse
    inside = np.all((fractional > -1e-6) & (fractional < 1 + 1e-6), axis=1)
    fractional = _wrapped(fractional[inside])
    radii = np.asarray(cKDTree(points).query(fractional @ cell)[0])
    keys = np.round(fractional, 5)
    order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0], -np.round(radii / SAME_RADIUS_A)))
    kept: list[Void] = []
    places = np.empty((0, 3))
    for i in order:
        if n_voids is not None and len(kept) >= n_voids:
            break
        apart = places - fractional[i]
        if np.any(np.linalg.norm((apart - np.round(apart)) @ cell, axis=1) < SAME_VOID_A):
            continue
        places = np.vstack([places, fractional[i]])
        position = _wrapped(fractional[i] @ cell @ np.linalg.inv(atoms.cell.array)) @ atoms.cell.array
        kept.append(Void(position=position, radius_A=float(radii[i])))
    return kept


def shortest_distance(atoms: Atoms) -> float:
    """Measure the shortest distance between two atoms, periodic images included.

    Parameters
    ----------
    atoms
        Structure.

    Returns
    -------
    float
        Angstrom; infinite for a single atom without periodicity.
    """
    from ase.neighborlist import neighbor_list

    if len(atoms) == 0 or (len(atoms) == 1 and not atoms.pbc.any()):
        return float("inf")
    cutoff = 2.0
    bound = float(np.sum(atoms.cell.lengths()) + np.ptp(atoms.get_positions(), axis=0).sum()) + 1.0
    while True:
        distances = neighbor_list("d", atoms, cutoff)
        if len(distances):
            return float(distances.min())
        if cutoff > bound:
            return float("inf")
        cutoff *= 1.5


def _too_close(atoms: Atoms, min_distance_A: float) -> NDArray[np.int_]:
    from ase.neighborlist import neighbor_list

    if min_distance_A <= 0:
        return np.array([], dtype=int)
    i, j = neighbor_list("ij", atoms, min_distance_A)
    return np.unique(i[i != j])  # an atom's own images do not move with a displacement


def _deformed(atoms: Atoms, deformation: NDArray[np.float64]) -> Atoms:
    changed = _clean_copy(atoms)
    changed.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return changed


def _clean_copy(atoms: Atoms) -> Atoms:
    from ase import Atoms as AseAtoms

    return AseAtoms(
        numbers=atoms.get_atomic_numbers(),
        positions=atoms.get_positions(),
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        magmoms=atoms.get_initial_magnetic_moments() if atoms.has("initial_magmoms") else None,
        charges=atoms.get_initial_charges() if atoms.has("initial_charges") else None,
    )


def _wrapped(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = scaled - np.floor(scaled)
    return np.where(inside > 1 - 1e-9, 0.0, inside)


def _widths(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def _require_periodic(atoms: Atoms) -> None:
    _require(
        bool(atoms.pbc.all()) and atoms.cell.rank == 3,
        "the structure must be periodic along three independent cell vectors",
    )


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise InvalidInputError(sentence)
