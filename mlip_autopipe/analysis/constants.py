"""Physical constants (CODATA 2018) in the units of the analyses: eV, A, K, GPa, THz, amu; J for fluids."""

from __future__ import annotations

from typing import Final

BOLTZMANN_EV_PER_K: Final = 8.617333262e-5
BOLTZMANN_J_PER_K: Final = 1.380649e-23
PLANCK_EV_PER_THZ: Final = 4.135667696e-3
GPA_PER_EV_PER_A3: Final = 160.2176634
"""1 eV/A^3 in GPa."""
G_PER_CM3_PER_AMU_PER_A3: Final = 1.66053906660
"""1 amu/A^3 in g/cm^3."""
