"""The child process that trains members of a MACE committee: ``python -m`` this module, with one folder per member.

It calls mace-torch's ``run_train`` with the options in ``job.json`` and one change: the loss multiplies the force error
of every atom with that atom's weight, which mace-torch itself knows for whole configurations only. The model goes to
``model.npz`` as plain data, after a check that this describes it.

Members that wait for each other anyway share a process: importing mace-torch takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from mlip_autopipe.potentials.blob import pack, unpack
from mlip_autopipe.potentials.mace_committee import MaceCommittee
from mlip_autopipe.potentials.mace_labels import WEIGHT
from mlip_autopipe.potentials.mace_model import ModelData, build, describe

JOB: Final = "job.json"
START: Final = "start.npz"
LABELS: Final = "labels.xyz"
RESULT: Final = "model.npz"
MEMBER: Final = "mace member"
EXIT_NOT_FINITE: Final = 3
_NAME = "member"


def main(parent: str, *folders: str) -> int:
    """Train in each folder; returns the exit status. Ends early when the process ``parent`` does."""
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    for number, folder in enumerate(folders):
        print(f"training {folder}", flush=True)
        with chdir(folder):
            try:
                # what describes one member describes all
                model = train(json.loads(Path(JOB).read_text(encoding="utf-8")), check=number == 0)
            except FloatingPointError as error:
                print(error, flush=True)
                return EXIT_NOT_FINITE
            Path(RESULT).write_bytes(write_model(model))
        _forget_handlers()
    return 0


def train(options: dict[str, Any], *, check: bool = True) -> ModelData:
    """Run mace-torch's training in the current folder and return the model.

    Parameters
    ----------
    options
        Of ``mace_run_train``, by the names that it uses inside.
    check
        Whether to make sure that the plain data describe the model completely.
    """
    import torch
    from mace import tools
    from mace.cli import run_train

    arguments = tools.build_default_arg_parser().parse_args(["--name", _NAME])
    if unknown := sorted(set(options) - set(vars(arguments))):
        raise SystemExit(f"mace_run_train has no option {', '.join(unknown)}")
    vars(arguments).update(options)
    if Path(START).exists():
        start = build(read_model(Path(START).read_bytes()), arguments.default_dtype)
        torch.save(start, "start.model")
        arguments.foundation_model = "start.model"
    run_train.get_loss_fn = lambda args, *_: masked_loss(args.energy_weight, args.forces_weight, args.stress_weight)
    # the compiled copy that it also writes is of no use here
    run_train.jit = SimpleNamespace(compile=lambda _: torch.jit.script(torch.nn.Identity()))
    run_train.run(arguments)
    module = torch.load(f"{_NAME}.model", map_location="cpu", weights_only=False)
    model = describe(module)
    if check:
        _check_description(module, model, arguments.default_dtype)
    return model


def masked_loss(energy_weight: float, forces_weight: float, stress_weight: float) -> Any:
    """Return mean squared errors of energy per atom, forces and stress, where every atom's force has its own weight.

    Raises
    ------
    FloatingPointError
        On evaluation, when the loss is not finite.
    """
    import torch
    from mace.modules.loss import (
        WeightedEnergyForcesStressLoss,
        weighted_mean_squared_error_energy,
        weighted_mean_squared_stress,
    )

    class MaskedLoss(WeightedEnergyForcesStressLoss):
        def forward(self, ref: Any, pred: Any, ddp: bool | None = None) -> Any:
            weights = (ref.weight * ref.forces_weight)[ref.batch].unsqueeze(-1) * ref[WEIGHT]
            forces = (weights * torch.square(ref["forces"] - pred["forces"])).mean()
            energy = weighted_mean_squared_error_energy(ref, pred, ddp)
            stress = weighted_mean_squared_stress(ref, pred, ddp)
            total = self.energy_weight * energy + self.forces_weight * forces + self.stress_weight * stress
            # mace-torch would go on, keep the model and end with exit status 0
            if not torch.isfinite(total):
                raise FloatingPointError(f"the loss is {float(total)}")
            return total

    return MaskedLoss(energy_weight, forces_weight, stress_weight)


def write_model(model: ModelData) -> bytes:
    """Return the bytes of one model."""
    return pack(MEMBER, {"architecture": model.architecture}, model.arrays)


def read_model(data: bytes) -> ModelData:
    """Return the model of `write_model`; raises `PotentialFileError` as `unpack` does."""
    header, arrays = unpack(data)
    return ModelData(header["architecture"], arrays)


def _check_description(module: Any, model: ModelData, dtype: str) -> None:
    from ase.io import read

    atoms = read(LABELS, index=0)
    found, wanted = (
        MaceCommittee([model], zbl=None, dtype=dtype, device="cpu", modules=modules).evaluate(atoms).forces_eV_per_A
        for modules in (None, [module])
    )
    digits = 1e-8 if dtype == "float64" else 1e-3
    if not np.allclose(found, wanted, rtol=digits, atol=digits):
        raise SystemExit("the model, built again from its description, predicts other forces")


def _forget_handlers() -> None:
    # mace-torch adds its own for every training
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.filters.clear()


def _end_with(parent: int) -> None:
    # a training whose job was killed must not compute on
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
