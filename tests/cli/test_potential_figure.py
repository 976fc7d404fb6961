"""The figure of a potential."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from mlip_autopipe.cli import potential_figure as module
from mlip_autopipe.cli.potential_figure import potential_figure
from mlip_autopipe.potentials.validation import compare
from tests.potentials.helpers import emt_set
from tests.potentials.toys import ShiftedEMT

ALLOY = emt_set(4, 0, ("Cu", "Au"), 3.8)
POTENTIAL = ShiftedEMT(("Cu", "Au"))


def picture(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png))


def test_it_is_a_picture_and_the_same_one_again():
    training, held_out = compare(POTENTIAL, ALLOY), compare(POTENTIAL, ALLOY, with_std=True)
    png = potential_figure(training, held_out, "Cu Au")
    assert picture(png).shape[:2] == (900, 1800)
    assert png == potential_figure(training, held_out, "Cu Au")


def test_nothing_held_out_and_exact_predictions():
    nothing = compare(POTENTIAL, [], with_std=True)
    assert picture(potential_figure(compare(POTENTIAL, ALLOY), nothing, "x")).std() > 0
    exact = compare(POTENTIAL, ALLOY, with_std=True)
    exact.forces_eV_per_A[..., 0] = exact.forces_eV_per_A[..., 1]
    with np.errstate(all="raise"):
        potential_figure(exact, exact, "x")


def test_many_points_are_thinned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_POINTS", 10)
    assert len(module._thinned(np.zeros((11, 2)))) == 10
    assert len(module._thinned(np.zeros((10, 2)))) == 10
