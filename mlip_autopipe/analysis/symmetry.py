"""Point groups, rotations of Voigt quantities and the tensors that a point group allows.

Voigt order is xx yy zz yz xz xy everywhere; strains carry engineering shear (e4 = 2 eps_yz), stresses do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.errors import AnalysisError

if TYPE_CHECKING:
    from pymatgen.core import Structure

FloatArray = NDArray[np.float64]

VOIGT_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_SQRT2 = np.sqrt(2.0)
# Kelvin (Mandel) scaling: in this basis rotations of symmetric tensors are orthogonal 6x6 matrices.
_KELVIN = np.array([1.0, 1.0, 1.0, _SQRT2, _SQRT2, _SQRT2])
_CRYSTAL_SYSTEMS = (
    (2, "triclinic"),
    (15, "monoclinic"),
    (74, "orthorhombic"),
    (142, "tetragonal"),
    (167, "trigonal"),
    (194, "hexagonal"),
    (230, "cubic"),
)


@dataclass(frozen=True, eq=False)
class CrystalSymmetry:
    """The symmetry of a crystal in the orientation in which it was given.

    Attributes
    ----------
    space_group
        International (Hermann-Mauguin) symbol.
    number
        Number of the space group, 1 to 230.
    crystal_system
        One of the seven: triclinic, monoclinic, orthorhombic, tetragonal, trigonal, hexagonal, cubic.
    point_group
        International symbol of the point group.
    rotations
        (n, 3, 3) Cartesian operations (improper ones included) of the primitive cell; orthogonal matrices
        that form a group exactly.
    """

    space_group: str
    number: int
    crystal_system: str
    point_group: str
    rotations: FloatArray


def crystal_symmetry(structure: Structure, tolerance_A: float = 1e-3) -> CrystalSymmetry:
    """Find the point group of the primitive cell, in the structure's own orientation.

    The given cell may be a supercell: an orthogonal supercell of a hexagonal crystal still has the hexagonal
    point group. Atoms of one element with different magnetic moments (``site_properties['magmom']``) count as
    different, so an antiferromagnet has the point group of its order; oxidation states are ignored.

    Parameters
    ----------
    structure
        The crystal.
    tolerance_A
        Distance in Angstrom within which atoms count as equivalent.

    Raises
    ------
    AnalysisError
        When no symmetry can be determined (overlapping atoms, for instance).
    """
    import spglib

    cell = (structure.lattice.matrix, structure.frac_coords, site_kinds(structure))
    try:
        primitive = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=tolerance_A)
        dataset = None if primitive is None else spglib.get_symmetry_dataset(primitive, symprec=tolerance_A)
    except spglib.SpglibError:
        primitive = dataset = None
    if primitive is None or dataset is None:
        raise AnalysisError(
            f"No space group found for {structure.formula} within {tolerance_A} A: atoms may overlap; check "
            "the structure or change the symmetry tolerance."
        )
    number = int(dataset.number)
    return CrystalSymmetry(
        space_group=str(dataset.international),
        number=number,
        crystal_system=next(name for last, name in _CRYSTAL_SYSTEMS if number <= last),
        point_group=str(dataset.pointgroup).strip(),
        rotations=_cartesian_group(np.asarray(primitive[0]), np.asarray(dataset.rotations)),
    )


def site_kinds(structure: Structure) -> list[int]:
    """Return a number per site for what occupies it: species, and magnetic moment (to 0.01 Bohr magnetons) if given."""
    moments = structure.site_properties.get("magmom") or [0.0] * len(structure)
    kinds: dict[tuple[str, float], int] = {}
    return [
        kinds.setdefault((str(site.species.element_composition), round(float(moment or 0.0), 2)), len(kinds) + 1)
        for site, moment in zip(structure, moments, strict=True)
    ]


def _cartesian_group(lattice: FloatArray, operations: NDArray[np.int32]) -> FloatArray:
    """Turn lattice operations into exactly orthogonal matrices; the cell fits them only roughly."""
    unique = np.unique(operations, axis=0).astype(float)
    metric = lattice @ lattice.T
    # The metric averaged over the group is invariant under it, so its operations are orthogonal to machine
    # precision.
    metric = np.mean([w.T @ metric @ w for w in unique], axis=0)
    ideal = np.linalg.cholesky(metric)
    left, _, right = np.linalg.svd(np.linalg.solve(ideal, lattice))
    ideal = ideal @ (left @ right)
    columns = ideal.T
    inverse = np.linalg.inv(columns)
    result: FloatArray = np.array([columns @ w @ inverse for w in unique])
    return result


def invariant_tensor_basis(rotations: ArrayLike) -> FloatArray:
    """Return an orthonormal basis of the stiffness matrices that a point group allows.

    Parameters
    ----------
    rotations
        (n, 3, 3) Cartesian operations of the point group.

    Returns
    -------
    ndarray
        (m, 6, 6) symmetric Voigt stiffness matrices, orthonormal in the inner product of fourth-rank tensors
        (so that the basis of a rotated crystal is the rotated basis). m is 3 for cubic, 5 hexagonal, 6 or 7
        tetragonal and trigonal, 9 orthorhombic, 13 monoclinic and 21 triclinic crystals.
    """
    kelvin = _kelvin_rotations(_as_rotations(rotations))
    rows, columns = np.triu_indices(6)
    elementary = np.zeros((21, 6, 6))
    index = np.arange(21)
    elementary[index, rows, columns] = elementary[index, columns, rows] = np.where(rows == columns, 1.0, 1 / _SQRT2)
    averaged = np.einsum("nij,ajk,nlk->ail", kelvin, elementary, kelvin, optimize=True) / len(kelvin)
    basis = _orthonormal_range(averaged.reshape(21, 36)).reshape(-1, 6, 6)
    result: FloatArray = (basis + basis.transpose(0, 2, 1)) / 2 / np.outer(_KELVIN, _KELVIN)
    return result


def invariant_stress_basis(rotations: ArrayLike) -> FloatArray:
    """Return a basis (k, 6) of the Voigt stresses that a point group allows, orthonormal as tensors.

    k is 1 for cubic, 2 for uniaxial, 3 orthorhombic, 4 monoclinic and 6 triclinic crystals.
    """
    kelvin = _kelvin_rotations(_as_rotations(rotations))
    result: FloatArray = _orthonormal_range(kelvin.mean(axis=0)) / _KELVIN
    return result


def stabilisers(strains: ArrayLike, rotations: ArrayLike) -> NDArray[np.bool_]:
    """Tell (k, n) which of the (n, 3, 3) operations leave each of the (k, 6) Voigt strains as it is."""
    array = np.asarray(strains, dtype=float)
    kelvin = _kelvin_rotations(_as_rotations(rotations))
    scaled = array / _KELVIN
    moved = np.abs(np.einsum("nij,kj->kni", kelvin, scaled) - scaled[:, None]).max(axis=2)
    kept: NDArray[np.bool_] = moved <= 1e-6 * np.abs(scaled).max(axis=1, keepdims=True)
    return kept


def rotate_stiffness(tensor: ArrayLike, rotation: ArrayLike) -> FloatArray:
    """Rotate (..., 6, 6) Voigt stiffness matrices: C'_ijkl = R_ip R_jq R_kr R_ls C_pqrs."""
    kelvin = _kelvin_rotations(np.asarray(rotation, dtype=float)[None])[0]
    scale = np.outer(_KELVIN, _KELVIN)
    result: FloatArray = kelvin @ (np.asarray(tensor, dtype=float) * scale) @ kelvin.T / scale
    return result


