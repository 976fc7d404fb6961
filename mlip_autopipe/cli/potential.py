"""``mlip-auto potential`` and ``mlip-auto dataset``: what a run has learned, as files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.jobs.run_potential import RunPotential
    from mlip_autopipe.potentials.dataset import TrainingSet


def export_potential(run_name: str, out: Path | None, launchpad: Path | None) -> None:
    """Write the potential of a run and its model card, and print how ASE uses it."""
    from mlip_autopipe.cli.files import require_writable, write_all
    from mlip_autopipe.cli.train import card_files, print_card, print_usage
    from mlip_autopipe.jobs.run_potential import model_card_of_run, potential_bytes
    from mlip_autopipe.potentials.files import SUFFIX

    with _run_potential(run_name, launchpad) as (store, found):
        path = _target(out, found.run_id, SUFFIX)
        require_writable(path.parent)
        card = model_card_of_run(store, found, created=datetime.now(UTC))
        data = potential_bytes(store, found.potential_sha256)
    files = write_all(path.parent, {path.name: data, **card_files(card, f"{path.stem}.model_card")})
    print_card(card)
    print("wrote " + ", ".join(str(file) for file in files))
    print_usage(path)


def convert_potential(file: Path, out: Path) -> None:
    """Write a potential file as pypolymlp's own, and print what that cannot hold."""
    from mlip_autopipe.cli.files import write_all
    from mlip_autopipe.potentials.polymlp_yaml import polymlp_yaml
    from mlip_autopipe.potentials.registry import load_calculator

    text, notes = polymlp_yaml(load_calculator(file).force_field)
    write_all(out.parent, {out.name: text.encode()})
    print(f"wrote {out}")
    for note in notes:
        print(f"note: {note}")


def export_dataset(run_name: str, out: Path | None, launchpad: Path | None) -> None:
    """Write the labels behind the potential of a run as extended XYZ with force masks."""
    from mlip_autopipe.cli.files import require_writable, write_all
    from mlip_autopipe.jobs.run_potential import dataset_of_run

    with _run_potential(run_name, launchpad) as (store, found):
        path = _target(out, found.run_id, ".extxyz")
        require_writable(path.parent)
        dataset = dataset_of_run(store, found)
    if len(dataset) == 0:
        raise InvalidInputError(f"the potential of run {found.run_id} names no labels")
    write_all(path.parent, {path.name: _extxyz(dataset)})
    masked = sum(int((one.force_weights == 0).sum()) for one in dataset)
    print(
        f"wrote {path}: {len(found.label_ids)} training and {len(found.held_out_label_ids)} held-out labels, "
        f"{masked} masked atoms"
    )


@contextmanager
def _run_potential(run_name: str, launchpad: Path | None) -> Iterator[tuple[JobStore, RunPotential]]:
    from mlip_autopipe.cli.db import open_database
    from mlip_autopipe.jobs.run_potential import potential_of_run
    from mlip_autopipe.launch.jobstore import jobstore_for
    from mlip_autopipe.launch.location import locate
    from mlip_autopipe.launch.runs import find_run

    db = open_database(launchpad)
    if db is None:
        raise InvalidInputError(f"no run {run_name!r}: no runs yet; `mlip-auto run input.yaml` starts one")
    run = find_run(db, run_name)
    store = jobstore_for(locate(launchpad, Path.cwd()))
    store.connect()
    try:
        yield store, potential_of_run(store, run.run_id)
    finally:
        store.close()


def _target(out: Path | None, run_id: str, suffix: str) -> Path:
    if out is None:
        return Path(run_id + suffix)
    if out.is_dir():
        return out / (run_id + suffix)
    return out if out.suffix else out.with_name(out.name + suffix)


def _extxyz(dataset: TrainingSet) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dataset.extxyz"
        dataset.write_extxyz(path)
        return path.read_bytes()
