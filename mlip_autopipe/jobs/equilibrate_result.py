"""One run at constant pressure with the errors of its averages by source, and thermal expansion from several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.finite_size import thermal_size_bound
from mlip_autopipe.analysis.lattice import PARAMETER_NAMES
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.analysis.thermal_expansion import expansion_coefficient, expansion_shifts
from mlip_autopipe.analysis.volume_shift import model_stderr
from mlip_autopipe.schemas.equilibrate import ThermalExpansionEstimate
from mlip_autopipe.schemas.property import Gate, SplitEstimate

if TYPE_CHECKING:
    from mlip_autopipe.analysis.equilibrium import EquilibriumState
    from mlip_autopipe.jobs.equilibrate_check import VolumeCheck
    from mlip_autopipe.schemas.npt import NPTProgress

NEIGHBOURS = 0.35
"""Thermal expansion is fitted to runs within this fraction of the temperature; further ones bend the polynomial."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run with everything that is known of it.

    Attributes
    ----------
    progress, check, state
        The run, the reference's verdict on it, its averages.
    static
        (6,) lattice parameters of the crystal at rest, for the bound of the finite-size error.
    n_atoms
        Of the run's cell.
    static_volume_A3
        Per atom, at rest.
    gates
        Of the run.
    """

    progress: NPTProgress
    check: VolumeCheck
    state: EquilibriumState
    static: NDArray[np.float64]
    n_atoms: int
    static_volume_A3: float
    gates: list[Gate]

    @property
    def volume_A3(self) -> float:
        """Mean volume per atom."""
        return self.state.volume_A3_per_atom.value

    def volume_parts(self) -> dict[str, float | None]:
        """Return the parts of the error of the volume per atom, in A^3."""
        shift = self.check.shift_A3_per_atom
        return {
            "statistics": self.state.volume_A3_per_atom.stderr,
            "model": model_stderr(self.progress.model_shifts_A3_per_atom),
            "check": None if shift is None else hypot(shift.value, shift.stderr),
            "finite_size": thermal_size_bound(self.volume_A3, self.static_volume_A3, self.n_atoms),
        }

    def length_parts(self, name: str) -> dict[str, float | None]:
        """Return the parts of the error of a lattice parameter, in its unit.

        A change of the volume by the potential's error is shared alike by all directions.
        """
        row = PARAMETER_NAMES.index(name)
        value, stderr = self.state.lattice_parameters[name]
        if not name.endswith("_A"):
            free = name in self.state.free_parameters
            bound = thermal_size_bound(value, float(self.static[row]), self.n_atoms) if free else None
            return {"statistics": stderr, "finite_size": bound}
        volume = self.volume_parts()
        scale = value / (3 * self.volume_A3)
        return {
            "statistics": stderr,
            **{k: None if (part := volume[k]) is None else scale * part for k in ("model", "check")},
            "finite_size": thermal_size_bound(value, float(self.static[row]), self.n_atoms),
        }


def expansion_estimate(results: Sequence[RunResult], at_K: float) -> ThermalExpansionEstimate | None:
    """Differentiate volumes and, where several lengths are free, lengths in temperature.

    Parameters
    ----------
    results
        All runs, at different temperatures.
    at_K
        Where the coefficient is wanted.

    Returns
    -------
    ThermalExpansionEstimate or None
        None without runs on both sides.
    """
    near = [one for one in results if abs(one.progress.temperature_K / at_K - 1) <= NEIGHBOURS]
    for chosen in (near, list(results)):
        temperatures = [one.progress.temperature_K for one in chosen]
        if len(set(temperatures)) > 1 and min(temperatures) <= at_K <= max(temperatures):
            break
    else:
        return None
    volumes = [one.state.volume_A3_per_atom for one in chosen]
    model = np.array([one.progress.model_shifts_A3_per_atom for one in chosen]).T
    checks = [one.check.shift_A3_per_atom for one in chosen]
    bounds = [one.volume_parts()["finite_size"] for one in chosen]
    volumetric = _coefficient(temperatures, volumes, at_K, model, checks, bounds)
    lengths = [name for name in chosen[0].state.free_parameters if name.endswith("_A")]
    axes = {}
    for name in lengths if len(lengths) > 1 else []:
        values = [one.state.lattice_parameters[name] for one in chosen]
        # as in `RunResult.length_parts`: what the potential is off by is shared alike by all directions
        scale = np.array([x.value / (3 * v.value) for x, v in zip(values, volumes, strict=True)])
        scaled = [c and ValueWithError(s * c.value, s * c.stderr) for c, s in zip(checks, scale, strict=True)]
        own = [one.length_parts(name)["finite_size"] for one in chosen]
        axes[name] = _coefficient(temperatures, values, at_K, model * scale, scaled, own)
    third = {k: None if v is None else v / 3 for k, v in volumetric.stderr_parts.model_dump().items()}
    return ThermalExpansionEstimate(
        temperature_K=at_K,
        volumetric_per_K=volumetric,
        linear_per_K=SplitEstimate.from_parts(volumetric.value / 3, **third),
        axes_per_K=axes,
        degree=1 if len(set(temperatures)) == 2 else 2,
        curvature_determined=volumetric.stderr_parts.curvature is not None,
    )


def _coefficient(
    temperatures_K: Sequence[float],
    values: Sequence[ValueWithError],
    at_K: float,
    model: NDArray[np.float64],
    checks: Sequence[ValueWithError | None],
    bounds: Sequence[float | None],
) -> SplitEstimate:
    """Return (1/X) dX/dT with the parts of its error: shifts at several temperatures belong together."""
    means, errors = zip(*values, strict=True)
    fit = expansion_coefficient(temperatures_K, means, errors, at_K)

    def changes(shifts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(expansion_shifts(temperatures_K, means, errors, shifts, at_K))

    known = [one for one in checks if one is not None]
    check = None
    if len(known) == len(checks):
        common = changes(np.array([[one.value for one in known]]))[0]
        independent = changes(np.diag([one.stderr for one in known]))
        check = hypot(common, *independent)
    return SplitEstimate.from_parts(
        fit.value_per_K,
        statistics=fit.stderr_statistics_per_K,
        model=model_stderr(changes(model)),
        check=check,
        finite_size=float(abs(changes(np.array([bounds], dtype=float))[0])),
        curvature=fit.stderr_curvature_per_K if fit.curvature_determined else None,
    )
