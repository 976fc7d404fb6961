"""Compare ASE's cell filters in the relaxation of many small alloys: time, steps, and where they end.

EMT relaxes all decorations of fcc Cu-Au up to some atoms as candidates of a phase diagram are relaxed, once with each
filter, in one run.

    OMP_NUM_THREADS=1 python benchmarks/cell_filters.py
"""

from __future__ import annotations

import argparse
import time
from typing import Any
from unittest.mock import patch

import ase.filters
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from icet.tools import enumerate_structures

from mlip_autopipe.learning.batch_relaxation import relax_structures

EDGES_A = {"Au": 4.06, "Cu": 3.6}
UNIT, FRECHET = ase.filters.UnitCellFilter, ase.filters.FrechetCellFilter


class Reference:
    """EMT as a force field."""

    def calculator(self) -> Any:
        """Return a fresh calculator."""
        return EMT()


def candidates(sites: int) -> list[Any]:
    """Return ideal crystals at the mean edge of their elements."""
    found = []
    for atoms in enumerate_structures(bulk("Cu", a=1.0), range(1, sites + 1), list(EDGES_A)):
        edge = np.mean([EDGES_A[symbol] for symbol in atoms.get_chemical_symbols()])
        atoms.set_cell(atoms.cell * edge, scale_atoms=True)
        found.append(atoms)
    return found


def logarithmic(atoms: Any, cell_factor: float) -> Any:
    """Return the other filter, made while the patch that put it here is off: it derives from the first."""
    with patch.object(ase.filters, "UnitCellFilter", UNIT):
        return FRECHET(atoms, exp_cell_factor=cell_factor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=5)
    structures, force_field = candidates(parser.parse_args().sites), Reference()
    ends = []
    for name, made in (("strain", UNIT), ("logarithm of the strain", logarithmic)):
        with patch.object(ase.filters, "UnitCellFilter", made):
            begun = time.process_time()
            found: Any = list(relax_structures(structures, force_field))  # type: ignore[arg-type]
            each = (time.process_time() - begun) / len(found)
        steps = np.mean([one.n_steps for one in found])
        done = sum(one.converged for one in found)
        print(f"{name}: {1e3 * each:.1f} ms of CPU time each, {steps:.1f} evaluations, {done} of {len(found)} relaxed")
        ends.append(np.array([one.energy_eV / len(one.atoms) for one in found]))
    print(f"energies differ by {1e3 * np.abs(ends[0] - ends[1]).max():.3f} meV per atom at most")


if __name__ == "__main__":
    main()
