"""Compare elastic constants with published ones, for potentials whose values at 0 K are known.

Stillinger-Weber silicon comes with matscipy. The embedded-atom files are the users' own: Mishin's copper of 2001
(Cu_mishin1.eam.alloy of LAMMPS) and the aluminium of Mishin and Farkas of 1999 (Al99.eam.alloy of the NIST
repository; AlCu.adp of LAMMPS holds both potentials). What is not given is skipped.

    python benchmarks/elastic_accuracy.py --eam-cu Cu_mishin1.eam.alloy --eam-al Al99.eam.alloy
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from ase.units import GPa
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.optimize import brentq

from mlip_autopipe.analysis.elastic import fit_elastic_constants, generate_strained_structures
from mlip_autopipe.analysis.symmetry import crystal_symmetry

TOLERANCE_GPA = 0.5


def stillinger_weber() -> Calculator:
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import StillingerWeber
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si

    return Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))


def embedded_atom(path: Path) -> Callable[[], Calculator]:
    def make() -> Calculator:
        from ase.calculators.eam import EAM

        return EAM(potential=str(path))

    return make


def at_zero_pressure(make: Callable[[float], Atoms], guess: float, calculator: Calculator) -> Atoms:
    """Return the crystal at the lattice constant of zero stress."""

    def trace(a: float) -> float:
        atoms = make(a)
        atoms.calc = calculator
        return float(atoms.get_stress()[:3].sum())

    return make(float(brentq(trace, 0.98 * guess, 1.02 * guess, xtol=1e-10)))


def constants(atoms: Atoms, calculator: Calculator, amplitude: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Constants 11, 12, 44, their errors (GPa), and the number of stress evaluations (relaxed)."""
    structure = AseAtomsAdaptor.get_structure(atoms)
    strained = generate_strained_structures(structure, amplitude=amplitude)
    stresses = []
    for item in strained:
        cell = AseAtomsAdaptor.get_atoms(item.structure)
        cell.calc = calculator
        if not BFGS(cell, logfile=None).run(fmax=1e-3, steps=200):
            raise RuntimeError("ions did not relax")
        stresses.append(cell.get_stress() / GPa)
    fit = fit_elastic_constants(
        [item.strain for item in strained], stresses, rotations=crystal_symmetry(structure).rotations
    )
    entries = ([0, 0, 3], [0, 1, 3])
    return fit.tensor[entries], fit.stderr[entries], len(strained)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eam-cu", type=Path, help="Mishin et al. 2001, 10.1103/PhysRevB.63.224106")
    parser.add_argument("--eam-al", type=Path, help="Mishin, Farkas et al. 1999, 10.1103/PhysRevB.59.3393")
    parser.add_argument("--amplitude", type=float, default=0.005)
    args = parser.parse_args()
    cases = [
        ("Stillinger-Weber Si", "Si", "diamond", 5.431, stillinger_weber, (151.4, 76.4, 56.4)),
        (
            "EAM Cu (Mishin 2001)",
            "Cu",
            "fcc",
            3.615,
            embedded_atom(args.eam_cu) if args.eam_cu else "--eam-cu",
            (169.9, 122.6, 76.2),
        ),
        (
            "EAM Al (Mishin-Farkas 1999)",
            "Al",
            "fcc",
            4.05,
            embedded_atom(args.eam_al) if args.eam_al else "--eam-al",
            (113.8, 61.6, 31.6),
        ),
    ]
    print("| potential | evaluations | C11, C12, C44 (GPa) | stated error | published | largest difference | |")
    print("|---|---|---|---|---|---|---|")
    failed = False
    for name, element, lattice, guess, source, published in cases:
        if isinstance(source, str):
            print(f"| {name} | | skipped: no file given ({source}) | | {' / '.join(map(str, published))} | | |")
            continue
        calculator = source()
        atoms = at_zero_pressure(lambda a, e=element, s=lattice: bulk(e, s, a=a), guess, calculator)
        found, errors, count = constants(atoms, calculator, args.amplitude)
        worst = float(np.abs(found - published).max())
        failed |= worst > TOLERANCE_GPA
        print(
            f"| {name} | {count} | {' / '.join(f'{v:.2f}' for v in found)} | "
            f"{' / '.join(f'{v:.2f}' for v in errors)} | {' / '.join(map(str, published))} | {worst:.2f} | "
            f"{'ok' if worst <= TOLERANCE_GPA else 'FAILED'} |"
        )
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
