"""From ``target_system`` to the start structure and what is known of the material."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.lattice import LatticeGuess, lattice_guess
from mlip_autopipe.generation.prototypes import (
    BINARY_PROTOTYPES,
    ELEMENT_PROTOTYPES,
    ground_state_structure,
    prototype_structure,
)
from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.heuristics.elements import (
    MELTING_POINTS,
    classify_magnetic,
    classify_metal,
    initial_moments,
    melting_point,
)
from mlip_autopipe.schemas.config import TargetSystem
from mlip_autopipe.schemas.system import Material

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from mlip_autopipe.generation.alloys import Alloy

INPUT = "input.yaml: target_system"
PRIMITIVE_TOLERANCE_A = 1e-3


def choose_material(
    target: TargetSystem, choices: Choices, *, alloy: Alloy | None = None, has_electrons: bool = True
) -> tuple[Material, Structure]:
    """Build the start structure and describe the material.

    Parameters
    ----------
    target
        What the user asked for.
    choices
        Takes the reasons and warnings.
    alloy
        The random alloy that the target means.
    has_electrons
        False for classical potentials: guesses of electrons and spins then need no warning.

    Returns
    -------
    material, structure
        The section of the plan, and its structure; magnetic ones carry the site property ``magmom``.

    Raises
    ------
    InvalidInputError
        The structure cannot be built or read.
    """
    structure, why, source = _start_structure(target, choices) if alloy is None else _from_alloy(alloy, choices)

    metal = classify_metal(structure)
    is_metal = choices.choose("material.is_metal", metal.value, metal.reason, metal.source)
    if has_electrons and "material.is_metal" not in choices.overrides:
        choices.warn(metal.warning)

    magnetic = classify_magnetic(structure)
    is_magnetic = choices.choose("material.is_magnetic", magnetic.value, magnetic.reason, magnetic.source)
    if has_electrons and "material.is_magnetic" not in choices.overrides:
        choices.warn(magnetic.warning)
    if is_magnetic:
        structure.add_site_property("magmom", initial_moments(structure))
    elif "magmom" in structure.site_properties:
        structure.remove_site_property("magmom")

    elements = list(dict.fromkeys(site.specie.symbol for site in structure))
    formula = structure.composition.reduced_formula
    for path in ("formula", "elements", "n_atoms"):
        choices.choose(f"material.{path}", None, "count of the start structure's atoms", source)
    choices.choose("material.structure", None, why, source)
    melts_at = choices.choose(
        "material.melting_point_K",
        melting_point(structure),
        "melting point of the element"
        if len(elements) == 1
        else "composition-weighted mean of the metals; none for compounds with nonmetals",
        MELTING_POINTS,
    )
    material = Material(
        formula=formula,
        elements=elements,
        n_atoms=len(structure),
        structure=json.loads(structure.to_json()),  # plain JSON: lists, no tuples
        is_metal=is_metal,
        is_magnetic=is_magnetic,
        melting_point_K=melts_at,
    )
    return material, structure


def _start_structure(target: TargetSystem, choices: Choices) -> tuple[Structure, str, str]:
    """Return the primitive start structure, how it was made, and the source."""
    if target.structure is not None:
        return _from_file(target, choices)
    elements = target.elements
    assert elements is not None, "the schema demands elements or structure"
    if target.crystal_structure is not None:
        structure = prototype_structure(elements, target.crystal_structure, target.composition)
        name = str(target.crystal_structure)
        guess = lattice_guess(elements, name)
    elif len(elements) == 1:
        name, structure, guess = ground_state_structure(elements[0])
    else:
        raise InvalidInputError(
            f"target_system names {', '.join(elements)} without a crystal structure; add crystal_structure "
            f"({', '.join(BINARY_PROTOTYPES)}) or give structure (a POSCAR, CIF or extxyz file) instead"
        )
    _warn_of_guess(elements, name, guess, choices)
    axial = "" if guess.c_over_a is None else f", c/a = {guess.c_over_a:.4g}"
    chosen = "" if target.crystal_structure is not None else " (the ground-state structure)"
    why = f"primitive {name} cell{chosen}, a = {guess.a_A:.4g} A{axial}: {guess.basis}; it is relaxed first"
    return structure, why, guess.source


def _from_alloy(alloy: Alloy, choices: Choices) -> tuple[Structure, str, str]:
    guess = alloy.guess
    choices.warn(
        f"the lattice constant of {alloy.name} is a guess, a = {guess.a_A:.3f} A ({guess.basis}), and may be off by "
        "some per cent; the cell is relaxed first"
    )
    why = (
        f"special quasirandom structure {alloy.name} of {len(alloy.structure)} atoms, "
        f"a = {guess.a_A:.4g} A: {guess.basis}"
    )
    return alloy.structure, why, f"doi:10.1103/PhysRevLett.65.353; {guess.source}"


def _warn_of_guess(elements: list[str], name: str, guess: LatticeGuess, choices: Choices) -> None:
    if guess.measured:
        return
    choices.warn(
        f"the lattice constant of {''.join(elements)} ({name}) is a guess, a = {guess.a_A:.3f} A ({guess.basis}), and "
        "may be off by 10 %; the cell is relaxed first, and a structure file gives a better start"
    )
    if len(elements) == 1 and name in ELEMENT_PROTOTYPES:
        choices.warn(
            f"{name} is not the tabulated ground state of {elements[0]}; it may be mechanically unstable, and the "
            "result then says so"
        )


def _from_file(target: TargetSystem, choices: Choices) -> tuple[Structure, str, str]:
    from mlip_autopipe.generation.files import read_structure
    from mlip_autopipe.generation.primitive import primitive_cell

    path = target.structure
    assert path is not None, "only called with a structure file"
    given = read_structure(path)
    structure = primitive_cell(given, PRIMITIVE_TOLERANCE_A)
    if structure is given:
        why = f"the {len(given)} atoms of {path.name}, already primitive, in the file's orientation"
    else:
        why = (
            f"primitive cell ({len(structure)} atoms) of the {len(given)} atoms in {path.name}, "
            "in the file's orientation"
        )
        choices.warn(
            f"{path.name} holds {len(given)} atoms; its primitive cell of {len(structure)} atoms is used, which gives "
            "the same elastic constants for less"
        )
    return structure, why, "input.yaml: target_system.structure"
