"""Checkpoints: one self-contained blob, written whole or not at all, exact to the last bit.

A checkpoint holds two states: `stop`, where the run stands, and `anchor`, the last step at which the calculator forgot
its history. Calculators with neighbour lists sum in an order that depends on earlier steps; replaying the few steps
from the anchor gives the same bits as the run that never stopped.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.state import MDState
from mlip_autopipe.errors import AutoPipeError

FORMAT = "mlip-autopipe-md-checkpoint"
VERSION = 1
_ARRAYS = ("numbers", "masses", "pbc", "positions", "velocities", "cell", "forces")


class CheckpointError(AutoPipeError):
    """A checkpoint is damaged, or belongs to another run."""


@dataclass
class Checkpoint:
    """Where a run stands.

    Attributes
    ----------
    settings
        Those of the run.
    stop, anchor
        See the module; equal when the run stands on an anchor.
    potential_sha256
        The potential that moved the atoms, or an empty string.
    watch
        State of the uncertainty watch (steps between checks, last check).
    reference
        What the guards compare with (start volume, start temperature).
    """

    settings: MDSettings
    stop: MDState
    anchor: MDState
    potential_sha256: str
    watch: dict[str, Any]
    reference: dict[str, float]


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Return the checkpoint as one blob."""
    same = checkpoint.stop.same_point(checkpoint.anchor)
    arrays: dict[str, Any] = {}
    meta: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "settings": checkpoint.settings.model_dump(mode="json"),
        "potential_sha256": checkpoint.potential_sha256,
        "watch": checkpoint.watch,
        "reference": checkpoint.reference,
        "states": {},
    }
    for name, state in [("anchor", checkpoint.anchor)] + ([] if same else [("stop", checkpoint.stop)]):
        for key in _ARRAYS:
            arrays[f"{name}/{key}"] = getattr(state, key)
        if state.stress is not None:
            arrays[f"{name}/stress"] = state.stress
        for key, value in state.thermostat.items():
            arrays[f"{name}/thermostat/{key}"] = value
        arrays[f"{name}/scalars"] = np.array([state.energy, state.heat])
        meta["states"][name] = {"step": state.step, "rng": state.rng.bit_generator.state}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def from_bytes(blob: bytes) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    CheckpointError
        If the blob is damaged, no checkpoint, or of a newer version.
    """
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        if meta["format"] != FORMAT:
            raise ValueError(meta["format"])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"This is no readable checkpoint of a molecular dynamics run ({error}).") from error
    if meta["version"] > VERSION:
        raise CheckpointError(
            f"The checkpoint has version {meta['version']}; this program reads up to {VERSION}: update it."
        )
    anchor = _state(arrays, meta, "anchor")
    stop = _state(arrays, meta, "stop") if "stop" in meta["states"] else anchor.copy()
    return Checkpoint(
        settings=MDSettings.model_validate(meta["settings"]),
        stop=stop,
        anchor=anchor,
        potential_sha256=meta["potential_sha256"],
        watch=meta["watch"],
        reference=meta["reference"],
    )


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write atomically: after a crash at any moment the file is the old or the new checkpoint, whole."""
    target = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(to_bytes(checkpoint))
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint file; see `from_bytes`."""
    try:
        return from_bytes(Path(path).read_bytes())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _state(arrays: dict[str, Any], meta: dict[str, Any], name: str) -> MDState:
    own = {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}
    bit_generator = np.random.PCG64()
    bit_generator.state = meta["states"][name]["rng"]
    energy, heat = own["scalars"].tolist()
    return MDState(
        step=meta["states"][name]["step"],
        rng=np.random.Generator(bit_generator),
        stress=own.get("stress"),
        energy=energy,
        heat=heat,
        thermostat={k.removeprefix("thermostat/"): v for k, v in own.items() if k.startswith("thermostat/")},
        **{key: own[key] for key in _ARRAYS},
    )
