"""First guesses of lattice constants; a cell relaxation follows, so a few per cent are good enough.

Elements in their ground-state structure have a measured lattice constant (ASE's table). Everything else is
guessed from a bond length:

- an element in another structure keeps its bond length, corrected for the coordination number with
  Goldschmidt's factors (12: 1.00, 8: 0.97, 6: 0.96, 4: 0.88);
- two metals take the mean of their bond lengths;
- an ionic pair takes the sum of Shannon's radii, any other pair the sum of Cordero's covalent radii.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from mlip_autopipe.errors import InvalidInputError

ASE_TABLE = "ASE reference_states (N. W. Ashcroft and N. D. Mermin, Solid State Physics)"
GOLDSCHMIDT = "V. M. Goldschmidt, Z. Phys. Chem. 133, 397 (1928)"
SHANNON = "Shannon, Acta Cryst. A 32, 751 (1976); doi:10.1107/S0567739476001551"
CORDERO = "Cordero et al., Dalton Trans. 2832 (2008); doi:10.1039/b801115j"
MOLAR_VOLUME = "molar volumes of the elements (pymatgen Element.molar_volume)"

IDEAL_C_OVER_A = sqrt(8 / 3)
AVOGADRO_A3 = 0.602214076
"""cm^3/mol to A^3 per atom: divide by this."""

COORDINATION: dict[str, int] = {
    "sc": 6,
    "fcc": 12,
    "bcc": 8,
    "hcp": 12,
    "diamond": 4,
    "rocksalt": 6,
    "cesiumchloride": 8,
    "zincblende": 4,
    "wurtzite": 4,
}
GOLDSCHMIDT_FACTOR: dict[int, float] = {12: 1.00, 8: 0.97, 6: 0.96, 4: 0.88}
# lattice constant a over the nearest-neighbour distance, with ideal c/a
_A_OVER_BOND: dict[str, float] = {
    "sc": 1.0,
    "fcc": sqrt(2),
    "bcc": 2 / sqrt(3),
    "hcp": 1.0,
    "diamond": 4 / sqrt(3),
    "rocksalt": 2.0,
    "cesiumchloride": 2 / sqrt(3),
    "zincblende": 4 / sqrt(3),
    "wurtzite": sqrt(8 / 3),
}
_IONIC_ELECTRONEGATIVITY_DIFFERENCE = 1.5
_ROMAN = {4: ("IV", "VI"), 6: ("VI", "IV", "VIII"), 8: ("VIII", "VI", "IV")}


@dataclass(frozen=True)
class LatticeGuess:
    """A lattice constant and how it was found.

    Attributes
    ----------
    a_A
        Lattice constant in Angstrom: of the cubic cell, or of the hexagonal basal plane.
    c_over_a
        Axial ratio of hcp and wurtzite, None for cubic structures.
    measured
        True for a tabulated ground state, False for an estimate (some per cent off).
    basis
        How it was found, in words.
    source
        Table or paper.
    """

    a_A: float
    c_over_a: float | None
    measured: bool
    basis: str
    source: str


def lattice_guess(elements: list[str], crystal_structure: str) -> LatticeGuess:
    """Guess the lattice constant of a prototype.

    Parameters
    ----------
    elements
        One symbol, or two for rocksalt, cesiumchloride, zincblende and wurtzite.
    crystal_structure
        Name of the prototype.

    Raises
    ------
    InvalidInputError
        When no tabulated size of an element exists.
    """
    from ase.data import atomic_numbers, reference_states

    hexagonal = crystal_structure in ("hcp", "wurtzite")
    c_over_a = IDEAL_C_OVER_A if hexagonal else None
    if len(elements) == 1:
        state: dict[str, Any] = reference_states[atomic_numbers[elements[0]]] or {}
        if state.get("symmetry") == crystal_structure and "a" in state:
            return LatticeGuess(
                a_A=float(state["a"]),
                c_over_a=float(state["c/a"]) if hexagonal else None,
                measured=True,
                basis=f"measured lattice constant of {elements[0]} in its {crystal_structure} ground state",
                source=ASE_TABLE,
            )
    bond, basis, source = _bond_length(elements, COORDINATION[crystal_structure])
    return LatticeGuess(
        a_A=round(bond * _A_OVER_BOND[crystal_structure], 4),
        c_over_a=c_over_a,
        measured=False,
        basis=basis,
        source=source,
    )


def _bond_length(elements: list[str], coordination: int) -> tuple[float, str, str]:
    from pymatgen.core import Element

    factor = GOLDSCHMIDT_FACTOR[coordination]
    if len(elements) == 1 or all(Element(symbol).is_metal for symbol in elements):
        found = [_close_packed_bond(symbol) for symbol in elements]
        mean = sum(bond for bond, _ in found) / len(found)
        sources = list(dict.fromkeys([source for _, source in found] + [GOLDSCHMIDT]))
        what = "bond length" if len(elements) == 1 else "mean of the metals' bond lengths"
        return mean * factor, f"{what} for {coordination} neighbours (factor {factor:g})", "; ".join(sources)
    ionic = _ionic_bond(elements, coordination)
    if ionic is not None:
        return ionic, f"sum of ionic radii for {coordination} neighbours", SHANNON
    bond = sum(_covalent_radius(symbol) for symbol in elements)
    if coordination == 4 or any(Element(symbol).is_transition_metal for symbol in elements):
        # radii of transition metals were taken from crystals with many neighbours
        return bond, "sum of covalent radii", CORDERO
    # the other radii describe at most four neighbours; more neighbours make bonds longer
    bond *= factor / GOLDSCHMIDT_FACTOR[4]
    return bond, f"sum of covalent radii, corrected for {coordination} neighbours", f"{CORDERO}; {GOLDSCHMIDT}"


def _close_packed_bond(symbol: str) -> tuple[float, str]:
    """Bond length in A that the element would have with 12 neighbours, and its source."""
    from ase.data import atomic_numbers, reference_states
    from pymatgen.core import Element

    state: dict[str, Any] = reference_states[atomic_numbers[symbol]] or {}
    symmetry = state.get("symmetry")
    if symmetry == "hcp" and "basis" not in state:
        # zinc and cadmium are far from ideal c/a: take the bond of the ideal crystal of the same volume
        volume = state["a"] ** 3 * state["c/a"] * sqrt(3) / 4
        return float((sqrt(2) * volume) ** (1 / 3)), ASE_TABLE
    if symmetry in ("sc", "fcc", "bcc", "diamond"):
        bond = state["a"] / _A_OVER_BOND[symmetry]
        return float(bond / GOLDSCHMIDT_FACTOR[COORDINATION[symmetry]]), ASE_TABLE
    if Element(symbol).is_metal:
        molar = _number(Element(symbol), "molar_volume")
        if molar is not None:
            return float((sqrt(2) * molar / AVOGADRO_A3) ** (1 / 3)), MOLAR_VOLUME
    if symmetry in ("diatom", "atom"):
        raise InvalidInputError(
            f"{symbol} is a gas of {'molecules' if symmetry == 'diatom' else 'atoms'}, so the size of its crystal "
            "cannot be guessed; give target_system.structure (a POSCAR, CIF or extxyz file) instead of a prototype"
        )
    return 2 * _covalent_radius(symbol) / GOLDSCHMIDT_FACTOR[4], CORDERO


def _covalent_radius(symbol: str) -> float:
    from ase.data import atomic_numbers, covalent_radii

    if atomic_numbers[symbol] > 96:  # the table ends at curium; ASE pads it with 0.2 or 2.0
        raise InvalidInputError(
            f"no size of {symbol} is tabulated, so its lattice constant cannot be guessed; "
            "give target_system.structure (a POSCAR, CIF or extxyz file) instead of a prototype"
        )
    return float(covalent_radii[atomic_numbers[symbol]])


def _ionic_bond(elements: list[str], coordination: int) -> float | None:
    """Sum of Shannon radii in A, or None when the pair is not ionic or a radius is missing."""
    from pymatgen.core import Element

    cation, anion = sorted((Element(symbol) for symbol in elements), key=_electronegativity)
    charge = {17: 1, 16: 2, 15: 3}.get(anion.group)
    if charge is None or not cation.is_metal:
        return None
    difference = _electronegativity(anion) - _electronegativity(cation)
    if coordination == 4 and difference < _IONIC_ELECTRONEGATIVITY_DIFFERENCE:
        return None
    radii = [_shannon_radius(cation, charge, coordination), _shannon_radius(anion, -charge, coordination)]
    return None if None in radii else sum(r for r in radii if r is not None)


def _shannon_radius(element: Any, charge: int, coordination: int) -> float | None:
    by_coordination = (element.data.get("Shannon radii") or {}).get(str(charge), {})
    for roman in _ROMAN[coordination]:
        spins = by_coordination.get(roman)
        if spins:
            # high spin is what weak-field ligands give; where it does not exist there is one entry
            chosen = spins.get("High Spin") or next(iter(spins.values()))
            return float(chosen["ionic_radius"])
    return None


def _electronegativity(element: Any) -> float:
    return _number(element, "X") or 0.0


def _number(element: Any, attribute: str) -> float | None:
    """Return a tabulated number of pymatgen, or None where it has none (it only warns)."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = getattr(element, attribute, None)
    if value is None or not isfinite(float(value)):
        return None
    return float(value)
