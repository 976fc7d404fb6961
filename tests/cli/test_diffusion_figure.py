"""The figure of a diffusion analysis."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from benchmarks.diffusion_walks import brownian, hopping
from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient
from mlip_autopipe.analysis.frames import ArrayFrames
from mlip_autopipe.cli.diffusion_figure import diffusion_figure


def result(walk, species=None):
    frames = ArrayFrames(walk.transpose(2, 0, 1), species or ["Li"] * len(walk), np.eye(3) * 30, unwrapped=True)
    return fit_diffusion_coefficient(calculate_msd(frames), 500.0, 10.0)


def test_it_is_a_picture_and_the_same_one_again():
    rng = np.random.default_rng(0)
    walk = np.concatenate([hopping(rng, 20, 400)[0], hopping(rng, 20, 400, hops_per_frame=0.0)[0]])
    found = result(walk, ["Li"] * 20 + ["O"] * 20)
    png = diffusion_figure(found, "walkers")
    assert imread(io.BytesIO(png)).shape[:2] == (750, 1800)
    assert png == diffusion_figure(found, "walkers")


@pytest.mark.parametrize(
    "walk", [np.zeros((4, 3, 64)), brownian(np.random.default_rng(0), 1, 32)[0]], ids=["nothing moves", "few data"]
)
def test_poor_data_can_be_drawn(walk):
    with np.errstate(divide="raise", invalid="raise"):
        assert imread(io.BytesIO(diffusion_figure(result(walk), "x"))).std() > 0
