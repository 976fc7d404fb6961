"""Read a start structure from a file, and refuse what cannot be computed, in one sentence each."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

FORMATS = "POSCAR/CONTCAR/.vasp, .cif, .extxyz/.xyz"

OVERLAP_FRACTION = 0.5
"""Atoms closer than this fraction of the sum of their covalent radii overlap (H2's bond has 1.2)."""


def read_structure(path: Path | str) -> Structure:
    """Read one periodic, ordered crystal.

    Parameters
    ----------
    path
        POSCAR (by name or ``.vasp``), CIF, extxyz, or another format that ASE knows by its suffix.

    Returns
    -------
    Structure
        The crystal in the file's own cell and orientation. Initial magnetic moments (Bohr magnetons) are kept as
        the site property ``magmom``; everything else (velocities, charges, constraints) is dropped.

    Raises
    ------
    InvalidInputError
        The file is missing, empty or unreadable, holds no or several structures, is not periodic in three
        dimensions, has partly occupied sites, or atoms that overlap.
    """
    path = Path(path)
    if not path.exists():
        raise InvalidInputError(
            f"structure file {path} does not exist; correct target_system.structure (relative to the input file)"
        )
    if not path.is_file():
        raise InvalidInputError(
            f"structure file {path} is not a file; point target_system.structure to a {FORMATS} file"
        )
    try:
        empty = not path.read_bytes().strip()
    except OSError as error:
        raise InvalidInputError(
            f"structure file {path} cannot be read ({error.strerror}); check its permissions"
        ) from None
    if empty:
        raise InvalidInputError(f"structure file {path} is empty; write it again ({FORMATS})")
    is_cif = path.suffix.lower() in (".cif", ".mcif")
    structure = _read_cif(path) if is_cif else _read_with_ase(path)
    check_structure(structure, origin=f"structure file {path}")
    return structure


def check_structure(structure: Structure, *, origin: str) -> None:
    """Refuse a structure without volume, with partly occupied sites, unknown species or overlapping atoms.

    Raises
    ------
    InvalidInputError
        One sentence that starts with ``origin``.
    """
    import numpy as np
    from ase.data import atomic_numbers, covalent_radii

    if not len(structure):
        raise InvalidInputError(f"{origin} holds no atoms; write it again ({FORMATS})")
    for number, site in enumerate(structure, 1):
        if not site.is_ordered:
            raise InvalidInputError(
                f"{origin} has a partly occupied site {number} ({site.species_string}); "
                "give an ordered cell, for example a special quasirandom structure"
            )
        symbol = getattr(site.specie, "symbol", "")
        if atomic_numbers.get(symbol, 0) < 1:
            raise InvalidInputError(f"{origin} has an unknown element {site.species_string!r} at site {number}")
    if not np.isfinite(structure.lattice.matrix).all() or not np.isfinite(structure.frac_coords).all():
        raise InvalidInputError(f"{origin} holds a coordinate that is not a finite number; correct it")
    radii = [float(covalent_radii[site.specie.Z]) for site in structure]
    cutoff = 2 * OVERLAP_FRACTION * max(radii)
    first, second, _, distances = structure.get_neighbor_list(cutoff)
    worst = [
        (distance / (radii[i] + radii[j]), distance, int(i), int(j))
        for i, j, distance in zip(first, second, distances, strict=True)
        if distance < OVERLAP_FRACTION * (radii[i] + radii[j])
    ]
    if worst:
        _, distance, i, j = min(worst)
        pair = (
            f"atom {i + 1} ({structure[i].specie.symbol}) and its periodic image"
            if i == j
            else f"atoms {i + 1} ({structure[i].specie.symbol}) and {j + 1} ({structure[j].specie.symbol})"
        )
        raise InvalidInputError(
            f"{origin} has overlapping atoms: {pair} are {distance:.2f} A apart; "
            "correct the cell (in A) or the positions"
        )


def _read_cif(path: Path) -> Structure:
    from pymatgen.io.cif import CifParser

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # tolerance 1: a site that is occupied more than once is two atoms in one place, not rounding
            structures = CifParser(path, occupancy_tolerance=1.0).parse_structures(primitive=False)
    except Exception as error:  # noqa: BLE001  parsers raise anything
        raise _unreadable(path, error) from None
    if len(structures) != 1:
        raise _several(path, len(structures))
    return _plain(structures[0])


def _read_with_ase(path: Path) -> Structure:
    from ase.io import read
    from pymatgen.core import Structure

    try:
        frames = read(path, index=":", format=_ase_format(path))
    except Exception as error:  # noqa: BLE001  parsers raise anything
        raise _unreadable(path, error) from None
    if len(frames) != 1:
        raise _several(path, len(frames))
    atoms = frames[0]
    if not len(atoms):
        raise InvalidInputError(f"structure file {path} holds no atoms; write it again ({FORMATS})")
    if not atoms.pbc.all() or abs(atoms.cell.volume) < 1e-3:
        axes = "".join("abc"[i] for i in range(3) if atoms.pbc[i]) if atoms.cell.rank else ""
        periodic = f"periodic only along {axes}" if axes and axes != "abc" else "not periodic"
        raise InvalidInputError(
            f"structure file {path} is {periodic}; a crystal needs a cell and three periodic directions "
            '(extxyz: Lattice="..." pbc="T T T")'
        )
    magmoms = atoms.arrays.get("initial_magmoms", atoms.arrays.get("magmoms"))
    if magmoms is None and atoms.calc is not None:
        magmoms = atoms.calc.results.get("magmoms")
    try:
        return _plain(
            Structure(
                atoms.cell.array,
                [int(z) for z in atoms.numbers],
                atoms.get_scaled_positions(wrap=False),
                site_properties=None if magmoms is None else {"magmom": [float(m) for m in magmoms]},
            )
        )
    except (TypeError, ValueError) as error:
        raise _unreadable(path, error) from None


def _plain(structure: Structure) -> Structure:
    """Keep cell, elements, positions and collinear magnetic moments only."""
    from pymatgen.core import Structure

    structure = structure.copy()
    structure.remove_oxidation_states()
    magmoms = structure.site_properties.get("magmom")
    if magmoms is not None:
        magmoms = [_collinear(m) for m in magmoms]
    return Structure(
        structure.lattice.matrix,
        [site.species for site in structure],
        structure.frac_coords,
        site_properties=None if magmoms is None else {"magmom": magmoms},
    )


def _collinear(moment: Any) -> float:
    """Return a moment in Bohr magnetons; pymatgen reads magnetic CIF moments as vectors."""
    import numpy as np

    vector = np.asarray(getattr(moment, "moment", moment if moment is not None else 0.0), dtype=float)
    if vector.ndim == 0:
        return float(vector)
    largest = vector[int(np.argmax(np.abs(vector)))]
    return float(np.copysign(np.linalg.norm(vector), largest))


def _ase_format(path: Path) -> str | None:
    name = path.name.upper()
    if "POSCAR" in name or "CONTCAR" in name or path.suffix.lower() in (".vasp", ".poscar"):
        return "vasp"
    return "extxyz" if path.suffix.lower() in (".xyz", ".extxyz") else None


def _unreadable(path: Path, error: Exception) -> InvalidInputError:
    lines = re.split(r"[\n\r]+", str(error).strip()) or [""]
    detail = f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__
    return InvalidInputError(
        f"structure file {path} cannot be read ({detail.rstrip('.')}); "
        f"it must be one of {FORMATS} and named accordingly"
    )


def _several(path: Path, number: int) -> InvalidInputError:
    if not number:
        return InvalidInputError(f"structure file {path} holds no structure; write it again ({FORMATS})")
    return InvalidInputError(f"structure file {path} holds {number} structures; leave exactly one in it")
