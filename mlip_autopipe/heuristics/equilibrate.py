"""Rules for lattice constant, density and thermal expansion at a temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.heuristics.learning import choose_supercell, time_step_fs
from mlip_autopipe.schemas.system import EquilibrateSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

RULE = "rule of mlip_autopipe.heuristics.equilibrate"
DEFAULT_TEMPERATURE_K = 300.0
SIDE_STEP = 1 / 3
"""Thermal expansion is a difference: runs at this fraction of the temperature below and above."""
MIN_ATOMS = 100
RUN_PS = 20.0


def choose_equilibrate(
    structure: Structure, temperatures_K: list[float] | None, choices: Choices, *, cheap: bool
) -> EquilibrateSettings:
    """Choose temperatures, cell and length of the runs.

    Parameters
    ----------
    structure
        Primitive start structure.
    temperatures_K
        Those that the user asks for; 300 K when None.
    choices
        Takes the reasons.
    cheap
        Whether a reference calculation costs milliseconds.
    """

    def choose(name: str, value: Any, reason: str, source: str = RULE) -> Any:
        return choices.choose(f"equilibrate.{name}", value, reason, source)

    asked = sorted({float(one) for one in temperatures_K or [DEFAULT_TEMPERATURE_K]})
    why = "asked for" if temperatures_K else "room temperature"
    runs = sorted({round(t * f, 1) for t in asked for f in (1 - SIDE_STEP, 1.0, 1 + SIDE_STEP)})
    cell, size = choose_supercell(structure, MIN_ATOMS)
    step = choose("time_step_fs", time_step_fs(structure), "as for learning: from the lightest mass")
    return EquilibrateSettings(
        temperatures_K=choose(
            "temperatures_K", runs, "those asked for, and a third below and above: expansion is their difference"
        ),
        expansion_at_K=choose("expansion_at_K", asked, why),
        supercell=choose("supercell", cell, f"{size} atoms: the volume per atom changes with their number as 1/N"),
        time_step_fs=step,
        steps=choose("steps", round(RUN_PS * 1000 / step), f"{RUN_PS:g} ps: twenty relaxation times of the volume"),
        frame_interval=choose("frame_interval", 10, "frames that are nearer are correlated"),
        target_length_error=choose("target_length_error", 2e-4, "relative, statistical: 1e-3 A of a usual cell"),
        max_extensions=choose("max_extensions", 3, "then what was reached is reported"),
        check_labels=choose("check_labels", 4 if cheap else 2, "frames whose pressure the reference judges"),
        draws=choose("draws", 6, "posterior samples; their spread is known to about 30 %"),
        seed=choose("seed", 0, "of all random numbers"),
    )
