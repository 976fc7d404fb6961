"""What the size of a periodic box takes from the diffusion in a fluid.

Momentum travels through the periodic images, which slows every particle down by kT xi / (6 pi eta L) (Dünweg and
Kremer, 10.1063/1.465445; Yeh and Hummer, 10.1021/jp0477147). A crystal has no such flow: its lattice takes the
momentum up.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.constants import BOLTZMANN_J_PER_K
from mlip_autopipe.analysis.finite_size import SizeExtrapolation
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.errors import AnalysisError

_M_PER_A: Final = 1e-10
_CM2_PER_M2: Final = 1e4

Phase = Literal["solid", "liquid"]


def yeh_hummer_correction_cm2_s(
    temperature_K: float, cell_A: ArrayLike, viscosity_mPa_s: ValueWithError, *, phase: Phase
) -> ValueWithError:
    """Return what must be added to the coefficient from a periodic box to get that of an infinite fluid.

    Parameters
    ----------
    temperature_K
        Of the run.
    cell_A
        (3, 3) cell vectors in rows, of any shape; the coefficient is the mean over the directions.
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
    cell = np.asarray(cell_A, dtype=float)
    length_A = abs(float(np.linalg.det(cell))) ** (1 / 3)
    if not (temperature_K > 0 and length_A > 0 and viscosity_mPa_s.value > 0):
        raise AnalysisError("Temperature, volume and viscosity must be positive.")
    thermal = image_constant(cell) * BOLTZMANN_J_PER_K * temperature_K
    shift = thermal / (6 * np.pi * viscosity_mPa_s.value * 1e-3 * length_A * _M_PER_A) * _CM2_PER_M2
    return ValueWithError(float(shift), float(abs(shift) * viscosity_mPa_s.stderr / viscosity_mPa_s.value))


def image_constant(cell_A: ArrayLike) -> float:
    """Return xi of the lattice of images, with the cube root of the volume as length; 2.837297 of a cube.

    The mean over the directions of the flow that all images make where the particle is has the same lattice sum as the
    potential that a lattice of charges has at one of them, in a background that makes it neutral.

    Parameters
    ----------
    cell_A
        (3, 3) cell vectors in rows.
    """
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Lattice, Structure

    cell = np.asarray(cell_A, dtype=float)
    lattice = Lattice(cell / abs(np.linalg.det(cell)) ** (1 / 3))
    charge = Structure(lattice, ["H+"], [[0.0, 0.0, 0.0]])
    return float(-2 * EwaldSummation(charge).total_energy / EwaldSummation.CONV_FACT)


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
