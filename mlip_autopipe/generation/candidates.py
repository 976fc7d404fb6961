"""Candidate structures of a phase diagram: what may be stable, each structure once.

Elements on all parent lattices and in their ground state; named ordered prototypes; structures that the user gives; all
decorations of the parents up to the size that the number of candidates allows; special quasirandom structures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.alloys import composition_grid, vegard
from mlip_autopipe.generation.candidate_input import atomic_volume_A3, checked_elements, crystal_atoms
from mlip_autopipe.generation.enumeration import (
    SITES,
    Decoration,
    Limits,
    check_composition_range,
    check_parents,
    fitting_decorations,
    within,
)
from mlip_autopipe.generation.matching import Crystal, Distinct, grouped
from mlip_autopipe.generation.ordered_prototypes import PROTOTYPE_NAMES, decorated, occupations, prototype
from mlip_autopipe.generation.prototypes import ground_state_structure

if TYPE_CHECKING:
    from ase import Atoms

Kind = Literal["element", "prototype", "given", "enumerated", "quasirandom"]

DEFAULT_CANDIDATES: Final = 500
RELAXED: Final = {"ltol": 0.1, "stol": 0.1, "angle_tol": 3.0}
"""StructureMatcher's tolerances for relaxed structures of the same energy and volume."""
_RELAXED_MOMENTS: Final = 0.1
_RELAXED_COPIES: Final = 0.02


@dataclass(frozen=True, eq=False)
class CandidateStructure:
    """A structure that may be stable.

    Attributes
    ----------
    name
        As ``L1_2 AuCu3``, ``fcc-0123 Au1Cu3`` or ``sqs fcc Au8Cu8``; every name occurs once.
    kind
        element, prototype, given (by the user), enumerated or quasirandom.
    parent
        Lattice that it decorates: fcc, bcc or hcp; None for others and for structures that the user gives.
    atoms
        Not relaxed.
    composition
        Atomic fractions of all elements of the system, in alphabetical order.
    """

    name: str
    kind: Kind
    parent: str | None
    atoms: Atoms
    composition: dict[str, float]


def make_candidates(
    elements: Sequence[str],
    *,
    parents: Sequence[str] = ("fcc", "bcc", "hcp"),
    max_sites: int | None = None,
    max_candidates: int | None = None,
    composition_range: Limits | None = None,
    prototypes: Sequence[str] | None = None,
    n_sqs: int = 1,
    sqs_sites: int = 16,
    user_structures: Mapping[str, Any] | Sequence[Any] = (),
    seed: int = 0,
) -> list[CandidateStructure]:
    """Collect the candidates of a phase diagram.

    Of copies, sizes aside, the first in this order is kept: elements, prototypes, given structures, enumerated,
    quasirandom ones; so an enumerated L1_2 has that name.

    Parameters
    ----------
    elements
        Two or more symbols.
    parents
        Lattices that are decorated.
    max_sites
        Largest number of atoms in enumerated cells; None: as `max_candidates` allows.
    max_candidates
        Largest number of all candidates; it sets the size of enumerated cells. None: no limit if `max_sites` is given,
        else `DEFAULT_CANDIDATES`.
    composition_range
        Limits that all but the elements keep.
    prototypes
        Names of `PROTOTYPES`; None: all.
    n_sqs
        Number of compositions of quasirandom structures on each parent, the middle of the range first; 0: none.
    sqs_sites
        Their atoms, roughly; what holds the composition best is taken.
    user_structures
        Further structures, ASE's Atoms or pymatgen's Structure, by name if they have one.
    seed
        Of the quasirandom structures; equal arguments give equal candidates.

    Returns
    -------
    list of CandidateStructure
        In the order above.

    Raises
    ------
    InvalidInputError
        Fewer than two elements; one whose size is not tabulated; limits that cannot be met; an unknown lattice or
        prototype; a given structure with other elements, outside of the limits, or with overlapping atoms; fewer
        candidates allowed than there are without enumeration.
    EnvironmentProblemError
        icet is not installed.
    """
    collection = _Collection(checked_elements(elements), composition_range)
    check_parents(parents)
    collection.add_elements(parents)
    collection.add_prototypes(PROTOTYPE_NAMES if prototypes is None else prototypes)
    collection.add_given(user_structures)
    quasirandom = collection.quasirandom_alloys(parents, n_sqs, sqs_sites)
    if max_candidates is None and max_sites is None:
        max_candidates = DEFAULT_CANDIDATES
    fixed = len(collection.found) + len(quasirandom)
    if max_candidates is not None and max_candidates < fixed:
        raise InvalidInputError(
            f"max_candidates is {max_candidates}, but there are {fixed} candidates before any is enumerated; allow "
            "more, or name fewer prototypes"
        )
    room = None if max_candidates is None else max_candidates - fixed
    collection.add_enumerated(
        fitting_decorations(
            parents, collection.elements, most=room, max_sites=max_sites, composition_range=composition_range
        )
    )
    collection.add_quasirandom(quasirandom, seed)
    return collection.found


