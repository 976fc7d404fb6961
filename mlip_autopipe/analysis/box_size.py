"""What the size of a periodic box takes from the diffusion in a fluid.

Momentum travels through the periodic images, which slows every particle down by kT xi / (6 pi eta L) (Dünweg and
Kremer, 10.1063/1.465445; Yeh and Hummer, 10.1021/jp0477147). A crystal has no such flow: its lattice takes the
momentum up.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.finite_size import SizeExtrapolation
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.errors import AnalysisError

XI_CUBIC: Final = 2.837297
"""Constant of a simple cubic lattice of images."""
BOLTZMANN_J_PER_K: Final = 1.380649e-23
_M_PER_A: Final = 1e-10
_CM2_PER_M2: Final = 1e4

Phase = Literal["solid", "liquid"]


def yeh_hummer_correction_cm2_s(
    temperature_K: float, box_length_A: float, viscosity_mPa_s: ValueWithError, *, phase: Phase
) -> ValueWithError:
    """Return what must be added to the coefficient from a cubic box to get that of an infinite fluid.

    Parameters
    ----------
    temperature_K
        Of the run.
    box_length_A
        Edge of the cubic box.
    viscosity_mPa_s
        Shear viscosity of the fluid (of the model, not of nature) with its error.
    phase
        Must be ``"liquid"``.

    Raises
    ------
    AnalysisError
        The phase is solid, or a number is not positive.
    """
    if phase != "liquid":
        raise AnalysisError("The correction for the size of the box is one of fluids: leave it out for a solid.")
    if not (temperature_K > 0 and box_length_A > 0 and viscosity_mPa_s.value > 0):
        raise AnalysisError("Temperature, box and viscosity must be positive.")
    eta = viscosity_mPa_s.value * 1e-3
    shift = XI_CUBIC * BOLTZMANN_J_PER_K * temperature_K / (6 * np.pi * eta * box_length_A * _M_PER_A) * _CM2_PER_M2
    return ValueWithError(float(shift), float(shift * viscosity_mPa_s.stderr / viscosity_mPa_s.value))


def extrapolate_box_length(
    box_lengths_A: ArrayLike, values: ArrayLike, stderrs: ArrayLike, *, phase: Phase
) -> SizeExtrapolation:
    """Extrapolate coefficients of a fluid from cubic boxes of two sizes or more, linearly in 1/L.

    Parameters
    ----------
    box_lengths_A, values, stderrs
        (m,).
    phase
        Must be ``"liquid"``.

    Returns
    -------
    SizeExtrapolation
        Its `slope` is that against 1/L, -xi kT / (6 pi eta).

    Raises
    ------
    AnalysisError
        The phase is solid, or there are fewer than two sizes.
    """
    from mlip_autopipe.analysis.finite_size import extrapolate_to_infinite_size

    if phase != "liquid":
        raise AnalysisError("The extrapolation in the length of the box is one of fluids: leave it out for a solid.")
    return extrapolate_to_infinite_size(box_lengths_A, values, stderrs)
