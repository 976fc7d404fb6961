"""Elastic constants with the same calculator by this package and by atomate2's elastic flow, in one run.

Both flows run by jobflow's ``run_locally`` with a JobStore in memory, both relax the ions at every strain to the same
force, and every call of the calculator is counted. The truth is a central difference at a strain of 1e-4.

    python benchmarks/atomate2_elastic.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from typing import Any

import numpy as np

FMAX = 1e-3
CALLS = [0]


def emt() -> Any:
    """Return a counting EMT."""
    from ase.calculators.emt import EMT

    return counted(EMT())


def stillinger_weber() -> Any:
    """Return a counting Stillinger-Weber silicon."""
    from mlip_autopipe.reference.classical import stillinger_weber_silicon

    return counted(stillinger_weber_silicon())


def counted(calculator: Any) -> Any:
    """Count every evaluation of a calculator."""
    inner = calculator.calculate

    def calculate(*args: Any, **kwargs: Any) -> Any:
        CALLS[0] += 1
        return inner(*args, **kwargs)

    calculator.calculate = calculate
    return calculator


@dataclass(frozen=True)
class Case:
    """A crystal and its calculator."""

    name: str
    elements: list[str]
    structure: str
    dotted: str


CASES = [
    Case("Cu fcc, EMT", ["Cu"], "fcc", "benchmarks.atomate2_elastic.emt"),
    Case("Si diamond, SW", ["Si"], "diamond", "benchmarks.atomate2_elastic.stillinger_weber"),
    Case("Cu hcp, EMT", ["Cu"], "hcp", "benchmarks.atomate2_elastic.emt"),
]


def start_structure(case: Case) -> Any:
    """Return the structure that both start from."""
    from mlip_autopipe.generation.prototypes import prototype_structure

    return prototype_structure(case.elements, case.structure)


def ours(case: Case) -> tuple[np.ndarray, int]:
    """Return the tensor (GPa, IEEE) and the number of strained cells, by this package."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    from mlip_autopipe.flows.build import build_flow
    from mlip_autopipe.heuristics.engine import HeuristicEngine
    from mlip_autopipe.schemas.loading import parse_user_config

    system = HeuristicEngine().expand(
        parse_user_config(
            {
                "project_name": "benchmark",
                "target_system": {"elements": case.elements, "crystal_structure": case.structure},
                "simulation_goal": "elastic",
                "reference": {"engine": "ase", "calculator": case.dotted},
                "overrides": {"elastic.ion_fmax_eV_per_A": FMAX, "relaxation.fmax_eV_per_A": FMAX},
            }
        )
    )
    flow = build_flow(system)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(flow, store=store, log=False, ensure_success=True)
    document = store.get_output(flow.jobs[-1].uuid)
    return np.array(document["elastic_tensor_ieee_GPa"]), len(document["strains"])


def theirs(case: Case) -> tuple[np.ndarray, int]:
    """Return the tensor (GPa, IEEE) and the number of strained cells, by atomate2."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    from benchmarks.atomate2_makers import FactoryElasticMaker, FactoryRelaxMaker

    common = {"factory": case.dotted, "relax_kwargs": {"fmax": FMAX}}
    maker = FactoryElasticMaker(
        bulk_relax_maker=FactoryRelaxMaker(relax_cell=True, fix_symmetry=True, symprec=1e-3, **common),
        elastic_relax_maker=FactoryRelaxMaker(relax_cell=False, **common),
    )
    flow = maker.make(start_structure(case))
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(flow, store=store, log=False, ensure_success=True)
    document = store.get_output(flow.jobs[-1].uuid, load=True)
    strains = sum("/" in job["name"] for job in store.query(properties=["name"]))  # "relax 1/6", "relax 2/6", ...
    return np.array(document["elastic_tensor"]["ieee_format"]), strains


def measure(run: Callable[[Case], tuple[np.ndarray, int]], case: Case) -> tuple[np.ndarray, int, int, float]:
    """Return tensor, strained cells, evaluations and wall seconds of one run."""
    CALLS[0] = 0
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        started = time.perf_counter()
        tensor, strains = run(case)
        seconds = time.perf_counter() - started
    return tensor, strains, CALLS[0], seconds


def main() -> None:
    """Print one markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    warnings.filterwarnings("ignore")
    import benchmarks.atomate2_elastic as shared  # the module that the dotted names import counts the calls

    columns = ("crystal", "strained cells (ours / atomate2)", "evaluations", "ratio", "wall s (median)", "ratio")
    print("| " + " | ".join((*columns, "max difference (GPa)")) + " |")
    print("|---|---|---|---|---|---|---|")
    for case in shared.CASES:
        for run in (shared.ours, shared.theirs):  # warm up imports and caches
            shared.measure(run, case)
        mine, other = [], []
        for _ in range(repeats):
            mine.append(shared.measure(shared.ours, case))
            other.append(shared.measure(shared.theirs, case))
        seconds = [statistics.median(run[3] for run in runs) for runs in (mine, other)]
        difference = float(np.abs(mine[0][0] - other[0][0]).max())
        print(
            f"| {case.name} | {mine[0][1]} / {other[0][1]} | {mine[0][2]} / {other[0][2]} "
            f"| {mine[0][2] / other[0][2]:.2f} | {seconds[0]:.2f} / {seconds[1]:.2f} "
            f"| {seconds[0] / seconds[1]:.2f} | {difference:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
