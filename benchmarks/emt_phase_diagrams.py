"""Make temperature-composition diagrams of fcc alloys with EMT, from relaxed ordered structures to boundaries.

EMT (Jacobsen, Stoltze and Norskov, 10.1016/0039-6028(96)00816-3) is fast and stands in for a potential; its alloys are
no good ones (its Cu-Pd has a wealth of long periods). What is measured: errors of the expansions, gates, times.

    OMP_NUM_THREADS=1 python benchmarks/emt_phase_diagrams.py Ag-Cu Au-Cu Ni-Pt --sites 5
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from icet.tools import enumerate_structures

from mlip_autopipe.analysis.cluster_expansion import fit_cluster_expansion
from mlip_autopipe.analysis.phase_boundaries import calculate_phase_boundaries
from mlip_autopipe.cli.phase_figure import phase_figure

EDGES_A = {"Ag": 4.07, "Al": 4.0, "Au": 4.06, "Cu": 3.6, "Ni": 3.5, "Pd": 3.89, "Pt": 3.92}


def relaxed(elements: list[str], sites: int) -> tuple[Atoms, list[Atoms], np.ndarray]:
    """Parent, ideal structures and relaxed formation energies, eV per atom."""
    parent = bulk("Cu", a=4.0)
    structures, energies, fractions = [], [], []
    for ideal in enumerate_structures(parent, range(1, sites + 1), elements):
        x = ideal.get_chemical_symbols().count(elements[1]) / len(ideal)
        atoms = ideal.copy()
        edge = (1 - x) * EDGES_A[elements[0]] + x * EDGES_A[elements[1]]
        atoms.set_cell(atoms.cell * edge / 4.0, scale_atoms=True)
        atoms.calc = EMT()
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=200)
        structures.append(ideal)
        energies.append(atoms.get_potential_energy() / len(atoms))
        fractions.append(x)
    share, energy = np.array(fractions), np.array(energies)
    ends = [energy[share == x].min() for x in (0.0, 1.0)]
    return parent, structures, energy - (1 - share) * ends[0] - share * ends[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("alloys", nargs="*", default=["Ag-Cu", "Au-Cu"])
    parser.add_argument("--sites", type=int, default=5, help="largest number of atoms of an enumerated structure")
    parser.add_argument("--figures", action="store_true", help="write a PNG file per alloy here")
    arguments = parser.parse_args()
    for alloy in arguments.alloys:
        begun = time.perf_counter()
        parent, structures, energies = relaxed(sorted(alloy.split("-")), arguments.sites)
        done = time.perf_counter()
        expansion = fit_cluster_expansion(parent, structures, energies)
        fitted = time.perf_counter()
        diagram = calculate_phase_boundaries(expansion)
        end = time.perf_counter()
        print(
            f"{alloy}: {len(structures)} structures relaxed in {done - begun:.0f} s; cut-offs "
            f"{', '.join(f'{c:.1f}' for c in expansion.cutoffs_A)} A of a lattice of 4 A, "
            f"{np.count_nonzero(expansion.parameters_eV[2:])} parameters, cross-validation error "
            f"{1e3 * expansion.cross_validation_error_eV:.2f} (all alike "
            f"{1e3 * expansion.cross_validation_error_unweighted_eV:.2f}), ordering energy "
            f"{1e3 * expansion.ordering_energy_eV:.1f} meV/atom, {fitted - done:.1f} s; diagram of {diagram.n_sites} "
            f"sites, {len(diagram.slices)} temperatures and {len(diagram.order_disorder)} ordered phases, "
            f"{end - fitted:.0f} s"
        )
        for item in diagram.order_disorder:
            print(f"  {item.phase} disorders at {item.temperature_K}, bracket {item.bracket_K}, by {item.method}")
        if diagram.consolute_temperature_K:
            print(f"  top of the miscibility gap {diagram.consolute_temperature_K}")
        for part in diagram.slices:
            regions = [
                f"{r.phases[0]} {r.low.value:.4f}({r.low.stderr:.4f}) - {r.phases[1]} "
                f"{r.high.value:.4f}({r.high.stderr:.4f})"
                for r in part.two_phase
            ]
            print(f"  {part.temperature_K:6.1f} K: {'; '.join(regions) or 'one phase'}")
        for gate in diagram.gates:
            if not gate.passed:
                print(f"  {gate.name} failed: {gate.detail}")
        if arguments.figures:
            with open(f"{alloy}.png", "wb") as file:
                file.write(phase_figure(diagram.to_dict(), f"{alloy} (EMT)"))


if __name__ == "__main__":
    main()
