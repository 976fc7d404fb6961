from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from ase.io import read

from mlip_autopipe.potentials import mace_training
from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.errors import TrainingError
from mlip_autopipe.potentials.mace import MacePotential
from mlip_autopipe.potentials.mace_committee import MaceCommittee
from mlip_autopipe.potentials.mace_driver import write_model
from mlip_autopipe.potentials.mace_model import ModelData
from mlip_autopipe.potentials.mace_settings import MaceSettings
from mlip_autopipe.potentials.mace_training import MemberPlan, train_members
from tests.potentials.mace_cases import TINY, cells, needs_mace, with_garbage

pytestmark = needs_mace

LABELS: Final = cells(6, 2)
ENERGIES: Final = {"Cu": 0.3, "Au": 0.4}
SHIFTED: Final = {"Cu": -7.0, "Au": 11.0}


def plan(training: TrainingSet, start: ModelData | None = None, learning_rate: float = 0.01) -> MemberPlan:
    settings = MaceSettings(**TINY)
    energies = ENERGIES if start is None else SHIFTED
    return MemberPlan(settings, 0, training, energies, start, updates=12, learning_rate=learning_rate, device="cpu")


@pytest.fixture(scope="module")
def models(committee: MacePotential) -> dict[str, ModelData]:
    """One after the other in one process: they show that what ran before makes no difference, either."""
    start = committee._require().committee.models[0].with_atomic_energies(SHIFTED)
    plans = {
        "masked": plan(with_garbage(LABELS, 1e3, force=0, energy=0, stress=0)),
        "not masked": plan(with_garbage(LABELS, 5.0, force=1, energy=0, stress=0)),
        "masked again": plan(with_garbage(LABELS, -5e6, force=0, energy=0, stress=0)),
        "same elements": plan(cells(3, 4), start, learning_rate=1e-12),
        "one element": plan(cells(3, 4, ("Au",)), start, learning_rate=1e-12),
    }
    return dict(zip(plans, train_members(list(plans.values())), strict=True))


def same(first: ModelData, second: ModelData) -> bool:
    return all(np.array_equal(first.arrays[key], second.arrays[key]) for key in first.arrays)


def test_garbage_of_weight_zero_changes_no_bit(models: dict[str, ModelData]) -> None:
    assert same(models["masked"], models["masked again"])
    assert not same(models["masked"], models["not masked"])


@pytest.mark.parametrize("name", ["same elements", "one element"])
def test_fine_tuning_starts_from_the_weights_and_the_given_energies(
    name: str, models: dict[str, ModelData], committee: MacePotential
) -> None:
    start = committee._require().committee.models[0].with_atomic_energies(SHIFTED)
    assert models[name].elements == (("Cu", "Au") if name == "same elements" else ("Au",))
    both = [MaceCommittee([model], zbl=None, dtype="float64", device="cpu") for model in (start, models[name])]
    for one in cells(2, 5, ("Au",)):
        first, second = (single.evaluate(one.atoms) for single in both)
        assert np.allclose(first.energies_eV, second.energies_eV, atol=1e-6)
        assert np.allclose(first.forces_eV_per_A, second.forces_eV_per_A, atol=1e-6)


def test_a_loss_that_is_not_finite_is_a_failure() -> None:
    with pytest.raises(TrainingError, match="not finite; look for absurd labels") as caught:
        train_members([plan(LABELS, learning_rate=1e200)])
    assert "the loss is" in caught.value.last_lines.splitlines()[-1]
    assert "Started training" in caught.value.last_lines


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("raise SystemExit('step 7 went wrong')", "exit status 1"),
        ("pass", "left no model in member-0"),
        ("open(sys.argv[2] + '/model.npz', 'wb').write(open(sys.argv[-1], 'rb').read()[:5000])", "can be read"),
        ("open(sys.argv[2] + '/model.npz', 'wb').write(open(sys.argv[-1] + '.nan', 'rb').read())", "not finite"),
    ],
)
def test_a_trainer_that_fails(
    program: str,
    message: str,
    committee: MacePotential,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = committee._require().committee.models[0]
    (tmp_path / "good.npz").write_bytes(write_model(model))
    name, array = next((key, array) for key, array in model.arrays.items() if key.endswith("linear.weight"))
    spoiled = ModelData(model.architecture, model.arrays | {name: np.full_like(array, np.nan)})
    (tmp_path / "good.npz.nan").write_bytes(write_model(spoiled))
    text = f"import os, sys; sys.argv.append({str(tmp_path / 'good.npz')!r}); print('epoch 6', flush=True); {program}"
    monkeypatch.setattr(mace_training, "DRIVER", [sys.executable, "-c", text])
    with pytest.raises(TrainingError, match=message) as caught:
        train_members([plan(LABELS), plan(LABELS)])
    assert "epoch 6" in caught.value.last_lines
    assert capfd.readouterr().out == ""


def test_a_failed_fit_leaves_the_potential_as_it_was(saved: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    potential = MacePotential.load(saved)
    monkeypatch.setattr(mace_training, "DRIVER", [sys.executable, "-c", "raise SystemExit(1)"])
    for train in (potential.fit, potential.add):
        with pytest.raises(TrainingError):
            train(LABELS)
    assert potential.save().data == saved


def test_other_members_end_with_the_first_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # the first waits for ever, the second fails
    text = (
        "import os, sys, time, pathlib\n"
        f"pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()\n"
        "time.sleep(1000 * ('member-0' in sys.argv[2]))\n"
        "sys.exit(1)"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(mace_training, "DRIVER", [sys.executable, "-c", text])
    with pytest.raises(TrainingError, match="exit status 1"):
        train_members([plan(LABELS), plan(LABELS)])
    for name in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(name.name), 0)


def test_an_orphan_does_not_train(tmp_path: Path) -> None:
    (tmp_path / "member-0").mkdir()
    command = [*mace_training.DRIVER, "1", str(tmp_path / "member-0")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert not done.stderr


def test_files_stay_where_they_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mace_training, "DRIVER", [sys.executable, "-c", "print('said')"])
    kept = replace(plan(LABELS), settings=MaceSettings(**TINY, work_dir=tmp_path / "logs"))
    with pytest.raises(TrainingError):
        train_members([kept])
    assert [path.read_text() for path in tmp_path.rglob("*.log")] == ["said\n"]
    assert len(list(tmp_path.rglob("labels.xyz"))) == 1


def test_the_bootstrap_weights_labels_at_random_and_for_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mace_training, "DRIVER", [sys.executable, "-c", ""])
    settings = MaceSettings(**TINY, bootstrap=True, work_dir=tmp_path)
    more = cells(7, 2)
    plans = [replace(plan(LABELS), settings=settings, member=member) for member in (0, 1)]
    with pytest.raises(TrainingError):
        train_members([*plans, replace(plans[0], training=more)])
    first, second, longer = (
        [frame.info["config_weight"] for frame in read(path, index=":")] for path in sorted(tmp_path.rglob("*.xyz"))
    )
    assert first != second
    assert longer[: len(first)] == first
    assert len(longer) == len(more)
    assert min(first) >= 0
    assert 0.3 < np.mean(first + second + longer) < 3
