"""Count the stress evaluations that elastic constants cost, and check that fewer give the same tensor.

Ours are compared with pymatgen's symmetry-reduced set of 24 deformations (as atomate2 uses it), and our tensor with
a fit to all 24: six unit strains at +-amplitude and half of it. The two sets differ in their third-order error, which
grows with the square of the amplitude: a small amplitude compares the fits, 0.005 shows that the stated errors hold
the difference. Effective medium theory gives the stresses, with relaxed ions, of crystals that are relaxed first;
monoclinic and triclinic crystals have synthetic stresses with random second- and third-order response.

    python benchmarks/elastic_evaluations.py
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa
from pymatgen.analysis.elasticity import DeformedStructureSet
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from mlip_autopipe.analysis.elastic import fit_elastic_constants, strain_set, strain_structure
from mlip_autopipe.analysis.strain import choose_strain_directions
from mlip_autopipe.analysis.symmetry import crystal_symmetry, invariant_tensor_basis

TOLERANCE_GPA = 0.05
UNIT_STRAINS = np.diag([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
Response = Callable[[Structure, np.ndarray], np.ndarray]


def emt_stress(structure: Structure, strain: np.ndarray) -> np.ndarray:
    """Return the stress (GPa) of a strained cell with relaxed ions."""
    atoms = AseAtomsAdaptor.get_atoms(strain_structure(structure, strain))
    atoms.calc = EMT()
    if not BFGS(atoms, logfile=None).run(fmax=1e-6, steps=300):
        raise RuntimeError("ions did not relax")
    return atoms.get_stress() / GPa


def relaxed(atoms: Atoms) -> Structure:
    atoms.calc = EMT()
    if not BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-6, steps=500):
        raise RuntimeError("cell did not relax")
    return Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())


def synthetic(structure: Structure, seed: int) -> Response:
    """Return a stress with random constants that the crystal allows and random higher orders."""
    rng = np.random.default_rng(seed)
    isotropic = np.diag([60.0, 60, 60, 30, 30, 30])
    isotropic[:3, :3] += 70.0
    basis = invariant_tensor_basis(crystal_symmetry(structure).rotations)
    linear = isotropic + np.einsum("a,aij->ij", rng.normal(0, 6, len(basis)), basis)
    second = rng.normal(0, 300, (6, 6))

    def stress(_: Structure, strain: np.ndarray) -> np.ndarray:
        return linear @ strain + second @ strain**2 + 5.0 * (strain @ strain) * (linear @ strain)

    return stress


def cases() -> list[tuple[str, Structure, Response]]:
    ordered = {
        "tetragonal (L1_0 CuAu)": ("CuAu", 3.9, [[0.5, 0.5, 0], [0.5, -0.5, 0], [0, 0, 1.0]], [[0.5, 0.5, 0.5]]),
        "trigonal (L1_1 CuPt)": ("CuPt", 3.8, [[0.5, 0.5, 1], [0.5, 1, 0.5], [1, 0.5, 0.5]], [[0.5, 0.5, 0.5]]),
    }
    found: list[tuple[str, Structure, Response]] = [
        ("cubic (fcc Cu)", relaxed(bulk("Cu", "fcc", a=3.6)), emt_stress),
        ("hexagonal (hcp Cu)", relaxed(bulk("Cu", "hcp", a=2.55, c=4.2)), emt_stress),
    ]
    for name, (formula, a, cell, rest) in ordered.items():
        atoms = Atoms(formula, cell=a * np.array(cell), scaled_positions=[[0, 0, 0], *rest], pbc=True)
        found.append((name, relaxed(atoms), emt_stress))
    # MoPt2 type: every third (110) plane of fcc.
    cell = np.array([[1.5, 1.5, 0], [0.5, -0.5, 0], [0, 0, 1.0]])
    sites = [[0, 0, 0], [0.5, 0.5, 0], [1.0, 1.0, 0], [0.5, 0, 0.5], [1.0, 0.5, 0.5], [1.5, 1.0, 0.5]]
    atoms = Atoms("CuAu2Au2Cu", cell=3.95 * cell, positions=3.95 * np.array(sites), pbc=True)
    found.append(("orthorhombic (MoPt2-type CuAu2)", relaxed(atoms), emt_stress))
    monoclinic = Structure.from_spacegroup(
        14, Lattice.monoclinic(5.15, 5.21, 5.32, 99.2), ["Zr", "O"], [[0.28, 0.04, 0.21], [0.07, 0.33, 0.34]]
    )
    triclinic = Structure.from_spacegroup(
        2, Lattice.from_parameters(4.1, 5.2, 6.3, 83, 97, 108), ["Si", "O"], [[0.1, 0.2, 0.3], [0.4, 0.15, 0.7]]
    )
    found.append(("monoclinic (synthetic)", monoclinic, synthetic(monoclinic, 1)))
    found.append(("triclinic (synthetic)", triclinic, synthetic(triclinic, 2)))
    return found


def theirs(structure: Structure) -> int:
    """Deformations that pymatgen computes, in the conventional cell that suits it best."""
    conventional = SpacegroupAnalyzer(structure, symprec=1e-2).get_conventional_standard_structure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(DeformedStructureSet(conventional, symmetry=True).deformations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amplitude", type=float, default=0.001)
    amplitude = parser.parse_args().amplitude
    print(f"strain amplitude {amplitude}\n")
    print(
        "| crystal | constants | ours | ours with +-delta/2 | pymatgen, symmetry-reduced "
        "| max difference (GPa) | "
        "max stated error (GPa) | |"
    )
    print("|---|---|---|---|---|---|---|---|")
    failed = False
    for name, structure, response in cases():
        symmetry = crystal_symmetry(structure, 1e-2)
        if not name.startswith(symmetry.crystal_system):
            raise RuntimeError(f"{name} turned out {symmetry.crystal_system} ({symmetry.space_group})")
        directions = choose_strain_directions(symmetry.rotations)
        few, check, many = (
            strain_set(directions, amplitude, False),
            strain_set(directions, amplitude, True),
            strain_set(UNIT_STRAINS, amplitude, True),
        )
        fits = [
            fit_elastic_constants(s, [response(structure, e) for e in s], rotations=symmetry.rotations)
            for s in (few, check, many)
        ]
        difference = max(float(np.abs(fit.tensor - fits[2].tensor).max()) for fit in fits[:2])
        failed |= difference > TOLERANCE_GPA
        print(
            f"| {name} | {len(fits[0].basis)} | {len(few)} | {len(check)} | {theirs(structure)} | {difference:.3f} | "
            f"{fits[1].stderr.max():.3f} | "
            f"{'ok' if difference <= TOLERANCE_GPA else 'FAILED'} |"
        )
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
