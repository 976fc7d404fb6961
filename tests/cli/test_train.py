"""``mlip-auto train``: files, numbers and the sentences about bad data."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from mlip_autopipe.cli import train
from mlip_autopipe.cli.potential_figure import potential_figure
from mlip_autopipe.potentials import registry
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.errors import TrainingError
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.potentials.registry import load_calculator
from mlip_autopipe.schemas.model_card import ModelCard
from tests.potentials.helpers import emt_label, emt_set

PNG = b"\x89PNG\r\n\x1a\n"
NAMES = ["model_card.json", "model_card.md", "parity.png", "potential.mlip"]


class QuickPolymlp(PolymlpPotential):
    """Has a small feature set only."""

    def __init__(self, *, largest=20, **settings):
        super().__init__(largest=largest, **settings)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    targets = {**registry.POTENTIALS.targets, "polymlp": f"{__name__}:QuickPolymlp"}
    monkeypatch.setattr(registry.POTENTIALS, "targets", targets)
    monkeypatch.setattr(train, "potential_figure", lambda *arguments: PNG)


@pytest.fixture
def dataset(clean_dir) -> Path:
    path = clean_dir / "ni.extxyz"
    emt_set(24, 0).write_extxyz(path)
    return path


def change(path: Path, function) -> Path:
    frames = read(path, ":")
    for k, atoms in enumerate(frames):
        function(k, atoms)
    write(path, frames, format="extxyz")
    return path


def test_it_writes_potential_card_and_figure(dataset, invoke, monkeypatch):
    monkeypatch.setattr(train, "potential_figure", potential_figure)
    outcome = invoke("train", dataset, "--out", "ni", "--held-out", 0.5, "--seed", 3)
    assert outcome.code == 0, outcome.err
    folder = dataset.parent / "ni"
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    card = ModelCard.model_validate_json((folder / "model_card.json").read_text())
    data = (folder / "potential.mlip").read_bytes()
    assert card.potential_sha256 == hashlib.sha256(data).hexdigest()
    assert (card.training.configurations, card.held_out.configurations) == (12, 12)
    assert card.seeds == {"split": 3}
    assert card.calibration.ready
    assert card.calibration.coverage_method == "leave_one_out"
    assert card.calibration.coverage_labels == 12
    assert 0 < card.errors_held_out.force_meV_per_A.rmse < 200
    assert set(card.training.label_ids) | set(card.held_out.label_ids) == {f"0-{k}" for k in range(24)}
    assert not set(card.training.label_ids) & set(card.held_out.label_ids)
    assert (folder / "parity.png").read_bytes()[:8] == PNG
    assert "held-out RMSE" in outcome.out
    assert "load_calculator('ni/potential.mlip')" in outcome.out
    assert "force (meV/A)" in (folder / "model_card.md").read_text()


def test_the_potential_is_that_of_the_training_part_and_its_stated_errors_are_true(dataset, invoke):
    assert invoke("train", dataset, "-o", "ni").code == 0
    card = ModelCard.model_validate_json(Path("ni/model_card.json").read_text())
    calculator = load_calculator("ni/potential.mlip")
    differences = []
    for atoms in read(dataset, ":"):
        if atoms.info["label_id"] in card.held_out.label_ids:
            differences.append(calculator.get_forces(atoms) - atoms.get_forces())
    assert len(differences) == 5
    rmse = np.sqrt((np.concatenate(differences) ** 2).mean())
    assert card.errors_held_out.force_meV_per_A.rmse == pytest.approx(1e3 * rmse, rel=1e-6)


def test_the_same_seed_gives_the_same_potential(clean_dir, invoke):
    emt_set(6, 0).write_extxyz("few.extxyz")
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert invoke("train", "few.extxyz", "--out", out, "--seed", seed).code == 0
    a, b, c = (Path(out, "potential.mlip").read_bytes() for out in "abc")
    assert a == b
    assert a != c


def test_json(dataset, invoke):
    outcome = invoke("train", dataset, "--json", "--held-out", 0)
    found = json.loads(outcome.out)
    assert found["files"] == [f"potential/{name}" for name in ("potential.mlip", *NAMES[:3])]
    card = ModelCard.model_validate(found["model_card"])
    assert card.errors_held_out is None
    assert card.training.configurations == 24
    assert any("held out" in warning for warning in card.warnings)


def test_masked_forces_do_not_count(clean_dir, invoke):
    clean = emt_set(12, 5)
    wrong = []
    for one in clean:
        forces, weights = one.forces_eV_per_A.copy(), np.ones(len(one.atoms))
        forces[0], weights[0] = 40.0, 0.0
        wrong.append(Configuration(one.atoms, one.energy_eV, forces, one.stress_eV_per_A3, weights))
    TrainingSet.of(wrong).write_extxyz("masked.extxyz")
    assert invoke("train", "masked.extxyz", "-o", "masked").code == 0
    card = ModelCard.model_validate_json(Path("masked/model_card.json").read_text())
    assert card.training.masked_atoms == card.training.configurations
    assert card.errors_held_out.force_meV_per_A.largest < 1000
    assert card.validity.largest_force_eV_per_A < 30


def test_an_alloy_has_errors_per_element(clean_dir, invoke):
    emt_set(12, 6, ("Cu", "Au"), 3.8).write_extxyz("cuau.extxyz")
    outcome = invoke("train", "cuau.extxyz")
    assert outcome.code == 0
    assert "force on Au (meV/A)" in outcome.out


def expect(outcome, code: int, sentence: str, folder: str = "potential") -> None:
    assert outcome.code == code
    assert sentence in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not Path(folder).exists(), "nothing is left behind"


def test_bad_files(dataset, invoke):
    expect(invoke("train", "none.extxyz"), 2, "none.extxyz cannot be read: No such file")
    Path("text.extxyz").write_text("hello\n")
    expect(invoke("train", "text.extxyz"), 2, "text.extxyz cannot be read as extended XYZ")
    Path("text.extxyz").write_text(dataset.read_text().replace("Ni ", "Xq "))
    expect(invoke("train", "text.extxyz"), 2, "unknown element or column 'Xq'")


def test_bad_numbers(dataset, invoke):
    def spoil(k, atoms):
        if k == 6:
            atoms.calc.results["forces"][2, 1] = np.nan

    expect(invoke("train", change(dataset, spoil)), 2, "configuration 7: configuration Ni4")


def test_no_forces(dataset, invoke):
    expect(invoke("train", change(dataset, lambda k, atoms: atoms.calc.results.pop("forces"))), 2, "has forces")
    emt_set(4, 1).write_extxyz("masked.extxyz")
    change(Path("masked.extxyz"), lambda k, atoms: atoms.arrays["force_weight"].fill(0))
    expect(invoke("train", "masked.extxyz"), 2, "has forces that count")


def test_too_few(dataset, invoke):
    TrainingSet.of([emt_label(emt_set(1, 0).configurations[0].atoms)]).write_extxyz("one.extxyz")
    expect(invoke("train", "one.extxyz"), 2, "1 configuration is too little")
    emt_set(2, 0).write_extxyz("two.extxyz")
    assert invoke("train", "two.extxyz", "--out", "two").code == 0


def test_bad_options(dataset, invoke):
    expect(invoke("train", dataset, "--held-out", 1), 2, "held-out fraction is 1,")
    expect(invoke("train", dataset, "--backend", "polympl"), 2, "did you mean 'polymlp'")
    expect(invoke("train", dataset, "--seed", -1), 2, "--seed")


def test_settings_of_the_backend(dataset, invoke, monkeypatch):
    assert invoke("train", dataset, "--set", "cutoff_A=4.5", "--set", "uncertainty=draws").code == 0
    card = ModelCard.model_validate_json(Path("potential/model_card.json").read_text())
    assert card.cutoff_A == 4.5
    assert card.settings["uncertainty"] == "draws"
    monkeypatch.setattr(registry.POTENTIALS, "targets", {"polymlp": f"{PolymlpPotential.__module__}:PolymlpPotential"})
    for text, sentence in (
        ("cutoff_A", "write NAME=VALUE"),
        ("cutoff_A=[", "is not a valid YAML value"),
        ("cutof_A=5", "no setting 'cutof_A'; did you mean 'cutoff_A'?"),
        ("cutoff_A=wide", "does not take these settings"),
        ("cutoff_A=0.5", "must be more than 1"),
    ):
        outcome = invoke("train", dataset, "--out", "x", "--set", text)
        expect(outcome, 2, sentence, "x")


def test_an_unwritable_folder_is_found_before_training(dataset, invoke, monkeypatch):
    def fit(*arguments):
        raise AssertionError("trained in vain")

    monkeypatch.setattr(QuickPolymlp, "fit", fit)
    expect(invoke("train", dataset, "--out", dataset / "below"), 1, "is a file; choose another folder")


def test_a_failed_training_leaves_the_files_of_the_last_one(dataset, invoke, monkeypatch):
    assert invoke("train", dataset).code == 0
    before = {path.name: path.read_bytes() for path in Path("potential").iterdir()}

    def fit(*arguments):
        raise TrainingError("the loss is not finite")

    monkeypatch.setattr(QuickPolymlp, "fit", fit)
    outcome = invoke("train", dataset, "--seed", 5)
    assert outcome.code == 1
    assert "the loss is not finite" in outcome.err
    assert {path.name: path.read_bytes() for path in Path("potential").iterdir()} == before
