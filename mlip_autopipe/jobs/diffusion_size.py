"""What the size of the box takes from the coefficients of a liquid, by the viscosity of the same runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.analysis.box_size import image_constant, yeh_hummer_correction_cm2_s
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.errors import AnalysisError

if TYPE_CHECKING:
    from mlip_autopipe.analysis.diffusion_replicas import CombinedDiffusion
    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
    from mlip_autopipe.schemas.diffusion import DiffusionRun

MAX_VISCOSITY_ERROR: Final = 0.5
"""Relative; beyond it no correction is made."""
MAX_OF_EXPECTED: Final = 2.5
"""A correction larger than so many times what Stokes and Einstein let expect comes from a wrong viscosity."""


@dataclass(frozen=True)
class BoxSize:
    """The correction for the size of the box, the same for all species.

    Attributes
    ----------
    viscosity_mPa_s
        Of the liquid; None when it is not known.
    shift_cm2_s
        To be added to coefficients, with its error; None when it is not known.
    unknown_share
        Of a coefficient, the error of one that is not corrected: Yeh and Hummer's correction with the viscosity that
        Stokes and Einstein give a sphere of the size of an atom.
    warning
        Why no correction is made; empty when it is.
    """

    viscosity_mPa_s: ValueWithError | None
    shift_cm2_s: ValueWithError | None
    unknown_share: float
    warning: str

    def error_cm2_s(self, boxed: CombinedDiffusion) -> float:
        """Return the error from the size of the box that is left."""
        return self.shift_cm2_s.stderr if self.shift_cm2_s else self.unknown_share * abs(boxed.D_cm2_s)

    def corrected(self, boxed: CombinedDiffusion, by_volume: float) -> CombinedDiffusion:
        """Return a coefficient without the box, as far as that is known.

        What the box takes goes as 1 / viscosity, and so with the volume and the potential as the coefficient itself.

        Parameters
        ----------
        boxed
            As it is in the box.
        by_volume
            Relative error from the volume, which the statistical one holds.
        """
        if self.shift_cm2_s is None:
            return boxed
        growth = 1 + self.shift_cm2_s.value / boxed.D_cm2_s if boxed.D_cm2_s > 0 else 1.0
        added = (by_volume * boxed.D_cm2_s) ** 2 * (growth**2 - 1)
        return replace(
            boxed,
            D_cm2_s=boxed.D_cm2_s + self.shift_cm2_s.value,
            statistics_cm2_s=float(np.sqrt(max(0.0, boxed.statistics_cm2_s**2 + added))),
            model_cm2_s=None if boxed.model_cm2_s is None else growth * boxed.model_cm2_s,
        )


def box_size(production: DiffusionProduction, runs: Sequence[DiffusionRun], fastest_cm2_s: float) -> BoxSize:
    """Return the correction at one temperature.

    Parameters
    ----------
    production
        To which the runs belong.
    runs
        Those with the mean potential, at one temperature, that have finished.
    fastest_cm2_s
        Coefficient in the box of the species that moves most, which the correction is compared with.
    """
    cells, kelvin = [production.cell(one) for one in runs], runs[0].temperature_K
    # of a cube, whatever the shape: the constant of a box drawn out passes through 0
    share = image_constant(np.eye(3)) * 0.5 / len(cells[0]) ** (1 / 3)
    try:
        viscosity = _viscosity(production, runs, [one.get_volume() for one in cells])
        shifts = [yeh_hummer_correction_cm2_s(kelvin, one.cell.array, viscosity, phase="liquid") for one in cells]
        shift = ValueWithError(*np.mean(shifts, axis=0).tolist())
        if shift.value > MAX_OF_EXPECTED * share * fastest_cm2_s:
            raise AnalysisError(
                f"with a viscosity of {viscosity.value:.2g} mPa s it would be more than {MAX_OF_EXPECTED:g} times what "
                "Stokes and Einstein let expect"
            )
    except AnalysisError as error:
        return BoxSize(None, None, share, f"at {kelvin:g} K no correction for the size of the box is made: {error}")
    return BoxSize(viscosity, shift, share, "")


def _viscosity(
    production: DiffusionProduction, runs: Sequence[DiffusionRun], volumes_A3: list[float]
) -> ValueWithError:
    from mlip_autopipe.analysis.viscosity import LEAST_RECORDS, shear_viscosity

    interval_fs = production.pressure_interval * production.settings.time_step_fs
    recorded = zip((production.pressures_GPa(one) for one in runs), volumes_A3, strict=True)
    # runs of an earlier version have none
    enough = [(pressures, volume) for pressures, volume in recorded if len(pressures) >= LEAST_RECORDS]
    if not enough:
        raise AnalysisError(f"no run has {LEAST_RECORDS} pressure tensors or more after its transient")
    pressures, volumes = zip(*enough, strict=True)
    found = shear_viscosity(pressures, interval_fs, np.array(volumes), runs[0].temperature_K)
    if found.stderr > MAX_VISCOSITY_ERROR * found.value:
        raise AnalysisError(f"the viscosity is {found.value:.2g} +- {found.stderr:.2g} mPa s only")
    return found
