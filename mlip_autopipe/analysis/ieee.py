"""The IEEE orientation of a crystal and the independent elastic constants in it.

IEEE Standard on Piezoelectricity 176-1987 (10.1109/IEEESTD.1988.79638): cubic axes along the cube's edges;
tetragonal, trigonal and hexagonal z along the principal axis and x along a; orthorhombic c < a < b along z,
x, y; monoclinic y along the twofold axis and z along the shorter of the other two; triclinic z along the
shortest axis of the reduced cell and y normal to the plane of the two shortest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.symmetry import CrystalSymmetry, FloatArray, crystal_symmetry, rotate_stiffness, site_kinds
from mlip_autopipe.errors import AnalysisError

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Entries from which all others of the system's tensor follow; _ABSENT vanish in the higher Laue class.
_CONSTANTS = {
    "cubic": "11 12 44",
    "hexagonal": "11 12 13 33 44",
    "tetragonal": "11 12 13 16 33 44 66",
    "trigonal": "11 12 13 14 15 33 44",
    "orthorhombic": "11 12 13 22 23 33 44 55 66",
    "monoclinic": "11 12 13 15 22 23 25 33 35 44 46 55 66",
    "triclinic": "11 12 13 14 15 16 22 23 24 25 26 33 34 35 36 44 45 46 55 56 66",
}
# Numbers of the space groups with a rhombohedral lattice: its obverse setting fixes the sign of C14.
_RHOMBOHEDRAL = (146, 148, 155, 160, 161, 166, 167)
_ABSENT = {
    "4/mmm": "16",
    "422": "16",
    "4mm": "16",
    "-42m": "16",
    "-4m2": "16",
    "32": "15",
    "3m": "15",
    "-3m": "15",
}


@dataclass(frozen=True, eq=False)
class IEEETensor:
    """Elastic constants in the IEEE orientation.

    Attributes
    ----------
    tensor, stderr
        (6, 6) constants and their standard errors, in the unit of the input.
    rotation
        (3, 3) proper rotation from the given to the IEEE orientation; its rows are the IEEE axes.
    basis
        (m, 6, 6) rotated basis: the values and covariance of the fit belong to it unchanged.
    """

    tensor: FloatArray
    stderr: FloatArray
    rotation: FloatArray
    basis: FloatArray


def to_ieee(
    basis: ArrayLike,
    basis_values: ArrayLike,
    basis_covariance: ArrayLike,
    structure: Structure,
    *,
    symmetry_tolerance_A: float = 1e-3,
) -> IEEETensor:
    """Rotate fitted elastic constants, and their errors through the covariance, to the IEEE orientation.

    The standard fixes the sense of some axes by the sign of piezoelectric constants. Where the lattice leaves a
    sense open it is chosen here such that C16 (tetragonal), C14 and then C15 (trigonal) are positive.

    Parameters
    ----------
    basis, basis_values, basis_covariance
        (m, 6, 6), (m,), (m, m) of `ElasticFit`, in the orientation of ``structure``.
    structure
        The unstrained crystal.
    """
    values = np.asarray(basis_values, dtype=float)
    symmetry = crystal_symmetry(structure, symmetry_tolerance_A)
    rotation = ieee_rotation(structure, symmetry_tolerance_A)
    fitted = np.einsum("a,aij->ij", values, np.asarray(basis, dtype=float))
    rotation = max(
        (sense @ rotation for sense in _open_senses(symmetry)),
        key=lambda frame: _sense_key(rotate_stiffness(fitted, frame)),
    )
    rotated = rotate_stiffness(basis, rotation)
    variance = np.einsum("aij,ab,bij->ij", rotated, np.asarray(basis_covariance, dtype=float), rotated)
    return IEEETensor(
        tensor=_clean(np.einsum("a,aij->ij", values, rotated)),
        stderr=_clean(np.sqrt(np.clip(variance, 0, None))),
        rotation=rotation,
        basis=rotated,
    )


def ieee_rotation(structure: Structure, symmetry_tolerance_A: float = 1e-3) -> FloatArray:
    """Return the proper rotation (3, 3) whose rows are the IEEE axes of a crystal, in its own coordinates.

    The cell may be a supercell. Axes of equal length are taken in the order of the standardised cell, and so is
    the sense of the axes of crystals of low Laue class (4/m, trigonal), which `to_ieee` fixes by the tensor.
    """
    import spglib

    symmetry = crystal_symmetry(structure, symmetry_tolerance_A)
    cell = (structure.lattice.matrix, structure.frac_coords, site_kinds(structure))
    standard = spglib.standardize_cell(cell, no_idealize=True, symprec=symmetry_tolerance_A)
    if standard is None:
        raise AnalysisError(f"No standard cell found for {structure.formula}; change the symmetry tolerance.")
    a, b, c = np.asarray(standard[0], dtype=float)
    if symmetry.crystal_system == "monoclinic":
        y = b
        z, x = _by_length(c, a)
        # The angle between them is taken as obtuse, which fixes the signs of C15, C25, C35 and C46.
        return _frame(z=z, y=y, x_hint=x if x @ z <= 0 else -x)
    if symmetry.crystal_system == "orthorhombic":
        c, a, b = _by_length(a, b, c)
        return _frame(z=c, x=a)
    if symmetry.crystal_system == "triclinic":
        reduced = spglib.niggli_reduce(standard[0])
        cell_vectors = np.asarray(standard[0] if reduced is None else reduced, dtype=float)
        c, a, b = _by_length(*(cell_vectors * np.sign(np.linalg.det(cell_vectors))))
        return _frame(z=c, x=a)
    return _frame(z=c, x=a)


def independent_constants(
    tensor: ArrayLike, stderr: ArrayLike, crystal_system: str, point_group: str | None = None
) -> dict[str, tuple[float, float]]:
    """Name the independent constants of a tensor in the IEEE orientation.

    Parameters
    ----------
    tensor, stderr
        (6, 6) constants and standard errors in the IEEE orientation.
    crystal_system, point_group
        As in `CrystalSymmetry`. Without the point group, C16 of tetragonal and C15 of trigonal crystals are
        listed even where symmetry makes them zero.

    Returns
    -------
    dict
        ``{"C11": (value, stderr), ...}``: 3 cubic, 5 hexagonal, 6 or 7 tetragonal and trigonal, 9
        orthorhombic, 13 monoclinic, 21 triclinic.
    """
    if crystal_system not in _CONSTANTS:
        raise AnalysisError(f"Unknown crystal system {crystal_system!r}; known are {', '.join(_CONSTANTS)}.")
    values, errors = np.asarray(tensor, dtype=float), np.asarray(stderr, dtype=float)
    absent = _ABSENT.get(point_group or "", "")
    return {
        f"C{name}": (float(values[i, j]), float(errors[i, j]))
        for name in _CONSTANTS[crystal_system].split()
        if name != absent
        for i, j in [(int(name[0]) - 1, int(name[1]) - 1)]
    }


def _open_senses(symmetry: CrystalSymmetry) -> list[FloatArray]:
    """Return rotations that map the lattice, but not the crystal, on itself."""
    x, y, z = (np.diag(2.0 * np.eye(3)[k] - 1.0) for k in range(3))
    if symmetry.crystal_system == "tetragonal" or symmetry.number in _RHOMBOHEDRAL:
        return [np.eye(3), x]
    if symmetry.crystal_system == "trigonal":
        return [np.eye(3), x, y, z]
    return [np.eye(3)]


def _sense_key(tensor: FloatArray) -> tuple[float, float, float]:
    # Rounded, so that noise in constants that are zero does not decide.
    c14, c15, c16 = np.round(tensor[0, 3:] / np.abs(tensor).max(), 6)
    return float(c16), float(c14), float(c15)


def _by_length(*vectors: FloatArray) -> list[FloatArray]:
    # Rounded, so that noise in the cell does not decide between axes of the same length.
    return sorted(vectors, key=lambda vector: round(float(np.linalg.norm(vector)), 4))


def _frame(
    *,
    z: FloatArray,
    x: FloatArray | None = None,
    y: FloatArray | None = None,
    x_hint: FloatArray | None = None,
) -> FloatArray:
    """Build a right-handed orthonormal frame with z exact and x, or y, made normal to it."""
    z = z / np.linalg.norm(z)
    if y is not None:
        y = y - (y @ z) * z
        y = y / np.linalg.norm(y)
        x_axis = np.cross(y, z)
        # x on the side of the other lattice vector, so that the handedness of the cell does not matter.
        if x_hint is not None and x_axis @ x_hint < 0:
            x_axis, y = -x_axis, -y
        return np.array([x_axis, y, z])
    if x is None:
        raise AnalysisError("A frame needs x or y besides z.")
    x = x - (x @ z) * z
    x = x / np.linalg.norm(x)
    return np.array([x, np.cross(z, x), z])


def _clean(tensor: FloatArray) -> FloatArray:
    """Set to zero what is rounding noise of the rotation."""
    result: FloatArray = np.where(np.abs(tensor) < 1e-10 * np.abs(tensor).max(), 0.0, tensor)
    return result
