"""From a few lines of input to the complete plan."""

from __future__ import annotations

from typing import Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics.alloys import other_alloys, own_alloy
from mlip_autopipe.heuristics.budget import available_cores, choose_budget, estimate_cost, estimate_learning
from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.heuristics.diffusion import choose_diffusion, defective_start
from mlip_autopipe.heuristics.elastic import SYMMETRY_TOLERANCE_A, choose_check, choose_elastic, choose_relaxation
from mlip_autopipe.heuristics.electronic import choose_electronic
from mlip_autopipe.heuristics.equilibrate import DEFAULT_TEMPERATURE_K, choose_equilibrate
from mlip_autopipe.heuristics.learning import choose_learning
from mlip_autopipe.heuristics.material import choose_material
from mlip_autopipe.heuristics.overrides import Overrides
from mlip_autopipe.heuristics.phase_diagram import PARENTS, choose_phase_diagram, parent_of
from mlip_autopipe.heuristics.run_id import plan_run_id
from mlip_autopipe.schemas.config import TargetSystem, UserConfig
from mlip_autopipe.schemas.system import Reason, ReferenceSettings, SystemConfig

COVERS_COMPOSITIONS: tuple[str, ...] = ("potential", "phase_diagram")


class HeuristicEngine:
    """Choose every value of a plan, each with its reason and source.

    Examples
    --------
    >>> from mlip_autopipe.schemas.loading import parse_user_config
    >>> config = parse_user_config(
    ...     {
    ...         "project_name": "al-elastic",
    ...         "target_system": {"elements": ["Al"]},
    ...         "simulation_goal": "elastic",
    ...         "reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
    ...     }
    ... )
    >>> HeuristicEngine().expand(config).material.n_atoms
    1
    """

    def expand(self, user_config: UserConfig) -> SystemConfig:
        """Expand the user's input to a complete plan; nothing is computed or stored.

        Parameters
        ----------
        user_config
            Validated input; a relative ``target_system.structure`` is taken relative to the working directory.

        Returns
        -------
        SystemConfig
            Every choice has an entry in ``reasons`` (see `missing_reasons`).

        Raises
        ------
        InvalidInputError
            The goal cannot be reached from this input, the structure cannot be built or read, the engine does not
            exist, or an override does not fit.
        """
        from mlip_autopipe.reference.registry import engine_class

        goal = user_config.simulation_goal
        _check_goal(user_config)
        via = user_config.via or ("reference" if goal == "elastic" else "potential")
        engine = engine_class(user_config.reference.engine)
        choices = Choices(Overrides(user_config.overrides))
        target = user_config.target_system
        if goal == "phase_diagram" and target.crystal_structure is None and target.elements is not None:
            target = target.model_copy(update={"crystal_structure": parent_of(target.elements)})
        alloy = own_alloy(target, goal, choices)
        material, structure = choose_material(target, choices, alloy=alloy, has_electrons=not engine.cheap)
        electronic = choose_electronic(
            structure,
            goal,
            is_metal=material.is_metal,
            is_magnetic=material.is_magnetic,
            magnetic_reason=choices.reasons["material.is_magnetic"],
            several_cells=via == "potential",
        )
        choices.reasons["via"] = _via_reason(user_config)
        parameters = choices.choose_parameters(engine.choose_parameters(user_config.reference, electronic))
        choices.reasons["reference.engine"] = _engine_reason(user_config)
        reference = ReferenceSettings(
            engine=user_config.reference.engine,
            parameters=parameters,
            files=choices.choose(
                "reference.files",
                engine.named_files(parameters),
                "sha256 of every file that a parameter names",
                f"engine {user_config.reference.engine}",
            ),
            cheap=choices.choose(
                "reference.cheap",
                engine.cheap,
                "many labels in one job" if engine.cheap else "one job per calculation",
                f"engine {user_config.reference.engine}",
            ),
        )
        elastic = choose_elastic(structure, choices, cheap=reference.cheap) if goal == "elastic" else None
        # what a potential relaxes costs nothing
        relaxation = choose_relaxation(
            structure,
            choices,
            cheap=reference.cheap or via == "potential",
            symmetry_tolerance_A=SYMMETRY_TOLERANCE_A if elastic is None else elastic.symmetry_tolerance_A,
        )
        temperatures = user_config.temperatures_K
        learning: dict[str, Any] = {}
        if via == "potential":
            cores = user_config.resources.cores or available_cores()
            explored, others = temperatures, []
            if goal == "equilibrate":
                explored = temperatures or [DEFAULT_TEMPERATURE_K]
            if goal == "diffusion":
                diffusion = choose_diffusion(
                    structure,
                    temperatures,
                    choices,
                    is_metal=material.is_metal,
                    melting_point_K=material.melting_point_K,
                )
                learning["diffusion"], explored = diffusion, diffusion.temperatures_K
                others = defective_start(structure, diffusion, choices)
            elif goal == "phase_diagram":
                learning["phase_diagram"] = choose_phase_diagram(
                    target, temperatures, choices, melting_point_K=material.melting_point_K
                )
                explored, others = None, other_alloys(target, goal, choices)
            else:
                others = other_alloys(target, goal, choices)
            learning["otf"] = choose_learning(
                structure,
                goal,
                user_config.potential,
                explored,
                choices,
                cheap=reference.cheap,
                cores=cores,
                melting_point_K=material.melting_point_K,
                others=others,
                lattice=None if alloy is None else alloy.parent,
                liquid=goal == "diffusion" and learning["diffusion"].phase == "liquid",
            )
            if elastic is not None:
                learning["elastic_check"] = choose_check(elastic, choices)
            if goal == "equilibrate":
                learning["equilibrate"] = choose_equilibrate(structure, temperatures, choices, cheap=reference.cheap)
        kpts = electronic.kpts if isinstance(parameters.get("kpts"), dict) else parameters.get("kpts")
        cost: dict[str, Any] = {
            "kpts": tuple(kpts or electronic.kpts),
            "is_metal": material.is_metal,
            "spin_polarised": material.is_magnetic,
        }
        if learning:
            estimate = estimate_learning(structure, reference, learning, **cost)
        else:
            assert elastic is not None, "only the elastic goal does without a potential"
            estimate = estimate_cost(structure, reference, elastic, **cost)
        config = SystemConfig(
            project_name=user_config.project_name,
            run_id="pending",
            goal=goal,
            via=via,
            material=material,
            reference=reference,
            relaxation=relaxation,
            elastic=elastic,
            **learning,
            budget=choose_budget(user_config.resources, estimate, choices),
            estimate=estimate,
            reasons=choices.reasons,
            warnings=choices.warnings,
        )
        _refuse_unused(choices.overrides, config)
        return config.model_copy(update={"run_id": plan_run_id(config)})


