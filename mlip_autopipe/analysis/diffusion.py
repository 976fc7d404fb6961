"""Diffusion coefficients with error bars from mean square displacements: the public face of the analysis.

>>> msd = calculate_msd("production.h5")                                            # doctest: +SKIP
>>> result = fit_diffusion_coefficient(msd, temperature=900, time_step=20)          # doctest: +SKIP
>>> result.groups["Li"].D_cm2_s, result.groups["Li"].D_stderr_cm2_s                 # doctest: +SKIP
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from mlip_autopipe.analysis import diffusion_gates as gates
from mlip_autopipe.analysis.diffusion_result import DiffusionResult, GroupDiffusion, run_length_needed_ps
from mlip_autopipe.analysis.msd import GroupMSD, MSDData, calculate_msd
from mlip_autopipe.analysis.plateau import (
    TRACE,
    Plateau,
    TwoPoint,
    error_at,
    find_plateau,
    split_error,
    two_point,
)
from mlip_autopipe.analysis.results import GateResult, ValueWithError
from mlip_autopipe.analysis.symmetry import VOIGT_PAIRS
from mlip_autopipe.errors import InvalidInputError

__all__ = [
    "DiffusionResult",
    "GroupDiffusion",
    "MSDData",
    "calculate_msd",
    "fit_diffusion_coefficient",
    "run_length_needed_ps",
]

Phase = Literal["solid", "liquid"]

CM2_S_PER_A2_FS: Final = 0.1
_DISAGREEING_TIMES: Final = 0.01


def fit_diffusion_coefficient(
    msd_data: MSDData,
    temperature: float,
    time_step: float | None = None,
    *,
    phase: Phase | None = None,
    min_hops: int = gates.MIN_HOPS,
) -> DiffusionResult:
    """Return diffusion coefficients with honest errors from mean square displacements.

    D(t) = [MSD(2t) - MSD(t)] / (2 d t) at the start of its plateau; the error is the larger of the scatter between
    atoms and the scatter along the run, see ``docs/diffusion.md``.

    Parameters
    ----------
    msd_data
        Of `calculate_msd`.
    temperature
        In K.
    time_step
        Time between frames in fs; may be left out where the trajectory knows it.
    phase
        What the run is meant to be; adds a check that it is.
    min_hops
        Hops below which there is not enough evidence.

    Raises
    ------
    InvalidInputError
        Temperature or time step are not positive, missing, or contradict the trajectory.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InvalidInputError(f"The temperature ({temperature:g} K) must be positive.")
    dt = _time_step(msd_data, time_step)
    length_fs = dt * (msd_data.n_frames - 1)
    groups = {name: _fit_group(group, dt, min_hops) for name, group in msd_data.groups.items()}
    checks: list[GateResult] = []
    if msd_data.mass_amu is not None and msd_data.reference == "all":
        checks.append(gates.at_rest(msd_data.drift_A, length_fs, msd_data.mass_amu, msd_data.n_atoms, temperature))
    if phase is not None:
        # a crystal whose framework stands may have a molten sublattice
        ratio = min(group.site_ratio for group in msd_data.groups.values())
        checks.append(gates.still_solid(ratio) if phase == "solid" else gates.is_liquid(ratio))
    warnings = [*msd_data.warnings]
    if msd_data.stopped_by:
        warnings.append(str(msd_data.stopped_by))
    warnings += [f"{gate.name} failed: {gate.detail}" for gate in checks if not gate.passed]
    warnings += [f"{name}: {sentence}" for name, group in groups.items() for sentence in group.warnings]
    return DiffusionResult(
        groups=groups,
        temperature_K=float(temperature),
        time_step_fs=dt,
        length_ps=length_fs / 1000,
        n_frames=msd_data.n_frames,
        n_atoms=msd_data.n_atoms,
        volume_A3=msd_data.volume_A3,
        gates=tuple(checks),
        warnings=tuple(warnings),
    )


