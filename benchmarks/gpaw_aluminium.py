"""How the elastic constants of aluminium or copper (PBE) depend on k-mesh, smearing and cut-off.

Total derivatives of the stress, central differences at +-0.5 %, primitive fcc cell, Gamma-centred meshes: the
tetragonal pair gives C11 and C12; shear +yz and -yz are equivalent by symmetry, so one calculation gives C44.
``spacing`` is the largest distance between neighbouring k-points in 1/A, with the factor 2 pi.

Measured at 0 K: C11 = 114.3, C12 = 61.9, C44 = 31.6 GPa (Kamm and Alers, J. Appl. Phys. 35, 327 (1964)).

Run ``OMP_NUM_THREADS=1 python benchmarks/gpaw_aluminium.py`` (one core, 50 minutes; ``--meshes 8 12`` for a short
version, ``--element Cu --cutoffs 400`` for a metal with d states near the Fermi level).
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

LATTICE_CONSTANTS_A = {"Al": 4.04, "Cu": 3.64}
"""Near the PBE minimum; the residual stress cancels in the central differences."""
STRAIN = 0.005
SMEARINGS: tuple[tuple[str, float], ...] = (
    ("fermi-dirac", 0.1),
    ("fermi-dirac", 0.2),
    ("fermi-dirac", 0.3),
    ("fermi-dirac", 0.5),
    ("marzari-vanderbilt", 0.1),
    ("marzari-vanderbilt", 0.4),
    ("marzari-vanderbilt", 0.8),
)


def strained_stress(
    element: str, strain: list[float], size: int, cutoff_eV: float, smearing: tuple[str, float]
) -> np.ndarray:
    """Return the stress in GPa (xx yy zz yz xz xy) of the strained cell; shear components are eps, not gamma."""
    from ase.build import bulk
    from ase.units import GPa
    from gpaw import GPAW

    xx, yy, zz, yz, xz, xy = strain
    atoms = bulk(element, "fcc", LATTICE_CONSTANTS_A[element])
    deformation = np.eye(3) + np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    atoms.set_cell(atoms.cell @ deformation, scale_atoms=True)
    atoms.calc = GPAW(
        mode={"name": "pw", "ecut": cutoff_eV},
        xc="PBE",
        kpts={"size": (size, size, size), "gamma": True},
        occupations={"name": smearing[0], "width": smearing[1]},
        convergence={"energy": 1e-6, "density": 1e-6, "eigenstates": 1e-9},
        txt=None,
    )
    return np.asarray(atoms.get_stress()) / GPa


def elastic_constants(
    element: str, size: int, cutoff_eV: float, smearing: tuple[str, float]
) -> tuple[float, float, float]:
    """Return C11, C12, C44 in GPa."""
    plus = strained_stress(element, [STRAIN, 0, 0, 0, 0, 0], size, cutoff_eV, smearing)
    minus = strained_stress(element, [-STRAIN, 0, 0, 0, 0, 0], size, cutoff_eV, smearing)
    shear = strained_stress(element, [0, 0, 0, STRAIN, 0, 0], size, cutoff_eV, smearing)
    slope = (plus - minus) / (2 * STRAIN)
    return float(slope[0]), float((slope[1] + slope[2]) / 2), float(shear[3] / (2 * STRAIN))


def kpoint_spacing(element: str, size: int) -> float:
    """Return the k-point distance |b| / N in 1/A (b includes 2 pi) of the unstrained primitive cell."""
    from ase.build import bulk

    reciprocal = 2 * np.pi * bulk(element, "fcc", LATTICE_CONSTANTS_A[element]).cell.reciprocal()
    return float(np.linalg.norm(reciprocal, axis=1).max() / size)


def main() -> None:
    """Print one markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--element", choices=sorted(LATTICE_CONSTANTS_A), default="Al")
    parser.add_argument("--meshes", type=int, nargs="+", default=[8, 10, 12, 14, 16, 18, 20, 24])
    parser.add_argument("--cutoffs", type=float, nargs="+", default=[300.0])
    parser.add_argument("--smearings", nargs="+", help="for example marzari-vanderbilt:0.2")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    smearings = SMEARINGS
    if options.smearings:
        smearings = tuple((s.split(":")[0], float(s.split(":")[1])) for s in options.smearings)
    print("| smearing | width (eV) | mesh | spacing (1/A) | cut-off (eV) | C11 | C12 | C44 (GPa) | core s |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for cutoff in options.cutoffs:
        for size in options.meshes:
            for name, width in smearings:
                start = time.process_time()
                c11, c12, c44 = elastic_constants(options.element, size, cutoff, (name, width))
                spent = time.process_time() - start
                print(
                    f"| {name} | {width:g} | {size}^3 | {kpoint_spacing(options.element, size):.3f} | {cutoff:g} "
                    f"| {c11:.1f} | {c12:.1f} | {c44:.1f} | {spent:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
