"""Rules for random alloys: which compositions are looked at, and in which cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.alloys import Alloy, alloy, composition_grid
from mlip_autopipe.generation.prototypes import ELEMENT_PROTOTYPES
from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.schemas.config import Goal, TargetSystem
from mlip_autopipe.schemas.otf import StartStructure

DESIGN = "docs/learning.md"
ALLOY_ATOMS = 32
"""Of a quasirandom structure: its pair correlations are those of the random alloy over some shells."""
IDENTITY = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def own_alloy(target: TargetSystem, goal: Goal, choices: Choices) -> Alloy | None:
    """Return the random alloy that the user asks for, in the middle of its range if it is one; None: no alloy.

    Parameters
    ----------
    target, goal
        What the user asks for.
    choices
        Takes warnings.

    Raises
    ------
    InvalidInputError
        The goal needs one composition and there is none, or cannot be reached for a random alloy.
    """
    if not _is_alloy(target):
        if target.composition_range is not None:
            raise InvalidInputError(
                "target_system.composition_range needs random alloys, which live on the sites of an element's "
                f"prototype; choose crystal_structure ({', '.join(ELEMENT_PROTOTYPES)}) or remove it"
            )
        return None
    assert target.elements is not None
    what = f"{', '.join(target.elements)} on the sites of {target.crystal_structure} is a random alloy"
    if goal == "elastic":
        raise InvalidInputError(
            f"{what}, whose elastic constants this version cannot measure; "
            "give target_system.structure (a POSCAR, CIF or extxyz file of an ordered crystal) instead"
        )
    if goal not in ("potential", "phase_diagram") and target.composition is None:
        raise InvalidInputError(
            f"{what}; goal {goal} needs its composition: add composition "
            f"({', '.join(f'{symbol}: {1 / len(target.elements):.2g}' for symbol in target.elements)}, for example)"
        )
    if goal == "equilibrate":
        choices.warn(
            "lattice parameters are those of one quasirandom cell, which has no symmetry; what holds for the alloy are "
            "volume per atom, density and volumetric expansion"
        )
    return _in_cell(target, target.composition or composition_grid(target.elements, target.composition_range)[0])


def other_alloys(target: TargetSystem, goal: Goal, choices: Choices) -> list[StartStructure]:
    """Choose the further compositions that a potential for a whole range has to know; none for anything else."""
    found: list[StartStructure] = []
    why = "one crystal is asked for"
    if goal in ("potential", "phase_diagram") and target.composition is None and _is_alloy(target):
        assert target.elements is not None
        grid = composition_grid(target.elements, target.composition_range)[1:]
        found = [_start(_in_cell(target, composition)) for composition in grid]
        why = (
            "no composition is given, so the potential has to hold for the whole range: its corners and the middles "
            "between them; random alloys by special quasirandom structures"
        )
    chosen: list[Any] = choices.choose("otf.others", found, why, DESIGN)
    return chosen


def _is_alloy(target: TargetSystem) -> bool:
    return (
        target.structure is None
        and target.elements is not None
        and len(target.elements) > 1
        and target.crystal_structure in ELEMENT_PROTOTYPES
    )


def _in_cell(target: TargetSystem, composition: Mapping[str, float]) -> Alloy:
    from mlip_autopipe.generation.prototypes import prototype_structure
    from mlip_autopipe.heuristics.learning import choose_supercell

    assert target.elements is not None, "an alloy has elements"
    assert target.crystal_structure is not None, "and sites"
    primitive = prototype_structure(target.elements[:1], target.crystal_structure)
    matrix, _ = choose_supercell(primitive, ALLOY_ATOMS, spread=1.0)
    return alloy(target.crystal_structure, composition, matrix)


def _start(one: Alloy) -> StartStructure:
    import json

    from mlip_autopipe.heuristics.learning import MIN_ATOMS, choose_supercell

    matrix = IDENTITY if len(one.structure) >= MIN_ATOMS else choose_supercell(one.structure, MIN_ATOMS)[0]
    return StartStructure(name=one.name, structure=json.loads(one.structure.to_json()), supercell=matrix)
