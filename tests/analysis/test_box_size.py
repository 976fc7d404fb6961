"""The size of the box in fluids."""

import numpy as np
import pytest

from mlip_autopipe.analysis.box_size import extrapolate_box_length, image_constant, yeh_hummer_correction_cm2_s
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.errors import AnalysisError

WATER = ValueWithError(0.89, 0.089)


def test_water():
    # kT xi / (6 pi eta L) with L = 20 A, by hand: 4.116e-21 * 2.8373 / (18.85 * 8.9e-4 * 2e-9) m^2/s
    found = yeh_hummer_correction_cm2_s(298.15, 20.0 * np.eye(3), WATER, phase="liquid")
    assert found.value == pytest.approx(3.481e-6, rel=1e-3)
    assert found.stderr == pytest.approx(found.value / 10)


@pytest.mark.parametrize(
    ("cell", "constant"),
    [
        # Hasimoto, 10.1017/S0022112059000222: 1.7601, 1.7918 and 1.7918 times the cube root of 4 pi / 3
        (np.eye(3), 2.837297),
        ([[-1, 1, 1], [1, -1, 1], [1, 1, -1]], 1.7918 * (4 * np.pi / 3) ** (1 / 3)),
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], 1.7918 * (4 * np.pi / 3) ** (1 / 3)),
    ],
)
def test_the_constant_of_the_images(cell, constant):
    assert image_constant(cell) == pytest.approx(constant, rel=1e-4)
    assert image_constant(7.3 * np.array(cell)) == pytest.approx(constant, rel=1e-4)


def test_the_constant_does_not_depend_on_the_choice_of_cell_vectors():
    cell = np.array([[5.0, 0.3, 0.1], [0.2, 7.0, -0.4], [1.0, 0.5, 6.0]])
    again = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ cell
    assert image_constant(again) == pytest.approx(image_constant(cell), rel=1e-6)


def test_extrapolation_finds_the_infinite_fluid_and_its_viscosity():
    lengths = np.array([15.0, 20.0, 30.0])
    shifts = [yeh_hummer_correction_cm2_s(300.0, x * np.eye(3), WATER, phase="liquid").value for x in lengths]
    found = extrapolate_box_length(lengths, 2.3e-5 - np.array(shifts), np.full(3, 1e-7), phase="liquid")
    assert found.value == pytest.approx(2.3e-5, rel=1e-6)
    assert -found.slope / lengths == pytest.approx(shifts)


def test_not_for_solids_nor_for_nonsense():
    for call in (
        lambda: yeh_hummer_correction_cm2_s(300, 20 * np.eye(3), WATER, phase="solid"),
        lambda: extrapolate_box_length([10, 20], [1, 2], [1, 1], phase="solid"),
    ):
        with pytest.raises(AnalysisError, match="one of fluids"):
            call()
    with pytest.raises(AnalysisError, match="must be positive"):
        yeh_hummer_correction_cm2_s(300, 20 * np.eye(3), ValueWithError(0.0, 0.0), phase="liquid")
