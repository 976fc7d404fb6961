from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi

from mlip_autopipe.potentials.calibration import GAUSSIAN_RATIO, Calibration
from mlip_autopipe.potentials.errors import PredictionError


def observe(calibration: Calibration, labels: int, scale: float, seed: int = 0, atoms: int = 32) -> Calibration:
    rng = np.random.default_rng(seed)
    for _ in range(labels):
        std = rng.uniform(0.01, 0.1, atoms)
        errors = np.linalg.norm(rng.normal(size=(atoms, 3)), axis=1) * std * scale
        calibration = calibration.observed(errors, std)
    return calibration


def test_gaussian_ratio() -> None:
    norms = np.linalg.norm(np.random.default_rng(0).normal(size=(200_000, 3)), axis=1)
    assert np.quantile(norms, 0.9) == pytest.approx(GAUSSIAN_RATIO, rel=0.005)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_stated_interval_holds_after_ten_labels(scale: float) -> None:
    found = observe(Calibration(), 60, scale)
    assert found.factor == pytest.approx(scale, rel=0.1)
    assert 0.87 < found.covered_fraction() < 0.95
    assert found.covered_fraction(last=20) is not None


def test_before_ten_labels_it_does_not_become_bolder() -> None:
    timid = observe(Calibration(), 5, 0.1)
    assert not timid.is_ready
    assert timid.factor == 1.0
    assert timid.covered_fraction() is None
    assert observe(Calibration(), 5, 3.0).factor > 2
    assert Calibration().factor == 1.0


def test_the_window_forgets() -> None:
    found = observe(observe(Calibration(window=15), 30, 5.0), 15, 1.0, seed=1)
    assert len(found.entries) == 15
    # 15 labels ask for the quantile of 0.9 (1 + 1/15)
    assert found.factor == pytest.approx(chi(3).ppf(0.96) / GAUSSIAN_RATIO, rel=0.1)
    assert len(found.coverage) == 45


def test_labels_that_differ_from_each_other_are_covered_too() -> None:
    """Between labels the scale of the errors varies; few of them say little of the next one."""
    rng = np.random.default_rng(7)
    shares = []
    for _ in range(150):
        calibration = Calibration()
        for _ in range(13):
            calibration = observe(calibration, 1, float(np.exp(rng.normal(0, 0.3))), seed=int(rng.integers(1 << 30)))
        shares += [one.covered / one.atoms for one in calibration.coverage if one.ready]
    assert 0.88 < np.mean(shares) < 0.97


def test_it_can_be_stored_and_stays_small() -> None:
    found = observe(Calibration(), 12, 1.0, atoms=500)
    assert Calibration.model_validate(found.model_dump(mode="json")) == found
    assert max(len(entry.ratios) for entry in found.entries) == 128
    assert found.coverage[0].atoms == 500


def test_nonsense_is_refused() -> None:
    with pytest.raises(PredictionError, match="not finite and positive"):
        Calibration().observed([0.1], [0.0])
    with pytest.raises(PredictionError, match="against"):
        Calibration().observed([0.1, 0.2], [0.1])