def rotate_stress(stress: ArrayLike, rotation: ArrayLike) -> FloatArray:
    """Rotate (..., 6) Voigt stresses by a (3, 3) operation."""
    kelvin = _kelvin_rotations(np.asarray(rotation, dtype=float)[None])[0]
    result: FloatArray = (np.asarray(stress, dtype=float) * _KELVIN) @ kelvin.T / _KELVIN
    return result


def rotate_strain(strain: ArrayLike, rotation: ArrayLike) -> FloatArray:
    """Rotate (..., 6) Voigt strains (engineering shear) by a (3, 3) operation."""
    kelvin = _kelvin_rotations(np.asarray(rotation, dtype=float)[None])[0]
    result: FloatArray = (np.asarray(strain, dtype=float) / _KELVIN) @ kelvin.T * _KELVIN
    return result


def _kelvin_rotations(rotations: FloatArray) -> FloatArray:
    """Return the (n, 6, 6) orthogonal matrices by which (n, 3, 3) rotations act on symmetric tensors."""
    first = np.array([p for p, _ in VOIGT_PAIRS])
    second = np.array([q for _, q in VOIGT_PAIRS])
    direct = rotations[:, first[:, None], first] * rotations[:, second[:, None], second]
    crossed = rotations[:, first[:, None], second] * rotations[:, second[:, None], first]
    # Diagonal pairs count once, off-diagonal ones twice; the Kelvin scaling shares the factor between both
    # sides.
    result: FloatArray = (direct + crossed) / 2 * np.outer(_KELVIN, _KELVIN)
    return result


def _orthonormal_range(averages: FloatArray) -> FloatArray:
    """Rows that span the range of a group average, whose singular values are 0 or 1."""
    _, singular, rows = np.linalg.svd(averages)
    rows = rows[: int(np.sum(singular > 0.5))]
    # Fixed signs, so that the basis does not depend on the linear algebra library.
    largest = np.argmax(np.abs(rows) > 0.99 * np.abs(rows).max(axis=1, keepdims=True), axis=1)
    result: FloatArray = rows * np.sign(rows[np.arange(len(rows)), largest])[:, None]
    return result


def _as_rotations(rotations: ArrayLike) -> FloatArray:
    array = np.asarray(rotations, dtype=float)
    if array.ndim != 3 or array.shape[1:] != (3, 3) or not len(array):
        raise AnalysisError(f"Rotations must have the shape (n, 3, 3), not {array.shape}.")
    deviation = np.abs(array @ array.transpose(0, 2, 1) - np.eye(3)).max()
    if not deviation < 1e-3:
        raise AnalysisError(
            f"Rotations must be Cartesian orthogonal matrices (deviation {deviation:.1e}); lattice "
            "operations have to be converted first, see crystal_symmetry()."
        )
    return array