def _check_goal(user_config: UserConfig) -> None:
    goal, target = user_config.simulation_goal, user_config.target_system
    if target.composition_range is not None and goal not in COVERS_COMPOSITIONS:
        raise InvalidInputError(
            f"target_system.composition_range has no meaning for goal {goal}; give composition instead"
        )
    if goal == "phase_diagram":
        _check_phase_diagram(target)
    elif target.structures is not None:
        raise InvalidInputError(f"target_system.structures has no meaning for goal {goal}; remove it")
    if goal != "elastic" and user_config.via == "reference":
        raise InvalidInputError(f"goal {goal} needs a potential; remove `via: reference`, or choose elastic")
    if goal == "elastic" and user_config.via != "potential":
        for key in ("temperatures_K", "potential"):
            if key in user_config.model_fields_set:
                raise InvalidInputError(f"{key} has no meaning for goal elastic via reference; add via: potential")


def _check_phase_diagram(target: TargetSystem) -> None:
    if target.elements is None:
        raise InvalidInputError(
            "goal phase_diagram takes target_system.elements, and structure files as target_system.structures"
        )
    if len(target.elements) == 1:
        raise InvalidInputError(
            f"goal phase_diagram needs at least two elements but target_system names only {target.elements[0]}; add one"
        )
    if target.composition is not None:
        raise InvalidInputError(
            "goal phase_diagram covers compositions; remove target_system.composition, or give composition_range"
        )
    if target.crystal_structure is not None and target.crystal_structure not in PARENTS:
        raise InvalidInputError(
            f"goal phase_diagram decorates {', '.join(PARENTS)}; crystal_structure {target.crystal_structure} is none "
            "of them: remove it, and give structures of other lattices as files in target_system.structures"
        )


def _refuse_unused(overrides: Overrides, config: SystemConfig) -> None:
    """Refuse overrides of sections that this plan does not have: they would silently change nothing."""
    for path in overrides.paths():
        section = path.split(".")[0]
        if getattr(config, section) is None:
            raise InvalidInputError(
                f"overrides: {path} has no meaning for goal {config.goal} via {config.via}, whose plan has no {section}"
            )


def _via_reason(user_config: UserConfig) -> Reason:
    if user_config.via is not None:
        return Reason(reason="set by the user", source="input.yaml: via")
    if user_config.simulation_goal == "elastic":
        return Reason(
            reason="a few strained cells of a small crystal are cheaper than learning a potential",
            source="docs/elastic.md",
        )
    return Reason(reason="needs molecular dynamics, which only a potential can afford", source="docs/learning.md")


def _engine_reason(user_config: UserConfig) -> Reason:
    if "reference" in user_config.model_fields_set:
        return Reason(reason="set by the user", source="input.yaml: reference")
    return Reason(
        reason="the default: a plane-wave DFT code that installs with pip, with PAW data for most elements",
        source="docs/dependencies.md",
    )
