"""Measure goal equilibrate against its hidden truth: the same averages by the reference force field itself.

Each run is the whole goal with default settings, in memory. Then the reference runs at constant pressure in the same
cell at the same temperatures, several times longer, and the same analysis averages it: what differs is the potential.

    OMP_NUM_THREADS=1 python benchmarks/equilibrate_truth.py --systems Cu Ag --seeds 2
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from mlip_autopipe.analysis.equilibrium import EquilibriumState, equilibrium_state
from mlip_autopipe.analysis.npt_run import NPTRun
from mlip_autopipe.analysis.thermal_expansion import thermal_expansion
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.trajectory import Trajectory
from mlip_autopipe.flows.otf import OTFMaker
from mlip_autopipe.heuristics import HeuristicEngine
from mlip_autopipe.learning.crystal import RelaxedCrystal, relax_crystal
from mlip_autopipe.learning.starts import starts_of
from mlip_autopipe.reference.ase_engine import make_calculator
from mlip_autopipe.schemas.loading import parse_user_config
from mlip_autopipe.schemas.system import SystemConfig

EMT = {"engine": "ase", "calculator": "ase.calculators.emt.EMT"}
SW = {"engine": "ase", "calculator": "mlip_autopipe.reference.classical.stillinger_weber_silicon"}
FRAME_INTERVAL = 10
SYMMETRY_TOLERANCE_A = 0.01


def plan(system: str, seed: int, kelvin: float) -> SystemConfig:
    return HeuristicEngine().expand(
        parse_user_config(
            {
                "project_name": f"equilibrate-{system}-{seed}",
                "target_system": {"elements": [system]},
                "simulation_goal": "equilibrate",
                "temperatures_K": [kelvin],
                "reference": SW if system == "Si" else EMT,
                "overrides": {"otf.seed": seed, "equilibrate.seed": seed},
            }
        )
    )


def learned(config: SystemConfig) -> Any:
    """Return the property document of a run."""
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = OTFMaker().make(config)
        run_locally(flow, store=store, log=False, ensure_success=True, create_folders=True, root_dir=folder)
    return store.get_output(flow.output.uuid, which="last")


def truth(config: SystemConfig, kelvin: float, longer: int, seed: int, crystal: RelaxedCrystal) -> EquilibriumState:
    """Average a run by the reference itself."""
    settings, calculator = config.equilibrate, make_calculator(config.reference.parameters["calculator"], {})
    assert settings is not None
    cell = crystal.repeated(settings.supercell)
    dynamics = MDSettings(
        ensemble="npt",
        temperature_K=kelvin,
        time_step_fs=settings.time_step_fs,
        compressibility_per_GPa=1 / crystal.bulk_modulus_GPa,
        seed=1000 + seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.h5"
        run_md(
            dynamics,
            cell,
            calculator,
            longer * settings.steps,
            trajectory_path=path,
            frame_interval=FRAME_INTERVAL,
        )
        with Trajectory(path) as trajectory:
            positions, cells = trajectory.read(), np.asarray(trajectory.cells)
            energies, temperatures = np.asarray(trajectory.energies_eV), np.asarray(trajectory.temperatures_K)
    frame, stresses = cell.copy(), []
    frame.calc = calculator
    for place, vectors in zip(positions, cells, strict=True):
        frame.set_cell(vectors)
        frame.positions[:] = place
        stresses.append(frame.get_stress() / units.GPa)
    return equilibrium_state(
        NPTRun(
            cells_A=cells,
            energies_eV=energies,
            temperatures_K=temperatures,
            masses_amu=cell.get_masses(),
            target_temperature_K=kelvin,
            stresses_GPa=np.array(stresses),
            repetitions=settings.supercell,
            conventional=crystal.conventional,
            rotations=crystal.symmetry.rotations,
            reference_cell_A=cell.cell.array,
        )
    )


def compare(system: str, seed: int, kelvin: float, longer: int) -> dict[str, Any]:
    """Run the goal, then the truth, and print both."""
    config, started = plan(system, seed, kelvin), time.perf_counter()
    document = learned(config)
    wall = time.perf_counter() - started
    calculator = make_calculator(config.reference.parameters["calculator"], {})
    (start,) = starts_of(config)
    crystal = relax_crystal(start.primitive, calculator, config.relaxation, SYMMETRY_TOLERANCE_A)
    temperatures = document["temperatures_K"]
    states = [truth(config, t, longer, seed + k, crystal) for k, t in enumerate(temperatures)]
    at = temperatures.index(kelvin)
    found, real = document["equilibria"][at]["volume_A3_per_atom"], states[at].volume_A3_per_atom
    volumes = [crystal.volume_A3_per_atom, *(s.volume_A3_per_atom.value for s in states)]
    errors = [0.0, *(s.volume_A3_per_atom.stderr for s in states)]
    expected = thermal_expansion([0.0, *temperatures], volumes, errors, kelvin)
    expansion = document["thermal_expansion"]["linear_per_K"]
    length, real_length = ((v / crystal.volume_A3_per_atom) ** (1 / 3) for v in (found["value"], real.value))
    row = {
        "system": system,
        "seed": seed,
        "state": document["state"],
        "labels": document["n_reference_calculations"],
        "length_error_percent": 100 * (length / real_length - 1),
        "stated_percent": 100 / 3 * found["stderr"] / found["value"],
        "length_sigma": (found["value"] - real.value) / np.hypot(found["stderr"], real.stderr),
        "expansion_1e6": 1e6 * expansion["value"],
        "expansion_stated_1e6": 1e6 * expansion["stderr"],
        "expansion_truth_1e6": 1e6 * expected.linear_per_K,
        "expansion_truth_stderr_1e6": 1e6 * expected.linear_stderr_per_K,
        "expansion_sigma": (expansion["value"] - expected.linear_per_K)
        / np.hypot(expansion["stderr"], expected.linear_stderr_per_K),
        "wall_s": wall,
    }
    print(
        f"{system:3s} {seed:4d} {row['state']:8s} {row['labels']:3d} labels | "
        f"length {row['length_error_percent']:+.4f} % (stated {row['stated_percent']:.4f} %, "
        f"{row['length_sigma']:+.1f} errors) | "
        f"expansion {row['expansion_1e6']:.2f}({row['expansion_stated_1e6']:.2f}), "
        f"truth {row['expansion_truth_1e6']:.2f}({row['expansion_truth_stderr_1e6']:.2f}) 1e-6/K, "
        f"{row['expansion_sigma']:+.1f} errors | {wall:.0f} s",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["Cu"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--longer", type=int, default=4, help="length of the truth's runs in units of the goal's")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for system in args.systems:
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            rows.append(compare(system, seed, args.temperature, args.longer))
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