def unknown_ground_states(elements: Sequence[str]) -> dict[str, str]:
    """Return, for elements whose ground state is not among the candidates, the sentence why; give it as a file."""
    found = {}
    for symbol in elements:
        try:
            ground_state_structure(symbol)
        except InvalidInputError as error:
            found[symbol] = str(error)
    return found


def same_after_relaxation(
    structures: Sequence[Atoms],
    energies_eV_per_atom: ArrayLike,
    *,
    energy_tolerance_eV_per_atom: float = 1e-3,
    volume_tolerance: float = 0.02,
) -> list[list[int]]:
    """Group relaxed candidates that have become the same phase.

    Those of a group have the composition of its lowest, its energy and volume within the tolerances, and its structure.

    Parameters
    ----------
    structures
        Relaxed.
    energies_eV_per_atom
        (n,) of the structures.
    energy_tolerance_eV_per_atom
        Largest difference.
    volume_tolerance
        Largest relative difference.

    Returns
    -------
    list of list of int
        Places of the structures, ascending within each group and by the first of each; every place occurs once.
        In the order of `make_candidates`, the first of a group has the most telling name.

    Raises
    ------
    InvalidInputError
        Numbers of structures and energies differ, or an energy is not finite.
    """
    energies = np.asarray(energies_eV_per_atom, dtype=float)
    if energies.shape != (len(structures),) or not np.isfinite(energies).all():
        raise InvalidInputError(
            f"{len(structures)} structures need as many finite energies per atom; leave out those that failed to relax"
        )
    return grouped(
        [Crystal(one, copies=_RELAXED_COPIES) for one in structures],
        energies,
        energy_tolerance_eV_per_atom=energy_tolerance_eV_per_atom,
        volume_tolerance=volume_tolerance,
        moments=_RELAXED_MOMENTS,
        tolerances=RELAXED,
    )


