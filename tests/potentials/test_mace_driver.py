from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlip_autopipe.potentials.mace_driver import masked_loss
from mlip_autopipe.potentials.mace_model import load_library
from tests.potentials.mace_cases import needs_mace

torch = pytest.importorskip("torch")
pytestmark = needs_mace


class Labels(SimpleNamespace):
    """A batch of two structures, as mace-torch hands it to a loss."""

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


def labels() -> Labels:
    rng = np.random.default_rng(1)
    return Labels(
        batch=torch.tensor([0, 0, 1, 1, 1]),
        ptr=torch.tensor([0, 2, 5]),
        weight=torch.tensor([1.0, 0.5]),
        energy_weight=torch.tensor([1.0, 2.0]),
        forces_weight=torch.tensor([1.0, 1.0]),
        stress_weight=torch.tensor([3.0, 1.0]),
        force_weight=torch.tensor([[1.0], [0.0], [0.25], [1.0], [0.0]]),
        energy=torch.tensor(rng.normal(size=2)),
        forces=torch.tensor(rng.normal(size=(5, 3))),
        stress=torch.tensor(rng.normal(size=(2, 3, 3))),
    )


def prediction() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        "energy": torch.tensor(rng.normal(size=2)),
        "forces": torch.tensor(rng.normal(size=(5, 3))),
        "stress": torch.tensor(rng.normal(size=(2, 3, 3))),
    }


@pytest.fixture(autouse=True)
def library() -> None:
    load_library()


def test_every_atom_has_its_own_weight() -> None:
    ref, pred = labels(), prediction()
    error = {key: (ref[key] - value).numpy() for key, value in pred.items()}
    energy = np.mean([error["energy"][0] ** 2 / 4, 0.5 * 2 * error["energy"][1] ** 2 / 9])
    forces = (np.array([1, 0, 0.125, 0.5, 0])[:, None] * error["forces"] ** 2).mean()
    stress = (np.array([3, 0.5])[:, None, None] * error["stress"] ** 2).mean()
    found = masked_loss(2.0, 30.0, 400.0)(ref, pred)
    assert float(found) == pytest.approx(2 * energy + 30 * forces + 400 * stress)


@pytest.mark.parametrize(
    ("weight", "number", "index"),
    [("force_weight", "forces", (1, 2)), ("energy_weight", "energy", 0), ("stress_weight", "stress", (0, 1, 1))],
)
def test_weight_zero_hides_a_number(weight: str, number: str, index: Any) -> None:
    loss = masked_loss(1.0, 1.0, 1.0)
    ref, garbage = labels(), labels()
    garbage[number][index] = 1e3
    for one in (ref, garbage):
        one[weight][index if weight == "energy_weight" else index[0]] = 0.0
    assert float(loss(ref, prediction())) == float(loss(garbage, prediction()))
    for one in (ref, garbage):
        one[weight][index if weight == "energy_weight" else index[0]] = 1.0
    assert float(loss(garbage, prediction())) > 100 * float(loss(ref, prediction()))


@pytest.mark.parametrize("number", ["energy", "forces", "stress"])
def test_a_loss_that_is_not_finite_ends_the_training(number: str) -> None:
    pred = prediction()
    pred[number].view(-1)[0] = float("nan")
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        masked_loss(1.0, 1.0, 1.0)(labels(), pred)
    absurd = labels()
    absurd[number].view(-1)[0] = 1e200
    with pytest.raises(FloatingPointError, match="the loss is inf"):
        masked_loss(1.0, 1.0, 1.0)(absurd, prediction())
