"""Rules for relaxation and strains of the elastic goal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.schemas.system import ElasticCheck, ElasticSettings, RelaxationSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

MEASURED = "measured: docs/benchmarks.md"
RULE = "rule of mlip_autopipe.heuristics.elastic"
CENTRAL_DIFFERENCES = "central differences at 0.5 % strain are within 0.3 GPa, 3 % costs 2-3 GPa"

STRAIN_AMPLITUDE = 0.005
FMAX_EV_PER_A = {True: 1e-4, False: 5e-3}
"""Of the cell relaxation, by cheap: classical forces are exact to the last digits, DFT forces are not."""
ION_FMAX_PER_STRAIN_EV_PER_A = {True: 0.02, False: 0.4}
"""Force threshold of strained cells over the strain amplitude, by cheap.

A force f that is left at strain delta changes a constant by an amount proportional to f / delta: 0.7 GPa in C44 of
Stillinger-Weber silicon for 1e-3 eV/A at delta = 0.25 %.
"""
STRESS_TOLERANCE_GPA = {True: 5e-3, False: 5e-2}
RELAX_MAX_STEPS = {True: 1000, False: 100}
ION_MAX_STEPS = {True: 500, False: 50}
SYMMETRY_TOLERANCE_A = 0.01


def choose_relaxation(
    structure: Structure, choices: Choices, *, cheap: bool, symmetry_tolerance_A: float = SYMMETRY_TOLERANCE_A
) -> RelaxationSettings:
    """Choose how the start cell is relaxed.

    Parameters
    ----------
    structure
        Primitive start structure.
    choices
        Takes the reasons.
    cheap
        Whether a reference calculation costs milliseconds.
    symmetry_tolerance_A
        Of the symmetry that is kept.
    """
    ordered = _has_several_moments(structure)
    kind = "a cheap reference" if cheap else "DFT"
    return RelaxationSettings(
        fmax_eV_per_A=choices.choose(
            "relaxation.fmax_eV_per_A",
            FMAX_EV_PER_A[cheap],
            f"force threshold for {kind}; forces that symmetry keeps at zero need no relaxation",
            RULE,
        ),
        stress_tolerance_GPa=choices.choose(
            "relaxation.stress_tolerance_GPa",
            STRESS_TOLERANCE_GPA[cheap],
            f"residual stress for {kind}; a constant changes by dC/dp, about 1 to 8, times it",
            RULE,
        ),
        max_steps=choices.choose(
            "relaxation.max_steps",
            RELAX_MAX_STEPS[cheap],
            "far above the usual number of steps; reaching it means that something is wrong",
            RULE,
        ),
        keep_symmetry=choices.choose(
            "relaxation.keep_symmetry",
            not ordered,
            "atoms of one element differ in their moments, which the projection of forces does not see"
            if ordered
            else "strain directions are chosen for the start structure's symmetry, so relaxation must keep it",
            "docs/design/foundation.md",
        ),
        symmetry_tolerance_A=choices.choose(
            "relaxation.symmetry_tolerance_A",
            symmetry_tolerance_A,
            "the same as for strains: elastic.symmetry_tolerance_A",
            RULE,
        ),
    )


def choose_elastic(structure: Structure, choices: Choices, *, cheap: bool) -> ElasticSettings:
    """Choose strain directions, amplitude and thresholds.

    Parameters
    ----------
    structure
        Primitive start structure, in the orientation in which it is strained.
    choices
        Takes the reasons.
    cheap
        Whether a reference calculation costs milliseconds.
    """
    from mlip_autopipe.analysis.strain import choose_strain_directions
    from mlip_autopipe.analysis.symmetry import crystal_symmetry

    tolerance = choices.choose(
        "elastic.symmetry_tolerance_A",
        SYMMETRY_TOLERANCE_A,
        "larger than the rounding of coordinates in files, smaller than any distortion that matters",
        f"{RULE}; tolerance of spglib, doi:10.1080/27660400.2024.2384822",
    )
    symmetry = crystal_symmetry(structure, tolerance)
    chosen = [tuple(float(e) for e in row) for row in choose_strain_directions(symmetry.rotations)]
    kind = "a cheap reference" if cheap else "DFT"
    directions = choices.choose(
        "elastic.directions",
        chosen,
        f"fewest directions that determine all constants of point group {symmetry.point_group} "
        f"({symmetry.space_group}, {symmetry.crystal_system})",
        "mlip_autopipe.analysis.strain; docs/design/foundation.md",
    )
    _require_rank(directions, symmetry.rotations)
    amplitude = choices.choose("elastic.strain_amplitude", STRAIN_AMPLITUDE, CENTRAL_DIFFERENCES, MEASURED)
    return ElasticSettings(
        strain_amplitude=amplitude,
        half_amplitude_check=choices.choose(
            "elastic.half_amplitude_check",
            True,
            "the difference between two amplitudes is the nonlinearity part of the error bar",
            "docs/design/foundation.md",
        ),
        directions=directions,
        symmetry_tolerance_A=tolerance,
        ion_fmax_eV_per_A=choices.choose(
            "elastic.ion_fmax_eV_per_A",
            float(f"{ION_FMAX_PER_STRAIN_EV_PER_A[cheap] * amplitude:.3g}"),
            f"{ION_FMAX_PER_STRAIN_EV_PER_A[cheap]:g} eV/A times the strain amplitude, for {kind}: what a left force "
            "changes in a constant grows as force over strain",
            f"{RULE}; docs/elastic.md (clamped ions double C44 of silicon)",
        ),
        ion_max_steps=choices.choose(
            "elastic.ion_max_steps",
            ION_MAX_STEPS[cheap],
            "far above the usual number of steps; reaching it means that something is wrong",
            RULE,
        ),
    )


def choose_check(elastic: ElasticSettings, choices: Choices) -> ElasticCheck:
    """Choose the strained cells on which the reference judges a potential: never trained on, all constants in sight."""
    from mlip_autopipe.analysis.elastic import strain_set

    strains = strain_set(elastic.directions, amplitude=elastic.strain_amplitude, half_amplitude_check=False)
    return ElasticCheck(
        strains=choices.choose(
            "elastic_check.strains",
            [tuple(float(e) + 0.0 for e in row) for row in strains],
            "the plan's directions at plus and minus its amplitude: half of what the reference alone would need",
            "docs/learning.md",
        )
    )


def _require_rank(directions: Sequence[Sequence[float]], rotations: Any) -> None:
    """Refuse directions of the user's that leave constants open, before anything is computed for them."""
    import numpy as np

    from mlip_autopipe.analysis.elastic import fit_elastic_constants, strain_set
    from mlip_autopipe.errors import AnalysisError, InvalidInputError

    array = np.asarray(directions, dtype=float)
    if not len(array) or not np.abs(array).max(axis=1).all():
        raise InvalidInputError("elastic.directions needs at least one row, and no row of zeros")
    strains = strain_set(array, 0.005)
    try:
        fit_elastic_constants(strains, np.zeros_like(strains), rotations=rotations)
    except AnalysisError as error:
        raise InvalidInputError(f"elastic.directions: {str(error)[0].lower()}{str(error)[1:].rstrip('.')}") from None


def _has_several_moments(structure: Structure) -> bool:
    """Whether atoms of one element carry different moments (antiferromagnets, for instance)."""
    moments = structure.site_properties.get("magmom")
    if moments is None:
        return False
    kinds = {(site.specie.symbol, round(float(m), 2)) for site, m in zip(structure, moments, strict=True)}
    return len(kinds) > len({symbol for symbol, _ in kinds})