def _time_step(data: MSDData, given: float | None) -> float:
    known = data.time_step_fs
    if given is None:
        if known is None:
            raise InvalidInputError(
                f"{data.source} does not say how much time lies between its frames: give the time step in fs."
            )
        return known
    if not (np.isfinite(given) and given > 0):
        raise InvalidInputError(f"The time step ({given:g} fs) must be positive.")
    if known is not None and abs(known - given) > _DISAGREEING_TIMES * known:
        raise InvalidInputError(
            f"{data.source} has {known:g} fs between its frames, not {given:g} fs: leave the time step out, or "
            "correct it (it is the time between frames, not that of the integrator)."
        )
    return float(given)


def _fit_group(group: GroupMSD, dt: float, min_hops: int) -> GroupDiffusion:
    scale = CM2_S_PER_A2_FS / dt
    points = two_point(group.tracer)
    plateau = find_plateau(points)
    place = points.place(plateau.start)
    shortest = points.place(plateau.shortest)
    assert place is not None
    assert shortest is not None
    value, error = float(points.values[place]), error_at(points, place)
    collective, haven = _collective(group, points, place)
    checks = [
        gates.diffusive(plateau),
        gates.not_drifted(points, shortest),
        gates.enough_evidence(value, error.larger, group.n_hops, min_hops),
    ]
    components = np.eye(6)
    tensor = np.zeros((3, 3))
    tensor_error = np.zeros((3, 3))
    for k, (a, b) in enumerate(VOIGT_PAIRS):
        tensor[a, b] = tensor[b, a] = points.tensor[place, k]
        tensor_error[a, b] = tensor_error[b, a] = error_at(points, place, components[k]).larger
    lags = np.arange(len(group.tracer.tensor_A2)) * dt / 1000
    return GroupDiffusion(
        name=group.name,
        n_atoms=len(group.atoms),
        D_cm2_s=value * scale,
        D_stderr_cm2_s=error.larger * scale,
        D_stderr_atoms_cm2_s=error.walkers * scale if error.by_walker else None,
        D_stderr_time_cm2_s=error.time * scale if error.by_time else None,
        plateau_ps=(plateau.start * dt / 1000, 2 * plateau.end * dt / 1000),
        exponent=_exponent(plateau),
        D_tensor_cm2_s=tensor * scale,
        D_tensor_stderr_cm2_s=tensor_error * scale,
        D_collective_cm2_s=ValueWithError(collective.value * scale, collective.stderr * scale) if collective else None,
        haven_ratio=haven,
        n_hops=group.n_hops,
        hop_distance_A=group.hop_distance_A,
        site_ratio=group.site_ratio,
        gates=tuple(checks),
        warnings=tuple(_warnings(plateau, checks)),
        lags_ps=lags,
        msd_A2=group.tracer.tensor_A2[:, :3].sum(axis=1),
        curve_lags_ps=points.lags * dt / 1000,
        curve_D_cm2_s=points.values * scale,
        curve_stderr_cm2_s=np.array([error_at(points, k).larger for k in range(len(points.lags))]) * scale,
    )


def _exponent(plateau: Plateau) -> ValueWithError | None:
    known = np.isfinite(plateau.exponent) and np.isfinite(plateau.exponent_stderr)
    return ValueWithError(plateau.exponent, plateau.exponent_stderr) if known else None


def _collective(group: GroupMSD, points: TwoPoint, place: int) -> tuple[ValueWithError | None, ValueWithError | None]:
    """Return the collective coefficient in A^2 per frame, and the Haven ratio with the error of paired series."""
    if group.collective is None:
        return None, None
    summed = two_point(group.collective)
    value, error = float(summed.values[place]), error_at(summed, place)
    tracer = float(points.values[place])
    found = ValueWithError(value, error.larger)
    if not (value > 2 * error.larger and tracer > 0):
        return found, None
    ratio = split_error(
        np.empty(0), points.by_time[place] @ TRACE / tracer - summed.by_time[place] @ TRACE / value
    ).time
    # the atoms' own scatter is not in the series of the sum
    relative = max(ratio, error_at(points, place).larger / tracer)
    return found, ValueWithError(tracer / value, relative * tracer / value)


def _warnings(plateau: Plateau, checks: list[GateResult]) -> list[str]:
    found = [f"{gate.name} failed: {gate.detail}" for gate in checks if not gate.passed]
    if plateau.found and plateau.start == 1:
        found.append(
            "D(t) is constant from the first frame on, so that nothing shows how the motion starts: write frames more "
            "often to be sure"
        )
    return found
