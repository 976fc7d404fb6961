"""Named structures of ordered compounds, decorated in all ways by the elements of a system.

Space groups, Wyckoff positions and free parameters are those of the AFLOW prototype encyclopedia
(doi:10.1016/j.commatsci.2017.01.017, doi:10.1016/j.commatsci.2018.10.043), whose labels are given. Structures that
order on a lattice have the ideal parameters of that lattice instead of those of their namesake, so that they *are*
decorations of it: a relaxation finds the rest. Laves phases are those of ideal spheres. Sites of the sigma phase are
occupied by coordination number, as compounds of this kind prefer them (doi:10.3390/app2030669). The inverse Heusler
structure is described in doi:10.1016/j.progsolidstchem.2011.02.001.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.lattice import IDEAL_C_OVER_A
from mlip_autopipe.schemas.words import suggestion

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

ENCYCLOPEDIA: Final = "doi:10.1016/j.commatsci.2017.01.017; doi:10.1016/j.commatsci.2018.10.043"

Site = tuple[str, tuple[float, float, float]]
"""Wyckoff position with its multiplicity, and the fractional coordinates of one of its sites."""

_HEXAGONAL = range(143, 195)
_SAME_POSITION = 1e-4
_SYMPREC = 1e-4


@dataclass(frozen=True)
class OrderedPrototype:
    """An ordered structure.

    Attributes
    ----------
    name
        Strukturbericht designation where there is one.
    example
        Compound that it is named after.
    space_group
        Number in the International Tables.
    lengths
        a, b and c of the conventional cell, in units of a; its angles are those of the crystal system.
    sublattices
        Sites that hold one element, for each sublattice.
    aflow
        Label in the encyclopedia; empty for the inverse Heusler structure.
    parent
        Lattice that it decorates: fcc, bcc, hcp, or None.
    hexagonal_axis
        Axis of the conventional cell along the c axis of the hcp parent.
    repeated
        Whether one element may occupy several sublattices.
    """

    name: str
    example: str
    space_group: int
    lengths: tuple[float, float, float]
    sublattices: tuple[tuple[Site, ...], ...]
    aflow: str
    parent: str | None = None
    hexagonal_axis: int | None = None
    repeated: bool = False


_ROOT2 = sqrt(2.0)
_HALF = (0.5, 0.5, 0.5)
_QUARTER = (0.25, 0.25, 0.25)
_ORIGIN = (0.0, 0.0, 0.0)
_CUBE = (1.0, 1.0, 1.0)

PROTOTYPES: Final = (
    OrderedPrototype(
        "L1_0", "AuCu", 123, (1, 1, _ROOT2), ((("1a", _ORIGIN),), (("1d", _HALF),)), "AB_tP2_123_a_d", "fcc"
    ),
    OrderedPrototype(
        "L1_1", "CuPt", 166, (1, 1, 2 * sqrt(6)), ((("3a", _ORIGIN),), (("3b", (0, 0, 0.5)),)), "AB_hR2_166_a_b", "fcc"
    ),
    OrderedPrototype(
        "L1_2", "AuCu3", 221, _CUBE, ((("1a", _ORIGIN),), (("3c", (0, 0.5, 0.5)),)), "AB3_cP4_221_a_c", "fcc"
    ),
    OrderedPrototype(
        "D0_22",
        "TiAl3",
        139,
        (1, 1, 2),
        ((("2a", _ORIGIN),), (("2b", (0, 0, 0.5)), ("4d", (0, 0.5, 0.25)))),
        "A3B_tI8_139_bd_a",
        "fcc",
    ),
    OrderedPrototype(
        "D0_23",
        "ZrAl3",
        139,
        (1, 1, 4),
        ((("4e", (0, 0, 1 / 8)),), (("4c", (0, 0.5, 0)), ("4d", (0, 0.5, 0.25)), ("4e", (0, 0, 3 / 8)))),
        "A3B_tI16_139_cde_e",
        "fcc",
    ),
    OrderedPrototype(
        "MoPt2",
        "MoPt2",
        71,
        (1, 3, _ROOT2),
        ((("2a", _ORIGIN),), (("4g", (0, 1 / 3, 0)),)),
        "AB2_oI6_71_a_g",
        "fcc",
    ),
    OrderedPrototype(
        "D1_a", "MoNi4", 87, (1, 1, sqrt(0.4)), ((("2a", _ORIGIN),), (("8h", (0.2, 0.4, 0)),)), "AB4_tI10_87_a_h", "fcc"
    ),
    OrderedPrototype("B2", "CsCl", 221, _CUBE, ((("1a", _ORIGIN),), (("1b", _HALF),)), "AB_cP2_221_b_a", "bcc"),
    OrderedPrototype(
        "B32",
        "NaTl",
        227,
        _CUBE,
        ((("8a", (1 / 8, 1 / 8, 1 / 8)),), (("8b", (3 / 8, 3 / 8, 3 / 8)),)),
        "AB_cF16_227_a_b",
        "bcc",
    ),
    OrderedPrototype(
        "D0_3",
        "BiF3",
        225,
        _CUBE,
        ((("4a", _ORIGIN),), (("4b", _HALF), ("8c", _QUARTER))),
        "AB3_cF16_225_a_bc",
        "bcc",
    ),
    OrderedPrototype(
        "C11_b", "MoSi2", 139, (1, 1, 3), ((("2a", _ORIGIN),), (("4e", (0, 0, 1 / 3)),)), "AB2_tI6_139_a_e", "bcc"
    ),
    OrderedPrototype(
        "C11_b-MoSi2",
        "MoSi2",
        139,
        (1, 1, 2.4475),
        ((("2a", _ORIGIN),), (("4e", (0, 0, 0.3353)),)),
        "AB2_tI6_139_a_e",
    ),
    OrderedPrototype(
        "D0_19",
        "Ni3Sn",
        194,
        (1, 1, IDEAL_C_OVER_A / 2),
        ((("2c", (1 / 3, 2 / 3, 0.25)),), (("6h", (5 / 6, 2 / 3, 0.25)),)),
        "A3B_hP8_194_h_c",
        "hcp",
        hexagonal_axis=2,
    ),
    OrderedPrototype(
        "B19",
        "AuCd",
        51,
        (1, 1 / IDEAL_C_OVER_A, sqrt(3) / IDEAL_C_OVER_A),
        ((("2e", (0.25, 0, 5 / 6)),), (("2f", (0.25, 0.5, 1 / 3)),)),
        "AB_oP4_51_e_f",
        "hcp",
        hexagonal_axis=0,
    ),
    OrderedPrototype("A15", "Cr3Si", 223, _CUBE, ((("2a", _ORIGIN),), (("6c", (0.25, 0, 0.5)),)), "A3B_cP8_223_c_a"),
    OrderedPrototype(
        "C14",
        "MgZn2",
        194,
        (1, 1, IDEAL_C_OVER_A),
        ((("4f", (1 / 3, 2 / 3, 1 / 16)),), (("2a", _ORIGIN), ("6h", (5 / 6, 2 / 3, 0.25)))),
        "AB2_hP12_194_f_ah",
    ),
    OrderedPrototype(
        "C15",
        "MgCu2",
        227,
        _CUBE,
        ((("8a", (1 / 8, 1 / 8, 1 / 8)),), (("16d", _HALF),)),
        "A2B_cF24_227_d_a",
    ),
    OrderedPrototype(
        "C36",
        "MgNi2",
        194,
        (1, 1, 2 * IDEAL_C_OVER_A),
        (
            (("4e", (0, 0, 3 / 32)), ("4f", (1 / 3, 2 / 3, 27 / 32))),
            (("4f", (1 / 3, 2 / 3, 1 / 8)), ("6g", (0.5, 0, 0)), ("6h", (1 / 6, 1 / 3, 0.25))),
        ),
        "AB2_hP24_194_ef_fgh",
    ),
    OrderedPrototype(
        "D8_b",
        "CrFe",
        136,
        (1, 1, 0.51818),
        (
            (("2a", _ORIGIN), ("8i", (0.73933, 0.06609, 0))),
            (("8i", (0.46349, 0.13122, 0)), ("8j", (0.18267, 0.18267, 0.25202))),
            (("4f", (0.39864, 0.39864, 0)),),
        ),
        "sigma_tP30_136_bf2ij",
        repeated=True,
    ),
    OrderedPrototype(
        "C16",
        "CuAl2",
        140,
        (1, 1, 0.80464),
        ((("4a", (0, 0, 0.25)),), (("8h", (0.158, 0.658, 0)),)),
        "A2B_tI12_140_h_a",
    ),
    OrderedPrototype(
        "C32", "AlB2", 191, (1, 1, 1.0828), ((("1a", _ORIGIN),), (("2d", (1 / 3, 2 / 3, 0.5)),)), "AB2_hP3_191_a_d"
    ),
    OrderedPrototype(
        "D2_d",
        "CaCu5",
        191,
        (1, 1, 0.77391),
        ((("1a", _ORIGIN),), (("2c", (1 / 3, 2 / 3, 0)), ("3g", (0.5, 0, 0.5)))),
        "AB5_hP6_191_a_cg",
    ),
    OrderedPrototype(
        "L2_1",
        "AlMnCu2",
        225,
        _CUBE,
        ((("4a", _ORIGIN),), (("4b", _HALF),), (("8c", _QUARTER),)),
        "AB2C_cF16_225_a_c_b",
        "bcc",
    ),
    OrderedPrototype(
        "X_a",
        "TiCuHg2",
        216,
        _CUBE,
        ((("4b", _HALF),), (("4d", (0.75, 0.75, 0.75)),), (("4a", _ORIGIN), ("4c", _QUARTER))),
        "",
        "bcc",
    ),
    OrderedPrototype(
        "C1_b",
        "MgAgAs",
        216,
        _CUBE,
        ((("4a", _ORIGIN),), (("4b", _HALF),), (("4c", _QUARTER),)),
        "ABC_cF12_216_b_c_a",
    ),
)
"""Structures of two and three elements."""

PROTOTYPE_NAMES: Final = tuple(one.name for one in PROTOTYPES)


def prototype(name: str) -> OrderedPrototype:
    """Return a prototype by its name.

    Raises
    ------
    InvalidInputError
        There is none of this name.
    """
    for one in PROTOTYPES:
        if one.name == name:
            return one
    help_ = suggestion(name, PROTOTYPE_NAMES) or f"; valid: {', '.join(PROTOTYPE_NAMES)}"
    raise InvalidInputError(f"{name!r} is no known ordered prototype{help_}")


def occupations(one: OrderedPrototype, elements: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield every way in which elements can share the sublattices, all of them present.

    Parameters
    ----------
    one
        The prototype.
    elements
        Symbols.

    Yields
    ------
    tuple of str
        One element per sublattice. Nothing when the numbers do not fit. Some may give the same structure.
    """
    if one.repeated:
        yield from (way for way in product(elements, repeat=len(one.sublattices)) if set(way) == set(elements))
    elif len(elements) == len(one.sublattices):
        yield from permutations(elements)


