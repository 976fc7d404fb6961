"""Rules for diffusion: temperatures, cells, vacancies, and how long the runs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.heuristics.learning import choose_supercell, time_step_fs
from mlip_autopipe.schemas.otf import StartStructure
from mlip_autopipe.schemas.system import DiffusionSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

RULE = "rule of mlip_autopipe.heuristics.diffusion"
DESIGN = "docs/diffusion.md"

SOLID_FRACTIONS = (0.75, 0.825, 0.9)
"""Of the melting point: vacancies move within the time of a simulation only near it."""
LIQUID_FRACTIONS = (1.1, 1.25, 1.4)
FALLBACK_TEMPERATURES_K = (600.0, 900.0, 1200.0)
MIN_ATOMS = 60
MOBILE = frozenset({"H", "Li", "Na", "K", "Cu", "Ag", "F", "O"})
"""Elements that move through compounds without vacancies being put in: those of the known fast ion conductors."""
FRAME_FS = 50.0
LATTICE_PS = {"solid": 10.0, "liquid": 40.0}
FIRST_RUN_PS = {"solid": 150.0, "liquid": 40.0}
TARGET_RELATIVE_ERROR = 0.2
MIN_HOPS = 40
MAX_RELEARNINGS = {"solid": 5, "liquid": 10}
LONGEST = 10
"""Times the first length of a run."""
_MODEL_RUNS = {
    "solid": (0, "what posterior samples of the potential change about the hops follows from the runs themselves"),
    "liquid": (2, "runs with posterior samples of the potential: the model part of the error"),
}


def choose_diffusion(
    structure: Structure,
    temperatures_K: list[float] | None,
    choices: Choices,
    *,
    is_metal: bool,
    melting_point_K: float | None,
) -> DiffusionSettings:
    """Choose what is simulated.

    Parameters
    ----------
    structure
        Primitive start structure.
    temperatures_K
        Those that the user asks for.
    choices
        Takes the reasons.
    is_metal
        Metals and covalent crystals move by vacancies; compounds with a mobile ion by themselves.
    melting_point_K
        If it is known.

    Raises
    ------
    InvalidInputError
        A temperature above the boiling point.
    """

    def choose(name: str, value: Any, reason: str, source: str = RULE) -> Any:
        return choices.choose(f"diffusion.{name}", value, reason, source)

    phase = choose("phase", *_phase(temperatures_K, melting_point_K))
    kelvins = choose("temperatures_K", *_temperatures(structure, temperatures_K, melting_point_K, phase))
    _refuse_vapour(structure, kelvins)
    cell, size = choose_supercell(structure, MIN_ATOMS)
    vacancies, why = _vacancies(structure, phase, is_metal)
    step = choose("time_step_fs", time_step_fs(structure), "as for learning: from the lightest mass")
    return DiffusionSettings(
        phase=phase,
        temperatures_K=kelvins,
        supercell=choose(
            "supercell",
            cell,
            f"{size} sites: images of a defect are some shells away, and more atoms make no more hops",
        ),
        vacancies=choose("vacancies", vacancies, why),
        time_step_fs=step,
        frame_interval=choose(
            "frame_interval", max(1, round(FRAME_FS / step)), f"{FRAME_FS:g} fs: shorter than a hop takes"
        ),
        lattice_steps=choose("lattice_steps", *_lattice(phase, step)),
        steps=choose(
            "steps",
            round(1000 * FIRST_RUN_PS[phase] / step),
            f"{FIRST_RUN_PS[phase]:g} ps at first; runs are made longer until their error is within the target",
        ),
        replicas=choose("replicas", 2, "independent runs: their scatter is a test of the stated error"),
        model_runs=choose("model_runs", *_MODEL_RUNS[phase]),
        draws=choose("draws", 16, "posterior samples; their spread is known to about a fifth"),
        target_relative_error=choose("target_relative_error", TARGET_RELATIVE_ERROR, "of D; some 60 hops give it"),
        min_hops=choose("min_hops", MIN_HOPS, "fewer hops say little of their own error", DESIGN),
        max_steps=choose(
            "max_steps",
            LONGEST * round(1000 * FIRST_RUN_PS[phase] / step),
            f"runs grow up to {LONGEST} times their first length; then what was reached is said",
        ),
        max_relearnings=choose(
            "max_relearnings",
            MAX_RELEARNINGS[phase],
            "production under watch finds what learning did not meet, and of a liquid most of it",
        ),
        seed=choose("seed", 0, "of all random numbers"),
    )


def defective_start(structure: Structure, settings: DiffusionSettings, choices: Choices) -> list[StartStructure]:
    """Choose the crystals that learning explores beside the perfect one: with the vacancies of the production runs."""
    import json

    import numpy as np
    from ase.build import make_supercell
    from pymatgen.io.ase import AseAtomsAdaptor

    from mlip_autopipe.generation.perturb import with_vacancies
    from mlip_autopipe.heuristics.learning import MIN_ATOMS as MIN_LEARNING_ATOMS

    found: list[StartStructure] = []
    why = "the perfect crystal moves by itself" if settings.phase == "solid" else "a liquid needs no vacancies"
    if settings.vacancies:
        matrix, _ = choose_supercell(structure, MIN_LEARNING_ATOMS)
        atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
        large = make_supercell(atoms, np.array(matrix), order="atom-major")
        defective = with_vacancies(large, 1, np.random.default_rng(settings.seed))
        cell = AseAtomsAdaptor.get_structure(defective)
        found = [
            StartStructure(
                name=f"{structure.composition.reduced_formula} with a vacancy",
                structure=json.loads(cell.to_json()),
                supercell=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
            )
        ]
        why = "the production runs hold vacancies"
    chosen: list[Any] = choices.choose("otf.others", found, why, RULE)
    return chosen


def _phase(asked_K: list[float] | None, melting_point_K: float | None) -> tuple[Any, str, str]:
    if asked_K and melting_point_K and min(asked_K) > melting_point_K:
        return "liquid", f"all temperatures are above the melting point ({melting_point_K:.0f} K)", RULE
    if asked_K and melting_point_K and max(asked_K) > melting_point_K:
        raise InvalidInputError(
            f"temperatures_K lie on both sides of the melting point ({melting_point_K:.0f} K): a solid and a liquid "
            "are two runs; choose one side"
        )
    return "solid", "the default; temperatures above the melting point, or an override, ask for the liquid", RULE


def _temperatures(
    structure: Structure, asked_K: list[float] | None, melting_point_K: float | None, phase: str
) -> tuple[list[float], str]:
    if asked_K:
        return sorted({float(one) for one in asked_K}), "asked for"
    if melting_point_K is None:
        return list(FALLBACK_TEMPERATURES_K), "no melting point is known: hot enough that ions of compounds move"
    fractions = LIQUID_FRACTIONS if phase == "liquid" else SOLID_FRACTIONS
    found = [50.0 * round(x * melting_point_K / 50.0) for x in fractions]
    names = ", ".join(f"{x:g}" for x in fractions)
    why = f"{names} of the melting point ({melting_point_K:.0f} K), rounded to 50 K; their slope tells the energy"
    return sorted(set(found)), why


def _refuse_vapour(structure: Structure, kelvins: list[float]) -> None:
    boiling = [one.boiling_point for one in structure.composition if getattr(one, "boiling_point", None)]
    if boiling and max(kelvins) > max(float(one) for one in boiling):
        raise InvalidInputError(
            f"temperatures_K go up to {max(kelvins):g} K, above the boiling point "
            f"({max(float(one) for one in boiling):.0f} K) of everything in {structure.composition.reduced_formula}; "
            "choose lower ones"
        )


def _lattice(phase: str, step_fs: float) -> tuple[int, str]:
    what = "lattice constant" if phase == "solid" else "volume, on which a liquid's coefficient depends steeply"
    return round(1000 * LATTICE_PS[phase] / step_fs), f"{LATTICE_PS[phase]:g} ps at zero pressure give the {what}"


def _vacancies(structure: Structure, phase: str, is_metal: bool) -> tuple[int, str]:
    if phase == "liquid":
        return 0, "a liquid"
    ions = sorted({site.specie.symbol for site in structure} & MOBILE)
    if not is_metal and len(structure.composition) > 1 and ions:
        return 0, f"{', '.join(ions)} may move through the perfect compound; else set vacancies to 1"
    return 1, "one vacancy: atoms of this crystal move by them, and interactions of several would disturb"
