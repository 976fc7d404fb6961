"""Alloys on a lattice: special quasirandom structures and random decorations.

A special quasirandom structure (Zunger, Wei, Ferreira and Bernard, doi:10.1103/PhysRevLett.65.353) is the periodic
cell whose pair and triplet correlations come nearest to those of the infinite random alloy. The search is simulated
annealing with the objective of van de Walle et al. (doi:10.1016/j.calphad.2013.06.006), by icet
(doi:10.1002/adts.201900015).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

Composition = Mapping[str, float]
Rounding = Literal["exact", "nearest"]

SUM_TOLERANCE = 1e-3
"""How far fractions may be from summing to 1."""

WHOLE_TOLERANCE = 0.05
"""A number of atoms this near to an integer is meant as that integer: 0.333 of 24 atoms are 8."""

PAIR_REACH, TRIPLET_REACH = 2.1, 1.5
"""Default reach of the correlations in nearest-neighbour distances: four shells of pairs on fcc."""

MAX_SUGGESTED_SIZE = 1000
_SHAPES, _SHAPES_SMALL, _SMALL = 4, 12, 24

# measured on fcc and bcc cells of 32 and 64 atoms: these end nearer to the random alloy than icet's 5.0, 0.001 and 1.0
_ANNEALING = {"T_start": 1.0, "T_stop": 0.01, "optimality_weight": 0.5}


@dataclass(frozen=True)
class ClusterCorrelation:
    """One correlation function.

    Attributes
    ----------
    order
        Sites in the cluster: 2 pairs, 3 triplets.
    radius_A
        Mean distance of its sites from their centre, Angstrom; half the distance for pairs.
    value, target
        In this structure and in the random alloy of the same composition, no unit.
    """

    order: int
    radius_A: float
    value: float
    target: float

    @property
    def error(self) -> float:
        """Distance from the random alloy."""
        return abs(self.value - self.target)


@dataclass(frozen=True)
class QuasirandomStructure:
    """A special quasirandom structure and how random it is.

    Attributes
    ----------
    atoms
        The structure, not relaxed.
    composition
        Fractions that it really has, per decorated element of the parent (key ``""``: all sites).
    clusters
        Every correlation that was looked at, pairs first.
    """

    atoms: Atoms
    composition: dict[str, dict[str, float]]
    clusters: tuple[ClusterCorrelation, ...]

    @property
    def rms_error(self) -> float:
        """Root mean square of all errors; 0 is a perfect copy of the random alloy as far as the correlations reach."""
        return float(np.sqrt(np.mean([c.error**2 for c in self.clusters]))) if self.clusters else 0.0

    @property
    def random_pair_range_A(self) -> float:
        """Distance up to which all pair correlations are exactly those of the random alloy, Angstrom."""
        reach = 0.0
        for cluster in sorted((c for c in self.clusters if c.order == 2), key=lambda c: c.radius_A):
            if cluster.error > 1e-5:
                break
            reach = 2 * cluster.radius_A
        return reach


def special_quasirandom_structure(
    parent: Atoms,
    composition: Composition | Mapping[str, Composition],
    n_atoms: int | None = None,
    *,
    seed: int,
    supercell: ArrayLike | None = None,
    rounding: Rounding = "exact",
    pair_cutoff_A: float | None = None,
    triplet_cutoff_A: float | None = None,
    n_steps: int | None = None,
) -> QuasirandomStructure:
    """Decorate a lattice as randomly as a cell of this size can be.

    Parameters
    ----------
    parent
        Periodic parent lattice; elements on decorated sites are placeholders.
    composition
        Fractions by element for all sites, as ``{"Cu": 0.75, "Au": 0.25}``; or per element of the parent, as
        ``{"Na": {"Na": 0.5, "K": 0.5}}``, where sites that are not named stay as they are. They sum to 1.
    n_atoms
        Size; the shape is the best of some whose periodic images are farthest apart
        (`mlip_autopipe.generation.shapes.compact_supercells`).
    seed
        Equal seeds give equal structures.
    supercell
        Integer 3x3 matrix (rows: supercell vectors in vectors of `parent`) or three repetitions, instead of `n_atoms`.
    rounding
        What to do with a composition that the cell cannot hold: ``exact`` refuses it, ``nearest`` takes the nearest.
    pair_cutoff_A, triplet_cutoff_A
        Largest distance within pairs and triplets, Angstrom; 2.1 and 1.5 nearest-neighbour distances when None.
    n_steps
        Annealing steps per shape; 100 per atom when None, within 3000 and 10000.

    Returns
    -------
    QuasirandomStructure
        The best of all shapes.

    Raises
    ------
    InvalidInputError
        The composition is no composition, does not fit (the sentence names sizes that do), or an element would get
        no atom; the size is no multiple of the parent's.
    EnvironmentProblemError
        icet is not installed.
    """
    space, blocks = _cluster_space(parent, composition, pair_cutoff_A, triplet_cutoff_A)
    cells = _supercells(parent, space, n_atoms, supercell)
    counts = _sublattice_counts(space, cells[0], blocks, rounding, parent)
    concentrations = {letter: _fractions(c) for letter, c in counts.items()}
    steps = n_steps or int(np.clip(100 * len(cells[0]), 3000, 10_000))
    from icet.tools.structure_generation import (  # type: ignore[import-untyped, import-not-found]
        generate_sqs_from_supercells,
    )
    from mchammer.calculators import compare_cluster_vectors  # type: ignore[import-untyped, import-not-found]

    target = _random_correlations(space, concentrations)
    best: tuple[float, Atoms, NDArray[np.float64]] | None = None
    for number, cell in enumerate(cells):
        with _own_random_numbers():
            # one shape at a time: icet's annealing of several compares the score of one shape with that of another
            found = generate_sqs_from_supercells(
                space, [cell], concentrations, n_steps=steps, random_seed=_mixed(seed, number), **_ANNEALING
            )
        vector = np.asarray(space.get_cluster_vector(found))
        score = compare_cluster_vectors(
            vector, target, space.as_list, optimality_weight=_ANNEALING["optimality_weight"]
        )
        if best is None or score < best[0] - 1e-9:
            best = (score, found, vector)
    assert best is not None
    correlations = zip(space.as_list, best[2], target, strict=True)
    clusters = tuple(
        ClusterCorrelation(int(orbit["order"]), float(orbit["radius"]), float(value), float(wanted))
        for orbit, value, wanted in correlations
        if orbit["order"] >= 2
    )
    names = {letter: block for letter, (block, _) in blocks.items()}
    return QuasirandomStructure(best[1], {names[letter]: c for letter, c in concentrations.items()}, clusters)


def random_alloy(atoms: Atoms, composition: Composition, rng: np.random.Generator | int) -> Atoms:
    """Distribute elements over all sites at random.

    Every element gets the integer below or above its share, chosen so that the mean over many structures is the share
    itself (systematic sampling); a composition that the structure can hold is met exactly.

    Parameters
    ----------
    atoms
        The sites.
    composition
        Fractions by element; they sum to 1.
    rng
        Generator or seed.

    Returns
    -------
    Atoms
        The decorated copy; cell and positions are those of `atoms`.

    Raises
    ------
    InvalidInputError
        The composition is no composition.
    """
    from ase import Atoms as AseAtoms

    fractions = _checked(composition)
    generator = np.random.default_rng(rng)
    ends = np.round(np.cumsum(list(fractions.values())) * len(atoms), 6)
    ends[-1] = len(atoms)
    cuts = np.concatenate([[0], np.floor(ends + generator.uniform()).astype(int)])
    cuts[-1] = len(atoms)
    symbols = np.repeat(list(fractions), np.diff(cuts))
    return AseAtoms(generator.permutation(symbols), atoms.get_positions(), cell=atoms.cell.array, pbc=atoms.pbc)


def _checked(composition: Composition) -> dict[str, float]:
    from ase.data import atomic_numbers

    total = sum(composition.values())
    if not composition or min(composition.values()) < 0 or not abs(total - 1) <= SUM_TOLERANCE:
        raise InvalidInputError(f"the composition {dict(composition)} must hold fractions >= 0 that sum to 1")
    if unknown := [symbol for symbol in composition if symbol not in atomic_numbers or symbol == "X"]:
        raise InvalidInputError(f"the composition names {', '.join(unknown)}, which is no chemical element")
    return {symbol: fraction / total for symbol, fraction in composition.items() if fraction > 0}


def _cluster_space(
    parent: Atoms,
    composition: Composition | Mapping[str, Composition],
    pair_cutoff_A: float | None,
    triplet_cutoff_A: float | None,
) -> tuple[Any, dict[str, tuple[str, dict[str, float]]]]:
    """Return icet's cluster space, and per sublattice letter the decorated parent element with its fractions."""
    from mlip_autopipe.generation.perturb import shortest_distance

    try:
        from icet import ClusterSpace  # type: ignore[import-untyped, import-not-found]
    except ModuleNotFoundError:
        raise EnvironmentProblemError(
            "special quasirandom structures need icet: pip install 'mlip-autopipe[alloys]'"
        ) from None
    if not parent.pbc.all() or parent.cell.rank < 3 or len(parent) == 0:
        raise InvalidInputError("the parent lattice must be periodic along three independent vectors and hold atoms")
    nested = {k: v for k, v in composition.items() if isinstance(v, Mapping)}
    if nested and len(nested) < len(composition):
        raise InvalidInputError(f"the composition {dict(composition)} mixes fractions of all sites and of some")
    wanted = {k: _checked(v) for k, v in nested.items()} or {"": _checked(composition)}  # type: ignore[arg-type]
    if all(len(fractions) < 2 for fractions in wanted.values()):
        raise InvalidInputError("no site has more than one element; an alloy needs at least two fractions above 0")
    here = parent.get_chemical_symbols()
    if missing := [element for element in wanted if element and element not in here]:
        raise InvalidInputError(f"the parent lattice has no {', '.join(missing)} site to decorate")
    allowed = [sorted(wanted.get("") or wanted.get(symbol) or [symbol]) for symbol in here]
    species = [symbol for sites in {tuple(sites) for sites in allowed} for symbol in sites]
    if len(set(species)) < len(species):
        raise InvalidInputError(
            f"{sorted(species)}: an element may sit on one sublattice only; decorate both with one composition"
        )
    distance = shortest_distance(parent)
    cutoffs = [pair_cutoff_A or PAIR_REACH * distance, triplet_cutoff_A or TRIPLET_REACH * distance]
    space = ClusterSpace(parent, cutoffs, allowed)
    blocks = {}
    for sublattice in space.get_sublattices(space.primitive_structure):
        for element, fractions in wanted.items():
            if len(fractions) > 1 and sorted(fractions) == sorted(sublattice.chemical_symbols):
                blocks[sublattice.symbol] = (element, fractions)
    return space, blocks


