"""``mlip-auto potential export`` and ``dataset export`` on a run's own database."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.potentials.extxyz import read_extxyz
from mlip_autopipe.schemas.model_card import ModelCard
from tests.jobs.learned_run import LEARNED, RUN_ID, store_learned_run


def add_run(launchpad, run_id: str, project_name: str) -> None:
    from jobflow import Flow, job

    from mlip_autopipe.launch import runs
    from mlip_autopipe.launch.workflow import to_workflow

    @job
    def nothing() -> None:
        """Stand for a run's jobs."""

    flow = Flow([nothing()])
    runs.submit(launchpad, to_workflow(flow, run_id=run_id, project_name=project_name, goal="potential", formula="Ni"))


@pytest.fixture
def learned(live_launchpad):
    """A LaunchPad with a run that has learned a potential, and one that has not."""
    store = jobstore_for(live_launchpad)
    store.connect()
    store_learned_run(store)
    add_run(live_launchpad, RUN_ID, "ni")
    add_run(live_launchpad, "cu-20300101-000000-abcd", "cu")
    yield store
    store.close()


@pytest.mark.live
def test_the_potential_its_card_and_its_use(learned, invoke):
    outcome = invoke("potential", "export", "ni")
    assert outcome.code == 0, outcome.err
    data = Path(f"{RUN_ID}.mlip").read_bytes()
    assert hashlib.sha256(data).hexdigest() == LEARNED.potential.save().sha256
    card = ModelCard.model_validate_json(Path(f"{RUN_ID}.model_card.json").read_text())
    assert card.run_id == RUN_ID
    assert card.potential_sha256 == LEARNED.potential.save().sha256
    assert "# Potential Ni" in Path(f"{RUN_ID}.model_card.md").read_text()
    lines = [line.strip() for line in outcome.out.splitlines() if line.startswith("    ")]
    assert len(lines) == 3
    atoms = LEARNED.configurations[1].atoms.copy()
    exec("\n".join(lines), {"atoms": atoms})
    expected = LEARNED.potential.predict(LEARNED.configurations[1].atoms).energy_eV
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-8)


@pytest.mark.live
def test_the_dataset(learned, invoke):
    outcome = invoke("dataset", "export", RUN_ID, "--out", "data/ni.xyz")
    assert outcome.code == 0, outcome.err
    assert "data/ni.xyz: 6 training and 2 held-out labels, 1 masked atoms" in outcome.out
    found = read_extxyz("data/ni.xyz")
    assert [one.label_id for one in found] == [one.label_id for one in LEARNED.configurations]
    assert found[0].force_weights.tolist() == [0, 1, 1, 1]
    assert np.allclose(read("data/ni.xyz", 3).get_forces(), LEARNED.configurations[3].forces_eV_per_A, atol=1e-7)


@pytest.mark.live
@pytest.mark.parametrize(
    ("out", "written"),
    [("ni", "ni.mlip"), ("ni.bin", "ni.bin"), ("deep/ni.mlip", "deep/ni.mlip"), (".", f"{RUN_ID}.mlip")],
)
def test_names_of_files(learned, invoke, out, written):
    assert invoke("potential", "export", "ni", "--out", out).code == 0
    assert Path(written).is_file()


@pytest.mark.live
def test_mistakes(learned, invoke):
    for command in ("potential", "dataset"):
        outcome = invoke(command, "export", "nickel")
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
        assert "no run 'nickel'" in outcome.err
        outcome = invoke(command, "export", "cu")
        assert outcome.code == 2
        assert "has trained no potential" in outcome.err
    BlobStore(learned)._chunks.delete_one({"n": 0})
    outcome = invoke("potential", "export", "ni")
    assert outcome.code == 1
    assert "is damaged" in outcome.err
    BlobStore(learned)._files.delete_many({})
    outcome = invoke("potential", "export", "ni")
    assert (outcome.code, len(outcome.err.splitlines())) == (1, 1)
    assert "no blob" in outcome.err
    assert [path.suffix for path in Path().iterdir() if path.suffix != ".yaml"] == []


def test_where_nothing_was_ever_stored(clean_dir, invoke):
    for command in ("potential", "dataset"):
        outcome = invoke(command, "export", "ni")
        assert outcome.code == 2
        assert "no runs yet" in outcome.err
    assert list(clean_dir.iterdir()) == []


def test_conversion_says_what_is_left_out(clean_dir, invoke):
    Path("ni.mlip").write_bytes(LEARNED.potential.save().data)
    outcome = invoke("potential", "convert", "ni.mlip", "--out", "out/polymlp.yaml")
    assert outcome.code == 0, outcome.err
    text = Path("out/polymlp.yaml").read_text()
    notes = [line.removeprefix("note: ") for line in outcome.out.splitlines() if line.startswith("note: ")]
    assert "short-range repulsion is missing" in notes[0]
    assert all(f"# {note}" in text for note in notes)


def test_what_cannot_be_converted(clean_dir, invoke):
    outcome = invoke("potential", "convert", "none.mlip")
    assert (outcome.code, len(outcome.err.splitlines())) == (1, 1)
    assert "there is no file none.mlip" in outcome.err
    Path("bad.mlip").write_text("no potential")
    outcome = invoke("potential", "convert", "bad.mlip")
    assert outcome.code == 1
    assert "bad.mlip: " in outcome.err
    assert not Path("polymlp.yaml").exists()
