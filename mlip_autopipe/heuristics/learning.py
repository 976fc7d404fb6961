"""Rules for learning a potential on the fly."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.schemas.config import Goal, PotentialRequest
from mlip_autopipe.schemas.otf import OTFSettings, StartStructure

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymatgen.core import Structure

    from mlip_autopipe.schemas.base import IntMatrix3x3

RULE = "rule of mlip_autopipe.heuristics.learning"
DESIGN = "docs/learning.md"
MEASURED = "measured: docs/benchmarks.md"

MIN_ATOMS = 32
"""Of the cell in which molecular dynamics runs and frames are labelled."""
SIZE_SPREAD = 1.7
"""A supercell up to so many times larger is taken when its images are farther apart for its size."""

EXPLORED_FRACTIONS_OF_MELTING: dict[Goal, tuple[float, ...]] = {
    "diffusion": (0.7, 0.8, 0.9),
    "elastic": (0.15, 0.3, 0.45),
    "phase_diagram": (0.2,),
    "potential": (0.2, 0.4, 0.6, 0.8),
}
FALLBACK_TEMPERATURES_K = (300.0, 600.0)
HOTTER: dict[Goal, float] = {
    "diffusion": 1.05,
    "elastic": 1.2,
    "equilibrate": 1.5,
    "phase_diagram": 1.0,
    "potential": 1.0,
}
"""Learning goes this much above the hottest temperature that is asked for: a potential must be sound around it, too."""

TIME_STEP_FS_PER_ROOT_AMU = 0.4
TIME_STEP_LIMITS_FS = (0.5, 3.0)

TARGET_FORCE_ERROR_EV_PER_A = 0.04
TRIGGER_OVER_TARGET = 2.5
TARGET_PROPERTY_ERROR: dict[Goal, float] = {
    "diffusion": 0.1,
    "elastic": 0.02,
    "equilibrate": 5e-4,
    "phase_diagram": 1.0,
    "potential": 1.0,
}
SEEDS = 6
SEED_STRAIN = 0.04
SEEDS_PER_CRYSTAL = 2
SEGMENT_STEPS = {True: 500, False: 2000}
"""By cheap: beside a DFT label, molecular dynamics costs nothing."""
AUDITS = {True: 2, False: 1}
DEFECT_SEEDS = 2
HELD_OUT = 8
POOL, POOL_LABELS = 12, 4
CANDIDATE_LABELS = 12
MELT_OVER_MELTING_POINT = 2.0
PROPERTY_STRAIN = 0.01
PROPERTY_WEIGHT = 100.0


def choose_learning(
    structure: Structure,
    goal: Goal,
    request: PotentialRequest,
    temperatures_K: list[float] | None,
    choices: Choices,
    *,
    cheap: bool,
    cores: int,
    melting_point_K: float | None,
    others: list[StartStructure],
    lattice: Structure | None = None,
    liquid: bool = False,
) -> OTFSettings:
    """Choose how the potential is learned.

    Parameters
    ----------
    structure
        Primitive start structure.
    goal
        What the potential is for.
    request
        Backend and its keywords.
    temperatures_K
        Those that the user asks for.
    choices
        Takes the reasons.
    cheap
        Whether a reference calculation costs milliseconds.
    cores
        Labels that can be computed side by side.
    melting_point_K
        If it is known.
    others
        Further crystals that the potential has to know.
    lattice
        Of a random alloy, in place of whose symmetry the quasirandom structure has none.
    liquid
        Whether the property is one of the liquid.

    Raises
    ------
    InvalidInputError
        There is no such backend.
    """
    from mlip_autopipe.potentials.registry import potential_class

    potential_class(request.backend)
    how = "a cheap reference" if cheap else "DFT"

    def choose(name: str, value: Any, reason: str, source: str = RULE) -> Any:
        return choices.choose(f"otf.{name}", value, reason, source)

    target = choose(
        "target_force_error_eV_per_A",
        TARGET_FORCE_ERROR_EV_PER_A,
        "per component; a tenth or less of the forces at room temperature and above",
    )
    explored, why = explored_temperatures(goal, temperatures_K, melting_point_K)
    cell, size = choose_supercell(structure, MIN_ATOMS)
    crystals = 1 + len(others)
    audits = AUDITS[cheap and crystals == 1]
    several = " and several crystals" if crystals > 1 else ""
    bond = _nearest_distance(structure)
    control = choose("control_arm", "none", "costs as many labels as the loop; `random` switches it on", DESIGN)
    return OTFSettings(
        backend=choose("backend", request.backend, "the default: trains in seconds on a CPU", DESIGN),
        potential=choose("potential", request.kwargs, "the backend's own defaults, unless given", DESIGN),
        temperatures_K=choose("temperatures_K", explored, why),
        ensemble=choose(
            "ensemble",
            "npt" if _is_cubic(lattice or structure) else "npt_anisotropic",
            "zero pressure: the volume follows the temperature, and each axis where symmetry does not tie them",
        ),
        time_step_fs=choose(
            "time_step_fs",
            min(time_step_fs(one) for one in [structure, *(_plain(one) for one in others)]),
            f"{TIME_STEP_FS_PER_ROOT_AMU:g} fs times the root of the lightest mass in u: some thirty steps per period "
            "of its stiffest vibration",
        ),
        supercell=choose("supercell", cell, f"{size} atoms, of such cells the one whose images are farthest apart"),
        others=others,
        seed_structures=choose(
            "seed_structures",
            max(SEEDS, crystals if goal == "phase_diagram" else SEEDS_PER_CRYSTAL * crystals),
            "strained primitive cells and rattled supercells in turn",
        ),
        defect_seeds=choose(
            "defect_seeds",
            DEFECT_SEEDS if goal == "potential" else 0,
            "a vacancy and an interstitial: who uses the potential will meet them"
            if goal == "potential"
            else "the property is that of the perfect crystal",
        ),
        seed_strain=choose("seed_strain", SEED_STRAIN, "the guessed lattice constant may be off by some per cent"),
        seed_rattle_A=choose(
            "seed_rattle_A", round(0.06 * bond, 3), f"6 % of the bond of {bond:.2f} A, as near half its melting point"
        ),
        force_std_trigger_eV_per_A=choose(
            "force_std_trigger_eV_per_A",
            float(f"{TRIGGER_OVER_TARGET * target:.3g}"),
            f"{TRIGGER_OVER_TARGET:g} times the target: the least sure atom of a frame, not the mean, is looked at",
        ),
        target_force_error_eV_per_A=target,
        target_property_error=choose(
            "target_property_error",
            TARGET_PROPERTY_ERROR[goal],
            "relative model part of the error; forces decide instead" if goal == "potential" else "relative model part",
        ),
        segment_steps=choose("segment_steps", SEGMENT_STEPS[cheap], f"for {how}; an audit at the end of each", DESIGN),
        check_every=choose(
            "check_every", None, "as often as a tenth of the run's time allows; a number makes runs repeatable", DESIGN
        ),
        audits_per_temperature=choose("audits_per_temperature", audits, f"for {how}{several}", DESIGN),
        max_segments_per_temperature=choose(
            "max_segments_per_temperature", 3 * audits, "three times the least number", DESIGN
        ),
        walkers=choose(
            "walkers",
            1 if cheap or crystals > 1 else max(1, min(cores, 4)),
            "labels are batched" if cheap else "as many labels side by side as there are cores, at most four",
        ),
        max_generations=choose("max_generations", 100, "far above the usual number"),
        max_refinements=choose("max_refinements", 5, "each shows the property's response at another amplitude", DESIGN),
        property_strain=choose(
            "property_strain", PROPERTY_STRAIN, "twice the strain at which constants are measured", MEASURED
        ),
        property_stress_weight=choose(
            "property_stress_weight",
            PROPERTY_WEIGHT,
            "a few stresses of the property's own cells must count beside thousands of forces of hot frames",
            MEASURED,
        ),
        **_choose_pool(choose, goal, melting_point_K, crystals, max(explored) if liquid else None),
        draws=choose("draws", 6, "posterior samples; their spread is known to about 30 %"),
        held_out=choose(
            "held_out",
            max(HELD_OUT, 2 * crystals) if goal == "potential" or control == "random" else 0,
            "judge the potential at the end and are never trained on" if goal == "potential" else "the audits judge it",
        ),
        held_out_strain=choose(
            "held_out_strain",
            SEED_STRAIN if goal == "potential" else 0.0,
            "as the seeds: the potential is to hold there, too" if goal == "potential" else "the property is at rest",
        ),
        control_arm=control,
        label_max_atoms=choose("label_max_atoms", 400 if cheap else 100, f"what {how} can take"),
        generations_per_job=choose("generations_per_job", 20, "a job's start costs as much as a small generation"),
        seed=choose("seed", 0, "of all random numbers; another value gives an independent repetition"),
    )


def _choose_pool(
    choose: Callable[..., Any], goal: Goal, melting_point_K: float | None, crystals: int, liquid_K: float | None
) -> dict[str, Any]:
    wanted = goal == "potential"
    why = "who uses the potential will meet strain, defects and disorder" if wanted else "the property is the crystal's"
    melt = round(MELT_OVER_MELTING_POINT * melting_point_K, -1) if wanted and melting_point_K else None
    labels, chosen_for = 0, why
    if wanted:
        labels, chosen_for = max(POOL_LABELS, crystals), "those of the pool whose labels say most"
    elif goal == "phase_diagram":
        labels, chosen_for = CANDIDATE_LABELS, "candidates, rattled, whose labels say most"
    elif liquid_K:
        labels, chosen_for = POOL_LABELS, "liquid frames whose labels say most"
        melt = round(MELT_OVER_MELTING_POINT * liquid_K, -1)
    return {
        "pool_structures": choose("pool_structures", POOL if wanted else 0, why),
        "pool_labels": choose("pool_labels", labels, chosen_for),
        "pool_strain": choose("pool_strain", 0.08, "twice that of the seeds: far from where the crystal is at rest"),
        "melt_temperature_K": choose(
            "melt_temperature_K",
            melt,
            f"{MELT_OVER_MELTING_POINT:g} times {'the hottest' if liquid_K else 'the melting point'}: small perfect "
            "crystals melt late"
            if melt
            else ("no melting point is known" if wanted else why),
        ),
        "surrogate": choose("surrogate", None, "the current potential drops absurd structures; or give a model file"),
    }


def explored_temperatures(
    goal: Goal, asked_K: list[float] | None, melting_point_K: float | None
) -> tuple[list[float], str]:
    """Return the temperatures of exploration, from cold to hot, and why."""
    if asked_K:
        hottest = max(asked_K) * HOTTER[goal]
        found = sorted({*asked_K, round(hottest, 1)})
        if len(found) == 1:
            found = sorted({round(found[0] / 2, 1), *found})
        what = "those asked for" if goal == "potential" else f"those asked for and {HOTTER[goal]:g} times the hottest"
        return [float(one) for one in found], f"{what}, from cold to hot"
    if melting_point_K is None:
        return list(FALLBACK_TEMPERATURES_K), "no melting point is known: room temperature, and twice that"
    shares = EXPLORED_FRACTIONS_OF_MELTING[goal]
    found = sorted({max(50.0, 50.0 * round(share * melting_point_K / 50.0)) for share in shares})
    names = ", ".join(f"{share:g}" for share in shares)
    return found, f"{names} of the melting point ({melting_point_K:.0f} K), rounded to 50 K"


def time_step_fs(structure: Structure) -> float:
    """Return the time step for the lightest atom, in quarters of a femtosecond."""
    lightest = min(float(site.specie.atomic_mass) for site in structure)
    low, high = TIME_STEP_LIMITS_FS
    return float(min(high, max(low, round(4 * TIME_STEP_FS_PER_ROOT_AMU * lightest**0.5) / 4)))


def choose_supercell(
    structure: Structure, min_atoms: int, *, spread: float = SIZE_SPREAD
) -> tuple[IntMatrix3x3, int]:
    """Return the supercell, of those with about so many atoms, whose periodic images are farthest apart for its size.

    Parameters
    ----------
    structure
        Primitive cell.
    min_atoms
        Least number of atoms.
    spread
        At most so many times more.

    Returns
    -------
    matrix, n_atoms
        Rows: its vectors in those of the primitive cell.
    """
    from mlip_autopipe.generation.shapes import compact_supercells, farthest_images_A

    cell = structure.lattice.matrix
    fewest = max(1, ceil(min_atoms / len(structure)))
    sizes = range(fewest, max(fewest, int(spread * fewest)) + 1)
    # of a dense packing of images, as fcc: no size is better
    ideal = round(float(2**0.5 * structure.volume) ** (1 / 3), 6)
    merits: dict[int, float] = {}
    for n in sizes:
        merits[n] = round(farthest_images_A(cell, n) / n ** (1 / 3), 6)
        if merits[n] >= ideal:
            break
    best = max(merits, key=lambda n: merits[n])
    (matrix,) = compact_supercells(cell, best, limit=1)
    rows = tuple(tuple(int(x) for x in row) for row in matrix)
    return rows, best * len(structure)  # type: ignore[return-value]


def _plain(one: StartStructure) -> Structure:
    from pymatgen.core import Structure

    return Structure.from_dict(one.structure)


def _is_cubic(structure: Structure) -> bool:
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    return bool(SpacegroupAnalyzer(structure, symprec=0.01).get_crystal_system() == "cubic")


def _nearest_distance(structure: Structure) -> float:
    from pymatgen.io.ase import AseAtomsAdaptor

    from mlip_autopipe.generation.perturb import shortest_distance

    return shortest_distance(AseAtomsAdaptor.get_atoms(structure, msonable=False))
