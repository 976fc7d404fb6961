"""Classical potentials that need more than keywords to be made, as factories with a dotted name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlip_autopipe.errors import EnvironmentProblemError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


def stillinger_weber_silicon() -> Calculator:
    """Return the Stillinger-Weber potential of silicon (10.1103/PhysRevB.31.5262), from matscipy.

    Raises
    ------
    EnvironmentProblemError
        matscipy is not installed.
    """
    try:
        from matscipy.calculators.manybody import Manybody
        from matscipy.calculators.manybody.explicit_forms import StillingerWeber
        from matscipy.calculators.manybody.explicit_forms.stillinger_weber import (
            Stillinger_Weber_PRB_31_5262_Si,
        )
    except ModuleNotFoundError:
        raise EnvironmentProblemError(
            "the Stillinger-Weber potential comes from matscipy, which is not installed; pip install matscipy"
        ) from None
    return Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
