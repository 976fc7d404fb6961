"""One coefficient from several runs: errors proven on synthetic truth."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.analysis.diffusion import fit_diffusion_coefficient
from mlip_autopipe.analysis.diffusion_replicas import combine_runs
from mlip_autopipe.analysis.diffusion_result import DiffusionResult
from mlip_autopipe.analysis.frames import ArrayFrames
from mlip_autopipe.analysis.msd import calculate_msd
from mlip_autopipe.errors import AnalysisError

STEP_FS = 10.0
D_CM2_S = 1e-4
"""D = s^2 / 2 dt for steps of standard deviation s per component; 1 A^2/fs = 0.1 cm^2/s."""


def walk(rng: np.random.Generator, d_cm2_s: float = D_CM2_S, atoms: int = 20, frames: int = 300) -> DiffusionResult:
    sigma = np.sqrt(2 * d_cm2_s / 0.1 * STEP_FS)
    positions = np.cumsum(rng.normal(0, sigma, (frames, atoms, 3)), axis=0)
    msd = calculate_msd(ArrayFrames(positions, ["Li"] * atoms), reference="none")
    return fit_diffusion_coefficient(msd, 900.0, STEP_FS)


def test_replicas_are_averaged_and_the_error_shrinks_with_their_number():
    rng = np.random.default_rng(1)
    runs = [walk(rng) for _ in range(4)]
    values = [one.groups["Li"].D_cm2_s for one in runs]
    errors = [one.groups["Li"].D_stderr_cm2_s for one in runs]
    found = combine_runs(runs)["Li"]
    assert found.D_cm2_s == pytest.approx(np.mean(values))
    assert found.statistics_cm2_s == pytest.approx(np.sqrt(np.sum(np.square(errors))) / 4)
    assert found.model_cm2_s is None
    assert found.gate.passed
    assert found.relative_error == pytest.approx(found.statistics_cm2_s / found.D_cm2_s)


def test_the_stated_statistical_error_covers_the_truth():
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(60):
        found = combine_runs([walk(rng), walk(rng)])["Li"]
        inside += abs(found.D_cm2_s - D_CM2_S) < found.statistics_cm2_s
    assert 0.5 < inside / 60 < 0.9  # nominal: 68 %


def test_samples_that_differ_by_chance_alone_show_little_of_a_model_error():
    rng = np.random.default_rng(3)
    found = [combine_runs([walk(rng)], [walk(rng), walk(rng)])["Li"] for _ in range(20)]
    model, chance = (np.median([getattr(one, k) for one in found]) for k in ("model_cm2_s", "model_resolution_cm2_s"))
    assert model < 0.7 * chance


def test_a_model_error_larger_than_chance_is_found():
    rng = np.random.default_rng(4)
    spread = 0.5
    found = []
    for _ in range(15):
        samples = [walk(rng, D_CM2_S * (1 + spread * sign)) for sign in rng.choice([-1, 1], 4)]
        found.append(combine_runs([walk(rng), walk(rng)], samples)["Li"].model_cm2_s / D_CM2_S)
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(spread, rel=0.25)


def test_replicas_of_different_things_are_noticed():
    rng = np.random.default_rng(5)
    assert not combine_runs([walk(rng), walk(rng, 5 * D_CM2_S)])["Li"].gate.passed


def test_samples_alone_are_refused():
    rng = np.random.default_rng(6)
    with pytest.raises(AnalysisError, match="mean potential"):
        combine_runs([], [walk(rng)])