def decorated(
    one: OrderedPrototype, occupation: Sequence[str], volumes_A3: Mapping[str, float], c_over_a: float | None = None
) -> Atoms:
    """Build the primitive cell of a prototype.

    Parameters
    ----------
    one
        The prototype.
    occupation
        One element per sublattice.
    volumes_A3
        Volume of an atom of each element, A^3; the cell has the sum of those of its atoms.
    c_over_a
        Of the hcp parent, where there is one; ideal when None.

    Returns
    -------
    Atoms
        In the orientation of the conventional cell: a along x, c along z in all crystal systems here.
    """
    from ase import Atoms

    stretch = (c_over_a or IDEAL_C_OVER_A) / IDEAL_C_OVER_A
    cell, positions, labels = _primitive(one, stretch if one.hexagonal_axis is not None else 1.0)
    symbols = [occupation[label] for label in labels]
    volume = sum(volumes_A3[symbol] for symbol in symbols)
    scale = (volume / abs(np.linalg.det(cell))) ** (1 / 3)
    return Atoms(symbols, cell=cell * scale, scaled_positions=positions, pbc=True)


def conventional_cell(one: OrderedPrototype) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int_]]:
    """Return vectors (3, 3) in units of a, fractional coordinates (n, 3) and sublattices (n,) of the usual cell."""
    import spglib

    operations = spglib.get_symmetry_from_database(_hall_number(one.space_group))
    positions: list[NDArray[np.float64]] = []
    labels: list[int] = []
    for label, sites in enumerate(one.sublattices):
        for _, coordinates in sites:
            images = operations["rotations"] @ np.array(coordinates, dtype=float) + operations["translations"]
            orbit: list[NDArray[np.float64]] = []
            for image in images - np.floor(images + _SAME_POSITION):
                if all(np.abs((image - x) - np.round(image - x)).max() > _SAME_POSITION for x in orbit):
                    orbit.append(image)
            positions += orbit
            labels += [label] * len(orbit)
    a, b, c = one.lengths
    cell = np.diag([a, b, c]).astype(float)
    if one.space_group in _HEXAGONAL:
        cell[1] = [-a / 2, a * sqrt(3) / 2, 0]
    return cell, np.array(positions), np.array(labels)


@lru_cache(maxsize=256)
def _primitive(
    one: OrderedPrototype, stretch: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int_]]:
    import spglib

    cell, positions, labels = conventional_cell(one)
    if one.hexagonal_axis is not None:
        cell[one.hexagonal_axis] *= stretch
    # nothing is rotated; labels tell the sublattices apart
    reduced = spglib.standardize_cell(
        (cell, positions, labels + 1), to_primitive=True, no_idealize=True, symprec=_SYMPREC
    )
    return np.asarray(reduced[0]), np.asarray(reduced[1]), np.asarray(reduced[2]) - 1


@lru_cache(maxsize=64)
def _hall_number(space_group: int) -> int:
    """Return the setting of the International Tables: hexagonal axes, origin at the centre of symmetry."""
    import spglib

    settings = [(hall, spglib.get_spacegroup_type(hall)) for hall in range(1, 531)]
    return next(hall for hall, kind in settings if kind.number == space_group and kind.choice in ("", "H", "2"))
