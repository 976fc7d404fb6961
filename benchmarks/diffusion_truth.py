"""Measure goal diffusion against its hidden truth: the same runs by the reference force field itself.

The goal runs with default settings, in memory. Then the reference moves the same cell with the same vacancy at the same
volume and temperature, and the same analysis reads it: what differs is the potential. For solids, what the goal's own
runs say of the reference is shown, too: the change of ln D from the energies at crossings, with the reference in the
place of a posterior sample. A liquid's truth is all of its own: the reference melts a larger box, finds its volume at
zero pressure, and its coefficient is corrected for that box by its own viscosity.

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

from mlip_autopipe.analysis.box_size import yeh_hummer_correction_cm2_s
from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient
from mlip_autopipe.analysis.diffusion_result import DiffusionResult
from mlip_autopipe.analysis.statistics import mean_with_error
from mlip_autopipe.analysis.viscosity import shear_viscosity
from mlip_autopipe.dynamics.pressure_record import PressureRecord
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.trajectory import Trajectory
from mlip_autopipe.flows.otf import OTFMaker
from mlip_autopipe.heuristics import HeuristicEngine
from mlip_autopipe.jobs.diffusion_document import LIQUID_VOLUME_POWER, at_temperature
from mlip_autopipe.jobs.diffusion_model import shifts_by_species
from mlip_autopipe.jobs.diffusion_production import MELT_FACTOR, MELTING_FS, DiffusionProduction
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


def liquid_truth(production: DiffusionProduction, kelvin: float, length_ps: float) -> tuple[float, float, str]:
    """Let the reference melt a larger box; return D of the infinite liquid with its error, and words on the way."""
    settings = production.settings
    calculator = make_calculator(production.system.reference.parameters["calculator"], {})
    larger = [[value + (value > 0) for value in row] for row in settings.supercell]
    atoms = production.crystal.repeated(larger)
    base = MDSettings(
        ensemble="npt",
        time_step_fs=settings.time_step_fs,
        temperature_K=MELT_FACTOR * kelvin,
        thermostat_time_fs=200.0,
        compressibility_per_GPa=1 / production.crystal.bulk_modulus_GPa,
        seed=977,
    )
    atoms = run_md(base, atoms, calculator, round(MELTING_FS / settings.time_step_fs)).atoms
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.h5"
        cold = base.model_copy(update={"temperature_K": kelvin, "seed": 978})
        atoms.set_momenta(None)
        atoms = run_md(cold, atoms, calculator, settings.lattice_steps, trajectory_path=path).atoms
        with Trajectory(path) as trajectory:
            volumes = np.abs(np.linalg.det(np.asarray(trajectory.cells)))
        volume = mean_with_error(volumes[len(volumes) // 2 :])
        atoms.set_cell(atoms.cell.array * (float(volume.mean) / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        atoms.set_momenta(None)
        path, record = Path(folder) / "truth.h5", PressureRecord(production.pressure_interval)
        still = cold.model_copy(update={"ensemble": "nvt_nose_hoover", "seed": 979})
        steps = round(1000 * length_ps / settings.time_step_fs)
        every = settings.frame_interval
        run_md(still, atoms, calculator, steps, trajectory_path=path, frame_interval=every, pressures=record)
        data = calculate_msd(path, start=production.transient_frames)
    (group,) = fit_diffusion_coefficient(data, kelvin, phase="liquid").groups.values()
    warm = production.transient_frames * every // production.pressure_interval
    interval_fs = production.pressure_interval * settings.time_step_fs
    eta = shear_viscosity([record.tensors_GPa[warm:]], interval_fs, float(volume.mean), kelvin)
    shift = yeh_hummer_correction_cm2_s(kelvin, atoms.cell.array, eta, phase="liquid")
    relative = LIQUID_VOLUME_POWER * float(volume.stderr / volume.mean)
    error = float(np.hypot(np.hypot(group.D_stderr_cm2_s, shift.stderr), relative * (group.D_cm2_s + shift.value)))
    words = (
        f"{len(atoms)} atoms, {volume.mean / len(atoms):.2f} +- {volume.stderr / len(atoms):.2f} A^3 per atom, "
        f"{group.D_cm2_s:.3g} in the box, viscosity {eta.value:.2f} +- {eta.stderr:.2f} mPa s"
    )
    return group.D_cm2_s + shift.value, error, words


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
        if document["phase"] == "liquid":
            value, error = found["D_cm2_s"]["value"], found["D_cm2_s"]["stderr"]
            real, stderr, words = liquid_truth(production, one["temperature_K"], args.truth_ps)
            print(
                f"{one['temperature_K']:g} K: D = {value:.3g} +- {error:.2g} cm^2/s, truth {real:.3g} +- {stderr:.2g} "
                f"({words}), {(value - real) / np.hypot(error, stderr):+.1f} combined errors",
                flush=True,
            )
            continue
        real = truth(production, one["temperature_K"], args.truth_ps).groups[args.element]
        value, error = found["D_cm2_s"]["value"], found["D_cm2_s"]["stderr"]
        sigma = (value - real.D_cm2_s) / np.hypot(error, real.D_stderr_cm2_s)
        kelvin = one["temperature_K"]
        predicted = predicted_shift(production, kelvin, args.element)
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
