"""From a few lines of input to the complete plan."""

from __future__ import annotations

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics.budget import choose_budget, estimate_cost
from mlip_autopipe.heuristics.choices import Choices
from mlip_autopipe.heuristics.elastic import choose_elastic, choose_relaxation
from mlip_autopipe.heuristics.electronic import choose_electronic
from mlip_autopipe.heuristics.material import choose_material
from mlip_autopipe.heuristics.overrides import Overrides
from mlip_autopipe.heuristics.run_id import plan_run_id
from mlip_autopipe.schemas.config import UserConfig
from mlip_autopipe.schemas.system import Reason, ReferenceSettings, SystemConfig

AVAILABLE_GOALS: tuple[str, ...] = ("elastic",)
"""Goals that this version can reach; the schema knows more, so that their names are not misspellings."""


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
        engine = engine_class(user_config.reference.engine)
        choices = Choices(Overrides(user_config.overrides))
        material, structure = choose_material(user_config.target_system, choices, has_electrons=not engine.cheap)
        electronic = choose_electronic(
            structure,
            goal,
            is_metal=material.is_metal,
            is_magnetic=material.is_magnetic,
            magnetic_reason=choices.reasons["material.is_magnetic"],
        )
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
        elastic = choose_elastic(structure, choices, cheap=reference.cheap)
        relaxation = choose_relaxation(
            structure, choices, cheap=reference.cheap, symmetry_tolerance_A=elastic.symmetry_tolerance_A
        )
        estimate = estimate_cost(
            structure,
            reference,
            elastic,
            tuple(parameters.get("kpts") or electronic.kpts),
            is_metal=material.is_metal,
            spin_polarised=material.is_magnetic,
        )
        config = SystemConfig(
            project_name=user_config.project_name,
            run_id="pending",
            goal=goal,
            material=material,
            reference=reference,
            relaxation=relaxation,
            elastic=elastic,
            budget=choose_budget(user_config.resources, estimate, choices),
            estimate=estimate,
            reasons=choices.reasons,
            warnings=choices.warnings,
        )
        return config.model_copy(update={"run_id": plan_run_id(config)})


def _check_goal(user_config: UserConfig) -> None:
    goal, target = user_config.simulation_goal, user_config.target_system
    if goal == "phase_diagram" and target.elements is not None and len(target.elements) == 1:
        raise InvalidInputError(
            f"goal phase_diagram needs at least two elements but target_system names only {target.elements[0]}; add one"
        )
    if goal not in AVAILABLE_GOALS:
        raise InvalidInputError(
            f"goal {goal} is not available in this version; available: {', '.join(AVAILABLE_GOALS)}"
        )


def _engine_reason(user_config: UserConfig) -> Reason:
    if "reference" in user_config.model_fields_set:
        return Reason(reason="set by the user", source="input.yaml: reference")
    return Reason(
        reason="the default: a plane-wave DFT code that installs with pip, with PAW data for most elements",
        source="docs/dependencies.md",
    )
