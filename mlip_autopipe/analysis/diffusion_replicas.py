"""One coefficient from several runs: independent replicas, and runs with posterior samples of a potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

from mlip_autopipe.analysis.diffusion_result import DiffusionResult
from mlip_autopipe.analysis.results import GateResult
from mlip_autopipe.errors import AnalysisError

REPLICAS: Final = "replicas_agree"
LEAST_P: Final = 1e-3
"""Replicas that differ more than by this chance do not sample the same thing, or understate their errors."""


@dataclass(frozen=True)
class CombinedDiffusion:
    """The tracer coefficient of a species from all runs at one temperature.

    Attributes
    ----------
    D_cm2_s
        Mean of the replicas.
    statistics_cm2_s
        Standard error of that mean, from the errors that the replicas state.
    model_cm2_s
        Standard deviation of the coefficient over the posterior, as far as the runs with samples show more scatter than
        chance; none without such runs.
    model_resolution_cm2_s
        What that scatter would be by chance alone: a smaller model part cannot be seen.
    n_hops
        Of all replicas.
    gate
        Whether the replicas agree within what they state.
    """

    D_cm2_s: float
    statistics_cm2_s: float
    model_cm2_s: float | None
    model_resolution_cm2_s: float | None
    n_hops: int
    gate: GateResult

    @property
    def relative_error(self) -> float:
        """Statistical, infinite for a species that does not move."""
        return self.statistics_cm2_s / self.D_cm2_s if self.D_cm2_s > 0 else float("inf")


def combine_runs(
    replicas: Sequence[DiffusionResult], samples: Sequence[DiffusionResult] = ()
) -> dict[str, CombinedDiffusion]:
    """Return one coefficient per species.

    A run with a posterior sample differs from the mean by the model and by chance; the variance of the first is what is
    left of the mean square difference when the known variances of the second are taken off.

    Parameters
    ----------
    replicas
        Independent runs with the mean potential, of one length.
    samples
        One run per posterior sample.

    Raises
    ------
    AnalysisError
        There are no replicas.
    """
    if not replicas:
        raise AnalysisError("A coefficient needs at least one run with the mean potential.")
    return {name: _combined(name, replicas, samples) for name in replicas[0].groups}


def _combined(
    name: str, replicas: Sequence[DiffusionResult], samples: Sequence[DiffusionResult]
) -> CombinedDiffusion:
    values, errors = _of(name, replicas)
    mean, statistics = float(values.mean()), float(np.sqrt((errors**2).sum())) / len(values)
    model = resolution = None
    if samples:
        drawn, drawn_errors = _of(name, samples)
        chance = float((drawn_errors**2).mean()) + statistics**2
        model = sqrt(max(0.0, float(((drawn - mean) ** 2).mean()) - chance))
        resolution = sqrt(chance)
    return CombinedDiffusion(
        D_cm2_s=mean,
        statistics_cm2_s=statistics,
        model_cm2_s=model,
        model_resolution_cm2_s=resolution,
        n_hops=sum(one.groups[name].n_hops for one in replicas),
        gate=_agree(values, errors, mean),
    )


def _of(name: str, results: Sequence[DiffusionResult]) -> tuple[np.ndarray, np.ndarray]:
    groups = [one.groups[name] for one in results]
    return np.array([one.D_cm2_s for one in groups]), np.array([one.D_stderr_cm2_s for one in groups])


def _agree(values: np.ndarray, errors: np.ndarray, mean: float) -> GateResult:
    from scipy.special import chdtrc

    if len(values) < 2:
        return GateResult(REPLICAS, True, "a single run has nothing to agree with")
    weight = np.maximum(errors, 1e-300) ** 2
    chi = float(((values - mean) ** 2 / weight).sum())
    chance = float(chdtrc(len(values) - 1, chi))
    return GateResult(
        REPLICAS,
        chance >= LEAST_P,
        f"chance that {len(values)} replicas scatter so much (chi^2 {chi:.1f}): {chance:.2g}, at least {LEAST_P:g}",
    )
