"""Ionic conductivity from diffusion coefficients."""

from __future__ import annotations

from typing import Final

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.errors import AnalysisError

ELEMENTARY_CHARGE_C: Final = 1.602176634e-19
_CM3_PER_A3: Final = 1e-24


def nernst_einstein_conductivity(
    diffusion_cm2_s: ValueWithError, n_ions: int, volume_A3: float, charge_e: float, temperature_K: float
) -> ValueWithError:
    """Return the conductivity n q^2 D / kT in S/cm of one kind of ions.

    With the tracer coefficient it is that of ions that do not know of each other (Nernst and Einstein); with the
    collective coefficient it is the conductivity itself, if only these ions move. Their ratio is the Haven ratio
    (Murch, 10.1016/0167-2738(82)90050-9). Conductivities of several kinds of ions add up in the first case only.

    Parameters
    ----------
    diffusion_cm2_s
        Tracer or collective coefficient with its error.
    n_ions, volume_A3
        Ions in the cell and its volume.
    charge_e
        Charge of an ion; the sign does not matter.
    temperature_K
        Of the run.

    Raises
    ------
    AnalysisError
        Volume, temperature or number of ions are not positive.
    """
    if not (volume_A3 > 0 and temperature_K > 0 and n_ions > 0):
        raise AnalysisError("A conductivity needs ions, a volume and a temperature above zero.")
    density_per_cm3 = n_ions / (volume_A3 * _CM3_PER_A3)
    # q^2 / kT = z^2 e / (kT / e): charge in C, kT in eV, hence V
    factor = density_per_cm3 * charge_e**2 * ELEMENTARY_CHARGE_C / (BOLTZMANN_EV_PER_K * temperature_K)
    return ValueWithError(factor * diffusion_cm2_s.value, factor * diffusion_cm2_s.stderr)