class _Collection:
    """Candidates as they are found."""

    def __init__(self, elements: list[str], limits: Limits | None) -> None:
        check_composition_range(elements, limits)
        self.elements = elements
        self.limits = limits
        self.volumes_A3 = {symbol: atomic_volume_A3(symbol) for symbol in elements}
        self.found: list[CandidateStructure] = []
        self._names: set[str] = set()
        self._distinct = Distinct()

    def add(
        self, name: str, kind: Kind, parent: str | None, atoms: Atoms, *, family: str = "", primitive: bool = False
    ) -> None:
        if not self._distinct.add(atoms, family=family, primitive=primitive):
            return
        unique = name
        number = 1
        while unique in self._names:
            number += 1
            unique = f"{name} ({number})"
        self._names.add(unique)
        composition = {symbol: atoms.symbols.count(symbol) / len(atoms) for symbol in self.elements}
        self.found.append(CandidateStructure(unique, kind, parent, atoms, composition))

    def add_elements(self, parents: Sequence[str]) -> None:
        from pymatgen.io.ase import AseAtomsAdaptor

        for symbol in self.elements:
            for parent in parents:
                self.add(f"{parent} {symbol}", "element", parent, _lattice(parent, {symbol: 1.0}), primitive=True)
            if symbol not in unknown_ground_states([symbol]):
                name, structure, _ = ground_state_structure(symbol)
                atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
                self.add(f"{name} {symbol}", "element", name if name in SITES else None, atoms)

    def add_prototypes(self, names: Sequence[str]) -> None:
        for chosen in [prototype(name) for name in names]:
            for count in range(2, min(len(self.elements), len(chosen.sublattices)) + 1):
                for subset in combinations(self.elements, count):
                    for occupation in occupations(chosen, subset):
                        atoms = decorated(chosen, occupation, self.volumes_A3)
                        x = {symbol: atoms.symbols.count(symbol) / len(atoms) for symbol in subset}
                        if not within(x, self.limits):
                            continue
                        if chosen.parent == "hcp":
                            ratio = vegard("hcp", x).c_over_a
                            atoms = decorated(chosen, occupation, self.volumes_A3, ratio)
                        name = f"{chosen.name} {_reduced_formula(atoms)}"
                        if len(x) > 2 and len(set(x.values())) == 1:
                            # the formula does not say who sits where
                            name += f" ({occupation[-1]} on {chosen.sublattices[-1][0][0]})"
                        self.add(name, "prototype", chosen.parent, atoms)

    def add_given(self, structures: Mapping[str, Any] | Sequence[Any]) -> None:
        named = isinstance(structures, Mapping)
        items = structures.items() if isinstance(structures, Mapping) else enumerate(structures, 1)
        for key, structure in items:
            origin = f"structure {key}" if named else f"structure {key} of user_structures"
            atoms = crystal_atoms(structure, origin)
            counts = {symbol: atoms.symbols.count(symbol) for symbol in dict.fromkeys(atoms.get_chemical_symbols())}
            if other := sorted(set(counts) - set(self.elements)):
                raise InvalidInputError(
                    f"{origin} holds {', '.join(other)}, which is none of the elements {', '.join(self.elements)}"
                )
            if len(counts) > 1 and not within({s: n / len(atoms) for s, n in counts.items()}, self.limits):
                raise InvalidInputError(
                    f"{origin} ({_reduced_formula(atoms)}) lies outside of composition_range; widen the limits or "
                    "leave it out"
                )
            self.add(str(key) if named else f"given-{key} {_reduced_formula(atoms)}", "given", None, atoms)

    def add_enumerated(self, decorations: Sequence[Decoration]) -> None:
        numbers: Counter[str] = Counter()
        for one in decorations:
            numbers[one.parent] += 1
            name = f"{one.parent}-{numbers[one.parent]:04d} {_formula(one.atoms)}"
            # no two of them are the same, since the lattices differ and each decoration comes once
            self.add(name, "enumerated", one.parent, one.atoms, family="enumerated", primitive=True)

    def quasirandom_alloys(
        self, parents: Sequence[str], n_compositions: int, n_sites: int
    ) -> list[tuple[str, int, dict[str, float]]]:
        """Return lattice, number of sites and composition of each quasirandom structure."""
        chosen: list[tuple[int, dict[str, float]]] = []
        for point in composition_grid(self.elements, self.limits):
            size, counts = _whole_numbers(point, n_sites)
            x = {symbol: count / size for symbol, count in counts.items() if count}
            if len(x) > 1 and within(x, self.limits) and (size, x) not in chosen:
                chosen.append((size, x))
        return [(parent, size, x) for parent in parents for size, x in chosen[:n_compositions]]

    def add_quasirandom(self, alloys: Sequence[tuple[str, int, dict[str, float]]], seed: int) -> None:
        from mlip_autopipe.generation.sqs import special_quasirandom_structure

        for parent, size, x in alloys:
            atoms = special_quasirandom_structure(_lattice(parent, x), x, size, seed=seed).atoms
            self.add(f"sqs {parent} {_formula(atoms)}", "quasirandom", parent, atoms)


def _lattice(parent: str, composition: Mapping[str, float]) -> Atoms:
    """Return the primitive cell of a lattice, of the size that belongs to a composition."""
    from ase.build import bulk

    guess = vegard(parent, composition)
    axial = {} if guess.c_over_a is None else {"covera": guess.c_over_a}
    return bulk(next(iter(composition)), parent, a=guess.a_A, **axial)


def _whole_numbers(fractions: Mapping[str, float], n_sites: int) -> tuple[int, dict[str, int]]:
    """Return the even number of sites near one that holds a composition best, and the atoms of each element."""
    halves = range(max(1, round(0.375 * n_sites)), max(1, round(0.75 * n_sites)) + 1)
    found = []
    for size in (2 * half for half in halves):
        counts = _shared_out(fractions, size)
        error = max(abs(x - counts[symbol] / size) for symbol, x in fractions.items())
        found.append((round(error, 9), abs(size - n_sites), size, counts))
    _, _, size, counts = min(found, key=lambda one: one[:3])
    return size, counts


def _shared_out(fractions: Mapping[str, float], size: int) -> dict[str, int]:
    """Largest remainders: the nearest composition in whole atoms."""
    counts = {symbol: int(x * size + 1e-6) for symbol, x in fractions.items()}
    by_rest = sorted(fractions, key=lambda symbol: counts[symbol] - fractions[symbol] * size)
    for symbol in by_rest[: size - sum(counts.values())]:
        counts[symbol] += 1
    return counts


def _formula(atoms: Atoms) -> str:
    symbols = atoms.get_chemical_symbols()
    return "".join(f"{symbol}{symbols.count(symbol)}" for symbol in sorted(set(symbols)))


def _reduced_formula(atoms: Atoms) -> str:
    symbols = atoms.get_chemical_symbols()
    counts = {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))}
    divisor = int(np.gcd.reduce(list(counts.values())))
    return "".join(symbol + (str(n // divisor) if n > divisor else "") for symbol, n in counts.items())