def _supercells(parent: Atoms, space: Any, n_atoms: int | None, supercell: ArrayLike | None) -> list[Atoms]:
    from ase.build import make_supercell

    from mlip_autopipe.generation.shapes import compact_supercells

    if (n_atoms is None) == (supercell is None):
        raise InvalidInputError("give the size by n_atoms or by supercell, not by both or neither")
    if supercell is not None:
        matrix = np.asarray(supercell)
        matrix = np.diag(matrix) if matrix.shape == (3,) else matrix
        whole = np.round(matrix.astype(np.float64)).astype(int)
        if whole.shape != (3, 3) or not np.allclose(whole, matrix) or round(np.linalg.det(whole)) == 0:
            raise InvalidInputError("supercell must be three whole numbers or an invertible 3x3 matrix of such")
        return [make_supercell(parent, whole)]
    primitive = space.primitive_structure
    assert n_atoms is not None
    if n_atoms < 1 or n_atoms % len(primitive):
        raise InvalidInputError(
            f"a cell of {n_atoms} atoms is no multiple of the parent's primitive cell of {len(primitive)}"
        )
    # small cells need the choice, since few decorations fit each shape; in large ones the most compact shapes suffice
    limit = _SHAPES_SMALL if n_atoms <= _SMALL else _SHAPES
    shapes = compact_supercells(primitive.cell.array, n_atoms // len(primitive), limit=limit)
    return [make_supercell(primitive, shape) for shape in shapes]


def _sublattice_counts(
    space: Any, cell: Atoms, blocks: dict[str, tuple[str, dict[str, float]]], rounding: Rounding, parent: Atoms
) -> dict[str, dict[str, int]]:
    sites = {s.symbol: len(s.indices) for s in space.get_sublattices(cell)}
    counts = {}
    for letter, (_, fractions) in blocks.items():
        counts[letter] = _rounded(fractions, sites[letter])
        fits = _fits(fractions, sites[letter])
        if (rounding == "exact" and not fits) or min(counts[letter].values()) == 0:
            # a cell holds as many sites of a sublattice per atom as the parent does
            smallest = len(space.primitive_structure)
            share = sites[letter] / len(cell)
            sizes = [n for n in range(smallest, MAX_SUGGESTED_SIZE + 1, smallest) if _fits(fractions, round(share * n))]
            near = sorted(sorted(sizes, key=lambda n: abs(n - len(cell)))[:4])
            known = f"cells of {', '.join(map(str, near))} atoms do" if near else "no cell of up to 1000 atoms does"
            helps = rounding == "exact" and min(counts[letter].values()) > 0
            remedy = ', or use rounding="nearest"' if helps else ""
            shown = ", ".join(f"{symbol} {fraction:g}" for symbol, fraction in fractions.items())
            raise InvalidInputError(
                f"{sites[letter]} sites in a cell of {len(cell)} atoms cannot hold the composition {shown}; "
                f"{known}{remedy}"
            )
    return counts


def _random_correlations(space: Any, concentrations: dict[str, dict[str, float]]) -> NDArray[np.float64]:
    """Correlations of the infinite random alloy: sites are independent, so products of one-site means."""
    from ase.data import atomic_numbers

    def site_mean(letter: str, function: int) -> float:
        # icet numbers the species of a sublattice by atomic number
        species = sorted(concentrations[letter], key=lambda symbol: atomic_numbers[symbol])
        values = [space.evaluate_cluster_function(len(species), function, k) for k in range(len(species))]
        return float(np.dot(values, [concentrations[letter][symbol] for symbol in species]))

    correlations = [
        np.prod([site_mean(*site) for site in zip(orbit["sublattices"], orbit["multicomponent_vector"], strict=True)])
        for orbit in space.as_list
        if orbit["order"] > 0
    ]
    return np.array([1.0, *correlations])


def _fits(fractions: Composition, n: int) -> bool:
    return all(abs(x * n - round(x * n)) < WHOLE_TOLERANCE and round(x * n) > 0 for x in fractions.values())


def _rounded(fractions: Composition, n: int) -> dict[str, int]:
    """Largest remainders: the nearest composition in whole atoms."""
    shares = {symbol: x * n for symbol, x in fractions.items()}
    counts = {symbol: int(np.floor(share + 1e-9)) for symbol, share in shares.items()}
    by_rest = sorted(shares, key=lambda symbol: counts[symbol] - shares[symbol])
    for symbol in by_rest[: n - sum(counts.values())]:
        counts[symbol] += 1
    return counts


def _fractions(counts: Mapping[str, int]) -> dict[str, float]:
    return {symbol: count / sum(counts.values()) for symbol, count in counts.items()}


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Icet seeds Python's global generator; leave that of the caller as it was."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
