"""Measure goal diffusion against its hidden truth: the same runs by the reference force field itself.

The goal runs with default settings, in memory. Then the reference moves the same cell with the same vacancy at the same
volume and temperature, and the same analysis reads it: what differs is the potential. For solids, what the goal's own
runs say of the reference is shown, too: the change of ln D from the energies at crossings, with the reference in the
place of a posterior sample.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_truth.py --element Cu --truth-ps 500
    OMP_NUM_THREADS=1 python benchmarks/diffusion_truth.py --project DIR     # judges a run that is there
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient
from mlip_autopipe.analysis.diffusion_result import DiffusionResult
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.flows.otf import OTFMaker
from mlip_autopipe.heuristics import HeuristicEngine
from mlip_autopipe.jobs.diffusion_document import at_temperature
from mlip_autopipe.jobs.diffusion_model import shifts_by_species
from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
from mlip_autopipe.reference.ase_engine import make_calculator
from mlip_autopipe.schemas.loading import parse_user_config

EMT = {"engine": "ase", "calculator": "ase.calculators.emt.EMT"}


def goal(element: str, kelvins: list[float] | None, overrides: dict[str, Any]) -> tuple[Any, DiffusionProduction]:
    """Run the goal and return its document and what its production knows."""
    user = {
        "project_name": f"diffusion-{element}",
        "target_system": {"elements": [element]},
        "simulation_goal": "diffusion",
        "reference": EMT,
        "overrides": overrides,
        **({"temperatures_K": kelvins} if kelvins else {}),
    }
    config = HeuristicEngine().expand(parse_user_config(user))
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = OTFMaker().make(config)
        run_locally(flow, store=store, log=False, ensure_success=True, create_folders=True, root_dir=folder)
    return store.get_output(flow.output.uuid, which="last"), DiffusionProduction(store, config.run_id)


def finished_goal(folder: Path) -> tuple[Any, DiffusionProduction]:
    """Return the document and production of the newest run that the command line has made in a folder."""
    from mlip_autopipe.cli.db import open_database
    from mlip_autopipe.launch.jobstore import jobstore_for
    from mlip_autopipe.launch.location import locate
    from mlip_autopipe.launch.runs import list_runs, result_document

    os.chdir(folder)
    db = open_database(None)
    run = list_runs(db)[0]
    store = jobstore_for(locate(None, folder))
    store.connect()
    return result_document(db, run.run_id), DiffusionProduction(store, run.run_id)


def truth(production: DiffusionProduction, kelvin: float, length_ps: float) -> DiffusionResult:
    """Run the reference itself in the cell of the first replica."""
    settings = production.settings
    calculator = make_calculator(production.system.reference.parameters["calculator"], {})
    dynamics = MDSettings(
        ensemble="nvt_nose_hoover",
        time_step_fs=settings.time_step_fs,
        temperature_K=kelvin,
        thermostat_time_fs=200.0,
        seed=977,
    )
    cell = production.cell(production.run(kelvin, "mean", 0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.h5"
        steps = round(1000 * length_ps / settings.time_step_fs)
        run_md(dynamics, cell, calculator, steps, trajectory_path=path, frame_interval=settings.frame_interval)
        data = calculate_msd(path, start=settings.lattice_steps // (2 * settings.frame_interval))
    return fit_diffusion_coefficient(data, kelvin, phase=settings.phase)


class Reference:
    """The reference as a force field."""

    def __init__(self, calculator: Any) -> None:
        self._calculator = calculator

    def predict(self, atoms: Any) -> Any:
        """Return an object with the energy."""
        return SimpleNamespace(energy_eV=self._calculator.get_potential_energy(atoms))


def predicted_shift(production: DiffusionProduction, kelvin: float, element: str) -> str:
    """Say what the runs with the potential predict of the reference."""
    found = at_temperature(production, kelvin)
    calculator = make_calculator(production.system.reference.parameters["calculator"], {})
    distances = {element: found.replicas[0].groups[element].hop_distance_A}
    others: Any = [Reference(calculator)]
    shift = shifts_by_species(production, found.runs, distances, others).get(element)
    return "" if shift is None else f"; predicted by crossings {shift.shifts[0]:+.3f} +- {shift.stderr[0]:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--element", default="Cu")
    parser.add_argument("--temperatures", type=float, nargs="*", help="K; default: the plan's own")
    parser.add_argument("--truth-ps", type=float, default=500.0)
    parser.add_argument("--overrides", type=json.loads, default={})
    parser.add_argument("--project", type=Path, help="folder in which `mlip-auto run` has finished: no run of its own")
    args = parser.parse_args()
    started = time.perf_counter()
    if args.project is not None:
        document, production = finished_goal(args.project.resolve())
    else:
        document, production = goal(args.element, args.temperatures, args.overrides)
    print(f"goal: {time.perf_counter() - started:.0f} s, state {document['state']}, ", end="")
    print(f"{document['n_reference_calculations']} labels, {document['relearnings']} relearnings")
    for sentence in document["missing"]:
        print(f"  missing: {sentence}")
    for one in document["results"]:
        found = one["species"][args.element]
        real = truth(production, one["temperature_K"], args.truth_ps).groups[args.element]
        value, error = found["D_cm2_s"]["value"], found["D_cm2_s"]["stderr"]
        sigma = (value - real.D_cm2_s) / np.hypot(error, real.D_stderr_cm2_s)
        kelvin = one["temperature_K"]
        predicted = predicted_shift(production, kelvin, args.element) if document["phase"] == "solid" else ""
        print(
            f"{one['temperature_K']:g} K: D = {value:.3g} +- {error:.2g} cm^2/s ({found['n_hops']:.0f} hops, "
            f"{one['simulated_time_ps']:.0f} ps), truth {real.D_cm2_s:.3g} +- {real.D_stderr_cm2_s:.2g} "
            f"({real.n_hops} hops), {sigma:+.1f} combined errors; truth - potential in ln D "
            f"{np.log(real.D_cm2_s / value):+.2f}{predicted}",
            flush=True,
        )
    for name, fit in document["arrhenius"].items():
        if name[0] != "@":
            print(f"{name}: E = {fit['activation_energy_eV']:.3f} +- {fit['activation_energy_stderr_eV']:.3f} eV")


if __name__ == "__main__":
    main()
