"""Training of a MACE committee in child processes with logs of their own.

Members differ by seed (initial weights, order of batches) and, if wanted, by random weights of the labels (the Bayesian
bootstrap, doi:10.1214/aos/1176345338).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.errors import PotentialFileError, TrainingError
from mlip_autopipe.potentials.mace_driver import (
    EXIT_NOT_FINITE,
    JOB,
    LABELS,
    RESULT,
    START,
    read_model,
    write_model,
)
from mlip_autopipe.potentials.mace_labels import WEIGHT, frame, statistics
from mlip_autopipe.potentials.mace_model import ModelData
from mlip_autopipe.potentials.mace_settings import MaceSettings

DRIVER: Final = [sys.executable, "-m", "mlip_autopipe.potentials.mace_driver"]
_LAST_LINES = 15
_EVALUATIONS = 20
_LAST_RATE = 0.01


@dataclass(frozen=True, eq=False)
class MemberPlan:
    """How one member is trained.

    Attributes
    ----------
    member
        Its number, from which its seed follows.
    training
        All labels.
    atomic_energies_eV
        Per element, without the baseline.
    start
        The model that it is fine-tuned from, or None.
    """

    settings: MaceSettings
    member: int
    training: TrainingSet
    atomic_energies_eV: Mapping[str, float]
    start: ModelData | None
    updates: int
    learning_rate: float
    device: str


def train_members(plans: Sequence[MemberPlan]) -> list[ModelData]:
    """Train members; as many at a time as the job has cores, on a graphics card one after the other.

    Raises
    ------
    TrainingError
        A child process failed, its loss was not finite, or what it wrote cannot be read; with its last lines.
    """
    cores = max(1, int(os.environ.get("OMP_NUM_THREADS") or 1))
    parallel = min(cores, len(plans)) if plans[0].device == "cpu" else 1
    with _work_dir(plans[0].settings.work_dir) as top:
        folders = [top / f"member-{index}" for index in range(len(plans))]
        for folder, plan in zip(folders, plans, strict=True):
            _prepare(folder, plan)
        groups = [folders[first::parallel] for first in range(parallel)]
        _run(groups, threads=cores // parallel)
        return [_result(folder, _log(groups[index % parallel])) for index, folder in enumerate(folders)]


def _prepare(folder: Path, plan: MemberPlan) -> None:
    from ase.io import write

    frames = [frame(one, plan.settings.zbl) for one in plan.training]
    options = _options(plan) | statistics(frames, plan.atomic_energies_eV, plan.settings.cutoff_A)
    if plan.settings.random_weights:
        for index, atoms in enumerate(frames):
            rng = np.random.default_rng([plan.settings.seed, plan.member, index])
            atoms.info["config_weight"] = float(rng.exponential())
    folder.mkdir()
    write(folder / LABELS, frames, format="extxyz")
    (folder / JOB).write_text(json.dumps(options | plan.settings.mace_arguments, indent=1), encoding="utf-8")
    if plan.start is not None:
        (folder / START).write_bytes(write_model(plan.start))


def _options(plan: MemberPlan) -> dict[str, Any]:
    from ase.data import atomic_numbers

    settings = plan.settings
    batch = min(settings.batch_size, len(plan.training))
    epochs = ceil(plan.updates / (len(plan.training) // batch))
    interval = ceil(epochs / _EVALUATIONS)
    energies = {atomic_numbers[element]: plan.atomic_energies_eV[element] for element in plan.training.elements}
    # the best epoch is chosen by all labels: by a few held-out ones it would often be chosen badly
    head = {"train_file": LABELS, "valid_file": LABELS, "E0s": repr(energies), "arrays_keys": {WEIGHT: WEIGHT}}
    return {
        "heads": repr({"Default": head}),
        "seed": 1000 * settings.seed + plan.member,
        # MACE, whose isolated atoms have exactly their atomic energy, learned energies and stresses far worse
        "model": "ScaleShiftMACE",
        "hidden_irreps": settings.hidden_irreps,
        "r_max": settings.cutoff_A,
        "loss": "stress",
        "energy_weight": settings.energy_weight,
        "forces_weight": settings.forces_weight,
        "stress_weight": settings.stress_weight,
        "batch_size": batch,
        "valid_batch_size": batch,
        # the last epoch is evaluated, too
        "max_num_epochs": interval * ceil(epochs / interval) + 1,
        "eval_interval": interval,
        "lr": plan.learning_rate,
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": _LAST_RATE ** (1 / epochs),
        "ema": True,
        "multiheads_finetuning": False,
        "device": plan.device,
        "default_dtype": settings.dtype,
        "pin_memory": plan.device == "cuda",
        "plot": False,
    }


@contextmanager
def _work_dir(wanted: Path | None) -> Iterator[Path]:
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="mace-") as name:
            yield Path(name)
    else:
        wanted.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(prefix="training-", dir=wanted.absolute()))


def _run(groups: Sequence[Sequence[Path]], threads: int) -> None:
    """Train the folders of each group in one child process; when one fails, end the others."""
    running: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for folders in groups:
            running.append((_start(folders, threads), _log(folders)))
        while running:
            for child, log in list(running):
                if child.poll() is not None:
                    running.remove((child, log))
                    _check(child.returncode, log)
            time.sleep(0.05)
    finally:
        for child, _ in running:
            child.kill()
            child.wait()


def _start(folders: Sequence[Path], threads: int) -> subprocess.Popen[bytes]:
    # warnings would push what matters out of the last lines
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore", "MPLBACKEND": "Agg"}
    command = [*DRIVER, str(os.getpid()), *map(str, folders)]
    with _log(folders).open("wb") as log:
        return subprocess.Popen(
            command, cwd=folders[0].parent, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _check(status: int, log: Path) -> None:
    if status == 0:
        return
    if status == EXIT_NOT_FINITE:
        what = "met a loss that is not finite; look for absurd labels, or lower the learning rate. It said last:"
    elif status < 0:
        what = f"was killed by {_signal_name(-status)} (out of memory?). It said last:"
    else:
        what = f"ended with exit status {status}. It said last:"
    raise TrainingError(f"the MACE training {what}", last_lines=_last_lines(log))


def _result(folder: Path, log: Path) -> ModelData:
    try:
        found = read_model((folder / RESULT).read_bytes())
    except (OSError, PotentialFileError) as error:
        raise TrainingError(
            f"the MACE training left no model in {folder.name} that can be read: {error}",
            last_lines=_last_lines(log),
        ) from error
    if not found.is_finite:
        raise TrainingError(
            f"the MACE training gave parameters that are not finite in {folder.name}", last_lines=_last_lines(log)
        )
    return found


def _log(folders: Sequence[Path]) -> Path:
    return folders[0].with_suffix(".log")


def _last_lines(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-_LAST_LINES:])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
