"""What is known of elements and compositions before anything is computed: bonding, magnetism, melting point.

The rules err on the side that costs time, not correctness: a material that might be a metal is treated as one (dense
k-points and smearing do no harm in an insulator), a material that might be magnetic gets a spin-polarised start.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure

PERIODIC_TABLE = "periodic table (pymatgen Element)"
CLOSED_SHELL_RULE = "closed-shell counting, Mooser and Pearson, doi:10.1103/PhysRev.101.1608"
KITTEL = "C. Kittel, Introduction to Solid State Physics, chapters on ferro- and antiferromagnetism"
MELTING_POINTS = "melting points of the elements (pymatgen Element.melting_point)"

ELEMENTAL_SEMIMETALS = frozenset({"As", "Sb", "Bi", "Po"})
"""Overlapping bands: they need smearing and dense k-points like a metal, whatever the table calls them."""

METALLIC_WHEN_CLOSE_PACKED = frozenset({"C", "Si", "Ge", "P", "Se", "Te", "I"})
"""Not metals in their open ground-state structures; metals with six or more neighbours (high-pressure phases)."""

MIN_METALLIC_COORDINATION = 6
_NEIGHBOUR_SHELL = 1.2

INITIAL_MOMENTS: dict[str, float] = {
    # ferromagnets: above the measured moment (2.2, 1.7, 0.6), because a start from below can fall into the
    # nonmagnetic solution
    "Fe": 3.0,
    "Co": 2.5,
    "Ni": 1.5,
    # antiferromagnets and complex order
    "Cr": 3.0,
    "Mn": 4.0,
    # half-filled and nearly half-filled 4f shells: number of unpaired 4f electrons
    "Eu": 7.0,
    "Gd": 7.0,
    "Tb": 6.0,
    "Dy": 5.0,
    "Ho": 4.0,
    "Er": 3.0,
    "Tm": 2.0,
}
"""Ferromagnetic start moment of elements that are likely to be magnetic, Bohr magnetons per atom."""

NOT_FERROMAGNETIC = frozenset({"Cr", "Mn"})
"""Elements whose ground state is antiferromagnetic: a ferromagnetic start is a guess that is probably wrong."""

# Positive oxidation states that leave an empty, full or s2 shell; others leave an open shell.
_CLOSED_SHELL_BY_GROUP: dict[int, tuple[int, ...]] = {
    1: (1,),
    2: (2,),
    3: (3,),
    4: (4,),
    5: (5,),
    6: (6,),
    7: (7,),
    11: (1,),
    12: (2,),
    13: (3,),
    14: (4, 2),
    15: (5, 3),
    16: (6, 4),
    17: (7, 5, 1),
}
_CLOSED_SHELL_EXTRA: dict[str, tuple[int, ...]] = {
    "In": (3, 1),
    "Tl": (3, 1),
    "Au": (1,),
    "Ce": (4,),
    "Yb": (2,),
    "Lu": (3,),
    "Th": (4,),
    "U": (6,),
}
_ANION_CHARGE: dict[int, int] = {14: -4, 15: -3, 16: -2, 17: -1}


@dataclass(frozen=True)
class Classified:
    """A yes-or-no property of a material with its reason.

    Attributes
    ----------
    value
        The answer.
    reason
        Why, in one clause.
    source
        Where the rule comes from.
    warning
        A sentence for the user when the answer is a guess that may matter.
    """

    value: bool
    reason: str
    source: str
    warning: str | None = None


def classify_metal(structure: Structure) -> Classified:
    """Decide whether a crystal is treated as a metal.

    - Elements: metals, semimetals (As, Sb, Bi, also Po) and graphite-like carbon yes; others no, except C, Si, Ge, P,
      Se, Te and I with at least six neighbours (high-pressure phases are metals).
    - Only metals: yes (intermetallic).
    - No metal at all: no, except close-packed mixtures of C, Si and Ge.
    - Metals with nonmetals: no when closed-shell oxidation states balance (NaCl, MgO, TiO2, GaAs); yes when
      they do not (TiN, Fe3C, FeO), and for carbides, silicides and borides of transition metals.

    Parameters
    ----------
    structure
        Its composition decides; its coordination numbers only for the elements named above.
    """
    from pymatgen.core import Element

    symbols = sorted({site.specie.symbol for site in structure})
    elements = [Element(symbol) for symbol in symbols]
    name = structure.composition.reduced_formula
    metals = [e for e in elements if e.is_metal]
    if len(metals) == len(elements):
        what = "a metal" if len(elements) == 1 else "a compound or alloy of metals only"
        return Classified(True, f"{name} is {what}", PERIODIC_TABLE)
    if len(elements) == 1:
        return _classify_element(symbols[0], structure)
    if not metals:
        if set(symbols) <= {"C", "Si", "Ge"} and coordination_number(structure) >= MIN_METALLIC_COORDINATION:
            return Classified(True, f"{name} has at least six neighbours per atom, as metals have", PERIODIC_TABLE)
        return Classified(False, f"{name} contains no metal", PERIODIC_TABLE)
    hard = [e.symbol for e in metals if e.is_transition_metal]
    group_14 = [e.symbol for e in elements if e.symbol in ("B", "C", "Si", "Ge")]
    if hard and group_14 and not _has_strong_anion(elements):
        return Classified(
            True,
            f"{name} is a transition-metal compound with {', '.join(group_14)}, mostly metallic",
            CLOSED_SHELL_RULE,
        )
    if _balances_with_closed_shells(structure):
        return Classified(False, f"closed-shell oxidation states balance in {name}", CLOSED_SHELL_RULE)
    return Classified(
        True,
        f"no closed-shell oxidation states balance in {name}, so bands may be partly filled",
        CLOSED_SHELL_RULE,
        warning=(
            f"{name} is treated as a metal because no closed-shell oxidation states balance; if it is an insulator, "
            "set overrides: {material.is_metal: false} to save time"
        ),
    )


def classify_magnetic(structure: Structure) -> Classified:
    """Decide whether the reference calculation starts spin-polarised.

    Moments in the structure (site property ``magmom``) decide where they exist; otherwise the elements of
    `INITIAL_MOMENTS` do, and pure oxygen (a triplet).
    """
    name = structure.composition.reduced_formula
    moments = structure.site_properties.get("magmom")
    if moments is not None:
        if any(abs(m) > 1e-6 for m in moments):
            return Classified(True, "the structure file gives magnetic moments", "input.yaml: target_system.structure")
        return Classified(
            False, "the structure file gives zero magnetic moments", "input.yaml: target_system.structure"
        )
    symbols = sorted({site.specie.symbol for site in structure})
    likely = [s for s in symbols if s in INITIAL_MOMENTS]
    if symbols == ["O"]:
        return Classified(True, "O2 molecules have a triplet ground state", KITTEL)
    if not likely:
        return Classified(False, f"no element of {name} orders magnetically by itself", KITTEL)
    wrong_order = [s for s in likely if s in NOT_FERROMAGNETIC]
    warning = f"{name} starts ferromagnetic; a structure file with moments (extxyz, initial_magmoms) sets another order"
    if wrong_order:
        warning = (
            f"{', '.join(wrong_order)} prefers antiferromagnetic order but {name} starts ferromagnetic in the "
            "primitive cell; give a structure file with moments (extxyz, initial_magmoms) for another order"
        )
    return Classified(True, f"{', '.join(likely)} is likely to be magnetic", KITTEL, warning=warning)


def initial_moments(structure: Structure) -> list[float]:
    """Return the start moment of every atom in Bohr magnetons (ferromagnetic unless the file says otherwise)."""
    given = structure.site_properties.get("magmom")
    if given is not None and any(abs(m) > 1e-6 for m in given):
        return [float(m) for m in given]
    symbols = {site.specie.symbol for site in structure}
    if symbols == {"O"}:
        return [1.0] * len(structure)
    if not symbols & set(INITIAL_MOMENTS):
        # the user says that it is magnetic although no rule does
        return [1.0] * len(structure)
    return [INITIAL_MOMENTS.get(site.specie.symbol, 0.0) for site in structure]


def melting_point(structure: Structure) -> float | None:
    """Return the melting point of the element, or the composition-weighted mean of an alloy's metals, in K.

    None when it is not tabulated, and for compounds with nonmetals, whose melting points have nothing to do with
    their elements'. The mean is a scale for temperatures, not a prediction.
    """
    if len(structure.composition) > 1 and not all(e.is_metal for e in structure.composition):
        return None
    total = 0.0
    for element, fraction in structure.composition.fractional_composition.items():
        value = _melting_point_of(element)
        if value is None:
            return None
        total += float(fraction) * value
    return round(total, 2)


def coordination_number(structure: Structure) -> float:
    """Return the mean number of neighbours within 1.2 times the shortest distance of the crystal."""
    radius = (structure.volume / len(structure)) ** (1 / 3)
    while True:
        first, _, _, distances = structure.get_neighbor_list(radius)
        if len(first):
            break
        radius *= 1.3
    shell = float(min(distances)) * _NEIGHBOUR_SHELL
    first, _, _, _ = structure.get_neighbor_list(shell)
    return len(first) / len(structure)


def _classify_element(symbol: str, structure: Structure) -> Classified:
    if symbol in ELEMENTAL_SEMIMETALS:
        return Classified(
            True, f"{symbol} has overlapping bands (semimetal or metal) and needs a metal's treatment", PERIODIC_TABLE
        )
    neighbours = coordination_number(structure)
    if symbol in METALLIC_WHEN_CLOSE_PACKED and neighbours >= MIN_METALLIC_COORDINATION:
        return Classified(
            True,
            f"{symbol} with {neighbours:.0f} neighbours per atom is a high-pressure, metallic phase",
            PERIODIC_TABLE,
            warning=f"{symbol} in a close-packed structure is treated as a metal",
        )
    if symbol == "C" and neighbours < 3.5:
        return Classified(True, "carbon with three neighbours is a semimetal (graphite)", PERIODIC_TABLE)
    from pymatgen.core import Element

    what = "metalloid with a gap" if Element(symbol).is_metalloid else "nonmetal"
    return Classified(False, f"{symbol} is a {what}", PERIODIC_TABLE)


def _has_strong_anion(elements: list[Any]) -> bool:
    """Whether a halogen, chalcogen or nitrogen takes the electrons (SrSiO3 is no silicide)."""
    return any(e.group in (16, 17) and not e.is_metal for e in elements)


def _balances_with_closed_shells(structure: Structure) -> bool:
    """Whether one closed-shell oxidation state per element adds up to a neutral crystal."""
    amounts = {element: float(n) for element, n in structure.composition.items()}
    options = [_closed_shell_states(element) for element in amounts]
    return any(
        any(s < 0 for s in states)
        and abs(sum(n * s for n, s in zip(amounts.values(), states, strict=True))) < 1e-6 * len(structure)
        for states in product(*options)
    )


def _closed_shell_states(element: Any) -> list[int]:
    positive = _CLOSED_SHELL_EXTRA.get(element.symbol)
    if positive is None:
        open_4f_or_5f = (element.is_lanthanoid and element.symbol != "La") or element.is_actinoid
        positive = () if open_4f_or_5f else _CLOSED_SHELL_BY_GROUP.get(element.group, ())
    if element.symbol == "H":
        return [1, -1]
    if element.symbol in ("O", "F"):
        positive = ()
    states = list(positive)
    if not element.is_metal and element.group in _ANION_CHARGE:
        states.append(_ANION_CHARGE[element.group])
    return states


def _melting_point_of(element: Any) -> float | None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = getattr(element, "melting_point", None)
    return None if value is None else float(value)
