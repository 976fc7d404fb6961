"""What must hold before the averages of a run at constant pressure are believed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.displacements import lindemann_ratio
from mlip_autopipe.analysis.equilibrium import EquilibriumState
from mlip_autopipe.analysis.npt_run import NPTRun
from mlip_autopipe.analysis.results import GateResult
from mlip_autopipe.analysis.statistics import drift_p_value, mean_with_error

MAX_LINDEMANN_RATIO: Final = 0.15
# One hop of one atom in a cell of 300 at room temperature raises the mean square displacement by this factor.
MAX_GROWTH: Final = 1.5
MIN_EFFECTIVE_SAMPLES: Final = 20.0
# A sound run fails a test of this level once in a hundred times.
DRIFT_LEVEL: Final = 0.01
# Means further from their target than this interval are off: three errors where there are many samples.
TARGET_LEVEL: Final = 0.997
# The kinetic temperature of a finite time step is off by (omega dt)^2 / 12 or so; positions are not.
TEMPERATURE_SLACK: Final = 0.01


def equilibrium_gates(
    run: NPTRun,
    state: EquilibriumState,
    square_displacements_A2: ArrayLike,
    nearest_neighbour_A: float,
    *,
    min_effective_samples: float = MIN_EFFECTIVE_SAMPLES,
    max_lindemann_ratio: float = MAX_LINDEMANN_RATIO,
) -> list[GateResult]:
    """Check one run: stationary, solid, at the temperature and pressure asked for, long enough.

    Parameters
    ----------
    run, state
        The frames and what `equilibrium_state` made of them.
    square_displacements_A2
        (n,) of `displacements.mean_square_displacements`, all frames of the run.
    nearest_neighbour_A
        Nearest-neighbour distance of the crystal.
    min_effective_samples
        Independent samples that the mean volume must rest on.
    max_lindemann_ratio
        Root mean square displacement over nearest-neighbour distance of a solid.

    Raises
    ------
    AnalysisError
        When fewer than 24 frames are left after the transient.
    """
    used = slice(state.n_discarded, None)
    displacements = np.asarray(square_displacements_A2, dtype=float)[used]
    gates = [
        not_drifted(state.volume_series_A3, run.energies_eV[used]),
        still_solid(displacements, nearest_neighbour_A, max_lindemann_ratio),
        temperature_on_target(run.temperatures_K[used], run.target_temperature_K),
    ]
    if run.stresses_GPa is not None:
        volume = state.volume_A3_per_atom
        harmless = abs(state.bulk_modulus_GPa.value) * volume.stderr / volume.value
        gates.append(pressure_on_target(run.pressures_GPa[used], run.target_pressure_GPa, harmless))
    gates.append(enough_samples(state, min_effective_samples))
    return gates


def not_drifted(volumes: ArrayLike, energies: ArrayLike) -> GateResult:
    """Compare the first with the last third of (n,) volumes and energies."""
    chances = drift_p_value(np.stack([np.asarray(volumes, dtype=float), np.asarray(energies, dtype=float)]))
    # two tests, so each at half the level
    passed = bool((chances > DRIFT_LEVEL / 2).all())
    return GateResult(
        "not_drifted",
        passed,
        f"chance that a stationary run differs as much between its thirds: volume {chances[0]:.2g}, energy "
        f"{chances[1]:.2g}, at least {DRIFT_LEVEL / 2:g}",
    )


def still_solid(
    square_displacements_A2: ArrayLike, nearest_neighbour_A: float, max_ratio: float = MAX_LINDEMANN_RATIO
) -> GateResult:
    """Check that (n,) square displacements from the sites are small and have stopped to grow."""
    series = np.asarray(square_displacements_A2, dtype=float)
    ratio = lindemann_ratio(series, nearest_neighbour_A)
    third = len(series) // 3
    growth = float(series[-third:].mean() / series[:third].mean()) if series[:third].any() else 1.0
    chance = float(drift_p_value(series))
    # a single hop is a step, which no test for a gradual drift sees
    growing = growth > MAX_GROWTH or (growth > 1 and chance < DRIFT_LEVEL)
    return GateResult(
        "still_solid",
        ratio <= max_ratio and not growing,
        f"displacements are {ratio:.3f} of the nearest-neighbour distance, at most {max_ratio:g}; from the first to "
        f"the last third they change by a factor of {growth:.2f}" + (", so atoms leave their sites" if growing else ""),
    )


def temperature_on_target(temperatures_K: ArrayLike, target_K: float) -> GateResult:
    """Check the mean of (n,) kinetic temperatures."""
    found = mean_with_error(temperatures_K)
    mean, allowed = float(found.mean), max(float(found.half_width(TARGET_LEVEL)), TEMPERATURE_SLACK * target_K)
    return GateResult(
        "temperature_on_target",
        abs(mean - target_K) <= allowed,
        f"{mean:.2f} +- {float(found.stderr):.2f} K, within {allowed:.2f} K of {target_K:g} K",
    )


def pressure_on_target(pressures_GPa: ArrayLike, target_GPa: float, harmless_GPa: float = 0.0) -> GateResult:
    """Check the mean of (n,) pressures; less than `harmless_GPa` would not matter for the volume."""
    found = mean_with_error(pressures_GPa)
    mean, allowed = float(found.mean), max(float(found.half_width(TARGET_LEVEL)), harmless_GPa)
    return GateResult(
        "pressure_on_target",
        abs(mean - target_GPa) <= allowed,
        f"{mean:.3f} +- {float(found.stderr):.3f} GPa, within {allowed:.3f} GPa of {target_GPa:g} GPa",
    )


def enough_samples(state: EquilibriumState, least: float = MIN_EFFECTIVE_SAMPLES) -> GateResult:
    """Check the number of independent samples behind the mean volume."""
    return GateResult(
        "enough_samples",
        state.effective_samples >= least,
        f"{state.effective_samples:.0f} independent samples of the volume in {state.n_frames} frames, at least "
        f"{least:g}",
    )
