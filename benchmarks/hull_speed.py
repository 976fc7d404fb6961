"""Measure time and agreement of convex hulls, side by side with pymatgen, and the time of a thousand posterior hulls.

Entries are random formulas of up to 20 atoms per element with the energies of a mixture plus random ones, and as many
with a composition each of its own. For pymatgen the time is that of making `PhaseDiagram` and of `get_e_above_hull` of
all entries; with `--evaluate N`, of N random ones and scaled to all, which is said. Making its entry objects is not
counted. Both run in turn; the best of the rounds counts. Samples have independent errors of 10 meV/atom, and the first
of them are compared with the hulls of all entries, without what the samples leave out.

    OMP_NUM_THREADS=1 python benchmarks/hull_speed.py
    OMP_NUM_THREADS=1 python benchmarks/hull_speed.py --evaluate 500        # minutes less
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.analysis.hull_samples import independent_samples, sample_hulls

ELEMENTS = ("Al", "Cu", "Ni", "Zn")
NAMES = {2: "binary", 3: "ternary", 4: "quaternary"}
SCATTER_eV, STDERR_eV = 0.1, 0.01
COMPARED = 5


def random_entries(n: int, d: int, *, own_compositions: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, d) atoms, not whole numbers where every entry has a composition of its own, and energies per atom."""
    rng = np.random.default_rng(seed)
    if own_compositions:
        amounts = rng.dirichlet(np.ones(d), n)
    else:
        amounts = rng.integers(0, 21, (n, d)).astype(float)
        amounts[amounts.sum(axis=1) == 0, 0] = 1
    amounts[:d] = np.eye(d)
    x = amounts / amounts.sum(axis=1, keepdims=True)
    energies = x @ rng.normal(-4, 1, d) - 0.5 * (1 - (x**2).sum(axis=1))
    energies[d:] += SCATTER_eV * abs(rng.normal(size=n - d))
    return amounts, energies


def timed(call: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def against_pymatgen(n: int, d: int, *, own_compositions: bool, evaluate: int | None, rounds: int) -> None:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    amounts, energies = random_entries(n, d, own_compositions=own_compositions)
    x = amounts / amounts.sum(axis=1, keepdims=True)
    entries = [
        PDEntry(Composition(dict(zip(ELEMENTS, row, strict=False))), energy * sum(row))
        for row, energy in zip(amounts.tolist(), energies.tolist(), strict=True)
    ]
    chosen = np.arange(n) if evaluate is None else np.random.default_rng(1).choice(n, min(evaluate, n), replace=False)
    ours, making, asking = [], [], []
    for _ in range(rounds):
        seconds, hull = timed(lambda: convex_hull(x, energies))
        ours.append(seconds)
        seconds, diagram = timed(lambda: PhaseDiagram(entries))
        making.append(seconds)
        seconds, above = timed(partial(evaluated, diagram, [entries[k] for k in chosen]))
        asking.append(seconds * n / len(chosen))
    difference = abs(np.array(above) - hull.e_above_hull_eV_per_atom[chosen]).max()
    theirs = min(np.array(making) + asking)
    kind = "a composition each" if own_compositions else "formulas"
    scaled = "" if evaluate is None else f" (scaled from {len(chosen)})"
    print(
        f"| {NAMES[d]}, {kind} | {len(hull.vertices)} | {1e3 * min(ours):.1f} ms | {theirs:.1f} s{scaled}, making "
        f"{min(making):.2f} s | {theirs / min(ours):.0f} x | {difference:.0e} eV |",
        flush=True,
    )


def evaluated(diagram: Any, entries: list[Any]) -> list[float]:
    return [diagram.get_e_above_hull(entry) for entry in entries]


def posterior(n: int, d: int, n_samples: int, *, own_compositions: bool) -> None:
    amounts, energies = random_entries(n, d, own_compositions=own_compositions)
    x = amounts / amounts.sum(axis=1, keepdims=True)
    errors = np.full(n, STDERR_eV)
    first = next(independent_samples(energies, errors, COMPARED))
    some = sample_hulls(x, first)
    for k, stable in enumerate(some.stable_entries):
        if set(stable) != set(np.flatnonzero(convex_hull(x, first[k]).stable)):
            raise SystemExit(f"sample {k}: not the same stable entries as the hull of all entries")
    above = np.mean([convex_hull(x, one).e_above_hull_eV_per_atom for one in first], axis=0)
    difference = abs(above - some.e_above_hull_eV_per_atom).max()
    seconds, hulls = timed(lambda: sample_hulls(x, independent_samples(energies, errors, n_samples)))
    drawing, _ = timed(lambda: [block.sum() for block in independent_samples(energies, errors, n_samples)])
    doubtful = int(((hulls.probability_stable > 0.01) & (hulls.probability_stable < 0.99)).sum())
    kind = "a composition each" if own_compositions else "formulas"
    print(
        f"| {NAMES[d]}, {kind} | {n_samples} | {seconds:.1f} s, {drawing:.1f} of them for the draws | {doubtful} | "
        f"{difference:.0e} eV |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--evaluate", type=int)
    parser.add_argument("--elements", type=int, nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--no-pymatgen", action="store_true")
    args = parser.parse_args()
    convex_hull(np.eye(2), np.zeros(2))
    print(f"{args.entries} entries, CPU times, load average {os.getloadavg()[0]:.1f}")
    if not args.no_pymatgen:
        print("| entries | vertices | this program | pymatgen | faster | largest difference |")
        for d in args.elements:
            for own in (False, True):
                against_pymatgen(args.entries, d, own_compositions=own, evaluate=args.evaluate, rounds=args.rounds)
    print("| posterior hulls | samples | time | entries in doubt | difference from the hull of all |")
    for d in args.elements:
        for own in (False, True):
            posterior(args.entries, d, args.samples, own_compositions=own)


if __name__ == "__main__":
    main()
