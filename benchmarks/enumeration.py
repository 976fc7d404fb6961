"""Count candidates of phase diagrams, time them, and see what relaxation makes of them.

Decorations of fcc by two elements up to 4, 6, 8 and 10 atoms; candidates of systems of two to four elements; and all
candidates of Cu-Au with up to five atoms relaxed by effective-medium theory: how many stay on their lattice, how many
become others, how many become the same structure.

    python benchmarks/enumeration.py
"""

from __future__ import annotations

import argparse
from collections import Counter
from time import perf_counter

from ase import Atoms
from ase.calculators.emt import EMT

from mlip_autopipe.analysis.parent_lattice import judge_relaxation
from mlip_autopipe.generation.candidates import CandidateStructure, make_candidates, same_after_relaxation
from mlip_autopipe.generation.enumeration import enumerate_decorations
from mlip_autopipe.reference.relax import relax_cell
from mlip_autopipe.schemas.system import RelaxationSettings

RELAXATION = RelaxationSettings(
    fmax_eV_per_A=0.01, stress_tolerance_GPa=0.1, max_steps=200, keep_symmetry=False, symmetry_tolerance_A=1e-3
)
SYSTEMS = (("Au", "Cu"), ("Al", "Ni", "Ti"), ("Al", "Co", "Cr", "Ni"))


def count_decorations() -> None:
    enumerate_decorations("fcc", ["Au", "Cu"], 2)  # imports
    for max_sites in (4, 6, 8, 10):
        start = perf_counter()
        found = enumerate_decorations("fcc", ["Au", "Cu"], max_sites)
        print(f"fcc, two elements, up to {max_sites} atoms: {len(found)} structures, {perf_counter() - start:.1f} s")


def count_candidates() -> None:
    for elements in SYSTEMS:
        for most in (500, 2000):
            start = perf_counter()
            found = make_candidates(elements, max_candidates=most, n_sqs=0)
            seconds = perf_counter() - start
            kinds = Counter(one.kind for one in found)
            sizes = {}
            for one in found:
                if one.kind == "enumerated":
                    number = sum(x > 0 for x in one.composition.values())
                    sizes[number] = max(sizes.get(number, 0), len(one.atoms))
            largest = ", ".join(f"{number} elements {size} atoms" for number, size in sorted(sizes.items()))
            print(
                f"{'-'.join(elements)}, at most {most}: {len(found)} candidates ({kinds['prototype']} prototypes, "
                f"{kinds['enumerated']} enumerated; {largest}), {seconds:.1f} s"
            )


def relax_candidates(max_sites: int) -> None:
    candidates = make_candidates(["Au", "Cu"], max_sites=max_sites, n_sqs=0)
    start = perf_counter()
    relaxed, energies = [], []
    for one in candidates:
        outcome = relax_cell(one.atoms, EMT(), RELAXATION)
        outcome.atoms.calc = None
        relaxed.append(outcome.atoms)
        energies.append(outcome.energy_eV / len(outcome.atoms))
    print(f"Cu-Au up to {max_sites} atoms: {len(candidates)} relaxed in {perf_counter() - start:.0f} s")
    tell(candidates, relaxed, energies)


def tell(candidates: list[CandidateStructure], relaxed: list[Atoms], energies: list[float]) -> None:
    start = perf_counter()
    verdicts = [judge_relaxation(one.atoms, atoms) for one, atoms in zip(candidates, relaxed, strict=True)]
    each = 1e3 * (perf_counter() - start) / len(candidates)
    for parent in ("fcc", "bcc", "hcp", None):
        here = [v for v in verdicts if v.parent == parent]
        became = Counter(v.became for v in here if v.became)
        others = ", ".join(f"{number} turned into {name}" for name, number in became.items()) or "none turned"
        strained = [v.anisotropic_strain for v in here if not v.intact and not v.became and not v.dissociated]
        kept = [v.anisotropic_strain for v in here if v.intact]
        print(
            f"  {parent or 'no parent'}: {len(here)}, {len(kept)} intact (shape changed by up to {max(kept):.2f}), "
            f"{others}, {len(strained)} strained too far (by {min(strained, default=0):.2f} to "
            f"{max(strained, default=0):.2f}), "
            f"{sum(v.dissociated for v in here)} fell apart"
        )
    print(f"  judged in {each:.0f} ms each")
    start = perf_counter()
    groups = same_after_relaxation(relaxed, energies)
    joined = [group for group in groups if len(group) > 1]
    print(
        f"  {len(groups)} phases: {len(joined)} groups of {sum(map(len, joined))} candidates became the same, found in "
        f"{perf_counter() - start:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-sites", type=int, default=5, help="of the cells that are relaxed")
    args = parser.parse_args()
    count_decorations()
    count_candidates()
    relax_candidates(args.max_sites)


if __name__ == "__main__":
    main()
