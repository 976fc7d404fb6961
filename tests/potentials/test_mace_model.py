from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.potentials import mace_model
from mlip_autopipe.potentials.errors import PotentialFileError
from mlip_autopipe.potentials.mace import MacePotential
from mlip_autopipe.potentials.mace_committee import MaceCommittee, choose_device
from mlip_autopipe.potentials.mace_driver import read_model, write_model
from mlip_autopipe.potentials.mace_model import ModelData, build, describe, read_model_file
from tests.potentials.mace_cases import cells, needs_mace

torch = pytest.importorskip("torch")
pytestmark = needs_mace


@pytest.fixture
def model(committee: MacePotential) -> ModelData:
    return committee._require().committee.models[1]


def test_a_model_is_described_and_built_again(model: ModelData) -> None:
    module = build(model, "float64")
    again = describe(module)
    assert again.architecture == model.architecture
    assert all(np.array_equal(array, again.arrays[key]) for key, array in model.arrays.items())
    assert write_model(again) == write_model(model)
    assert read_model(write_model(model)).architecture == model.architecture
    assert next(build(model, "float32").parameters()).dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32, "what torch does elsewhere is not changed"


def test_a_damaged_model_is_refused(model: ModelData) -> None:
    for changed in ({"interaction_cls": "os.system"}, {"hidden_irreps": "many"}, {"gate": "open"}):
        with pytest.raises(PotentialFileError, match="damaged"):
            build(ModelData(model.architecture | changed, model.arrays), "float64")
    with pytest.raises(PotentialFileError, match="do not belong"):
        build(ModelData(model.architecture | {"radial_MLP": [8]}, model.arrays), "float64")


def test_atomic_energies_are_replaced(model: ModelData) -> None:
    changed = model.with_atomic_energies({"Au": 7.0, "Ni": 1.0})
    assert changed.atomic_energies_eV == {"Cu": model.atomic_energies_eV["Cu"], "Au": 7.0}
    assert model.atomic_energies_eV["Au"] != 7.0


def test_files_that_hold_no_usable_model(model: ModelData, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no MACE model file"):
        read_model_file(tmp_path / "nowhere.model")
    good = tmp_path / "good.model"
    torch.save(build(model, "float64"), good)
    assert read_model_file(good).architecture == model.architecture
    with pytest.raises(InvalidInputError, match="no head other; it has Default"):
        read_model_file(good, "other")
    for name, data in {"empty": b"", "text": b"no model", "half": good.read_bytes()[:20000]}.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(PotentialFileError, match=f"{name} cannot be read"):
            read_model_file(path)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "other.model")
    with pytest.raises(PotentialFileError, match="is a Linear"):
        read_model_file(tmp_path / "other.model")


def test_one_head_of_a_file_with_several(model: ModelData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = {"heads": ["first", "second"], "atomic_energies": [[1.0, 2.0], [30.0, 40.0]]}
    two |= {"atomic_inter_scale": [1.0, 3.0], "atomic_inter_shift": [0.5, 0.7]}
    both = ModelData(model.architecture | two, model.arrays)
    with monkeypatch.context() as patch:
        # random weights
        patch.setattr(mace_model, "fill", lambda module, _: module)
        module = build(both, "float64")
    torch.save(module, tmp_path / "two.model")
    committee = MaceCommittee([both], zbl=None, dtype="float64", device="cpu", modules=[module])
    atoms = cells(1, 1).configurations[0].atoms
    graph = committee._graph(atoms) | {"head": torch.tensor([1])}
    wanted = float(module(graph)["energy"].detach())
    single = read_model_file(tmp_path / "two.model", "second")
    found = MaceCommittee([single], zbl=None, dtype="float64", device="cpu").evaluate(atoms).energies_eV
    assert found == pytest.approx([wanted])
    assert read_model_file(tmp_path / "two.model").architecture["heads"] == ["first"]


def test_the_first_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device(None, "float64") == "cpu"
    assert choose_device(None, "float32") == "mps"
    with pytest.raises(EnvironmentProblemError, match="no device cuda:1"):
        choose_device("cuda:1", "float64")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(None, "float32") == "cuda"
    assert choose_device("cpu", "float64") == "cpu"


def test_the_library_leaves_torch_careful(committee: MacePotential) -> None:
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
