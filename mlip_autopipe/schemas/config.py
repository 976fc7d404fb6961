"""The user's input: a few lines of YAML, everything else is chosen by the heuristic engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from mlip_autopipe.schemas.base import StrictModel
from mlip_autopipe.schemas.words import suggestion

Goal = Literal["equilibrate", "elastic", "diffusion", "phase_diagram", "potential"]
GOALS: tuple[str, ...] = get_args(Goal)

Via = Literal["reference", "potential"]
VIAS: tuple[str, ...] = get_args(Via)

CrystalStructure = Literal["sc", "fcc", "bcc", "hcp", "diamond", "rocksalt", "cesiumchloride", "zincblende", "wurtzite"]
CRYSTAL_STRUCTURES: tuple[str, ...] = get_args(CrystalStructure)

COMPOSITION_TOLERANCE = 1e-3
SYMBOLIC = ("elements", "composition", "composition_range", "crystal_structure")
"""Keys that describe the material without a file."""


class TargetSystem(StrictModel):
    """Which material: elements with a prototype, or a structure file."""

    elements: list[str] | None = Field(None, description="Chemical symbols, in the order of the prototype's sites.")
    composition: dict[str, float] | None = Field(
        None, description="Atomic fractions by element; they sum to 1. Omit it for one element or a prototype."
    )
    composition_range: dict[str, tuple[float, float]] | None = Field(
        None,
        description="Least and largest atomic fraction by element, for goals that cover compositions; default 0 to 1.",
    )
    crystal_structure: CrystalStructure | None = Field(
        None, description="Prototype; omitted: the element's ground-state structure."
    )
    structure: Path | None = Field(
        None, description="POSCAR, CIF or extxyz file, relative to the input file; replaces the keys above."
    )
    structures: list[Path] | None = Field(
        None, description="goal phase_diagram: files with further candidates, one structure each."
    )

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, elements: list[str] | None) -> list[str] | None:
        if elements is None:
            return None
        if not elements:
            raise ValueError("elements is empty; name at least one chemical symbol, for example [Al]")
        for symbol in elements:
            _require_element(symbol)
        if len(set(elements)) != len(elements):
            raise ValueError(f"elements names a symbol twice: {elements}; name each once")
        return elements

    @field_validator("composition")
    @classmethod
    def _sums_to_one(cls, composition: dict[str, float] | None) -> dict[str, float] | None:
        if composition is None:
            return None
        for symbol, fraction in composition.items():
            _require_element(symbol)
            if fraction <= 0:
                raise ValueError(f"composition gives {symbol} the fraction {fraction:g}; fractions are positive")
        total = sum(composition.values())
        if abs(total - 1) > COMPOSITION_TOLERANCE:
            raise ValueError(f"composition sums to {total:g}; atomic fractions must sum to 1")
        return composition

    @field_validator("composition_range")
    @classmethod
    def _holds_a_composition(
        cls, limits: dict[str, tuple[float, float]] | None
    ) -> dict[str, tuple[float, float]] | None:
        if limits is None:
            return None
        for symbol, (low, high) in limits.items():
            _require_element(symbol)
            if not 0 <= low < high <= 1:
                raise ValueError(
                    f"composition_range gives {symbol} [{low:g}, {high:g}]; the limits are fractions between 0 and 1, "
                    "the lower one first"
                )
        return limits

    @model_validator(mode="after")
    def _one_description(self) -> TargetSystem:
        if self.structure is not None:
            given = [k for k in SYMBOLIC if getattr(self, k) is not None]
            if given:
                raise ValueError(f"structure already says everything; remove {', '.join(given)} or structure")
            return self
        if self.elements is None:
            if self.composition is None:
                raise ValueError("give elements (for example [Al]) or structure (a POSCAR, CIF or extxyz file)")
            self.elements = list(self.composition)
        if self.composition_range is not None:
            self._check_range(self.elements, self.composition_range)
        if self.composition is not None and set(self.composition) != set(self.elements):
            raise ValueError(
                f"composition is given for {sorted(self.composition)} but elements are {sorted(self.elements)}; "
                "they must name the same symbols"
            )
        return self

    def _check_range(self, elements: list[str], limits: dict[str, tuple[float, float]]) -> None:
        if self.composition is not None:
            raise ValueError("composition already says what the alloy is; remove it or composition_range")
        if stray := sorted(set(limits) - set(elements)):
            raise ValueError(f"composition_range names {', '.join(stray)}, which elements does not; add or remove it")
        if len(elements) < 2:
            raise ValueError(f"composition_range needs two elements or more but elements names only {elements[0]}")
        least, most = (sum(limits.get(symbol, (0.0, 1.0))[k] for symbol in elements) for k in (0, 1))
        if least > 1 or most < 1:
            raise ValueError(
                f"no composition lies within composition_range: the fractions sum to {least:g} at least and {most:g} "
                "at most, and must sum to 1; widen the limits"
            )


class ReferenceRequest(StrictModel):
    """Which code labels structures; parameters left out are chosen by the heuristic engine."""

    engine: str = Field("gpaw", description="gpaw, or ase for any ASE calculator.")
    calculator: str | None = Field(None, description="engine ase only: dotted name, e.g. ase.calculators.emt.EMT.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="engine ase only: the calculator's keywords.")

    @model_validator(mode="after")
    def _calculator_for_ase(self) -> ReferenceRequest:
        if self.engine == "ase" and not self.calculator:
            raise ValueError("engine ase needs calculator, for example ase.calculators.emt.EMT")
        if self.engine != "ase" and (self.calculator or self.kwargs):
            raise ValueError(
                f"calculator and kwargs belong to engine ase, not {self.engine}; "
                f"settings of {self.engine} go under overrides"
            )
        return self


class PotentialRequest(StrictModel):
    """Which machine-learned potential is trained when the goal needs one."""

    backend: str = Field("polymlp", description="polymlp (default, CPU) or mace.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="The backend's keywords, e.g. foundation_model.")


class Resources(StrictModel):
    """What the run may spend; None leaves the choice to the heuristic engine."""

    max_reference_calculations: int | None = Field(None, ge=1)
    max_core_hours: float | None = Field(None, gt=0)
    cores: int | None = Field(None, ge=1)

    @field_validator("max_reference_calculations", "max_core_hours", "cores", mode="before")
    @classmethod
    def _no_switch(cls, limit: Any) -> Any:
        if isinstance(limit, bool):
            raise ValueError(f"must be a number, not {str(limit).lower()}")
        return limit


Temperature = Annotated[float, Field(gt=0, le=20_000)]


class UserConfig(StrictModel):
    """The content of ``input.yaml``."""

    project_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    target_system: TargetSystem
    simulation_goal: Goal
    via: Via | None = Field(
        None, description="elastic: reference (default) or potential; the other goals always learn a potential."
    )
    temperatures_K: list[Temperature] | None = Field(
        None, min_length=1, description="Where the goal is wanted, in K; omitted: chosen from the melting point."
    )
    reference: ReferenceRequest = Field(default_factory=ReferenceRequest)
    potential: PotentialRequest = Field(default_factory=PotentialRequest)
    resources: Resources = Field(default_factory=Resources)
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Values of SystemConfig to set by hand, nested or as dotted keys."
    )
    schema_version: Literal[1] = 1


def _require_element(symbol: str) -> None:
    from ase.data import atomic_names, chemical_symbols

    if symbol in chemical_symbols[1:]:
        return
    names = dict(zip(atomic_names[1:], chemical_symbols[1:], strict=True)) | {
        "Aluminum": "Al",
        "Cesium": "Cs",
        "Sulphur": "S",
    }
    by_name = names.get(symbol.capitalize())
    hint = f"; did you mean {by_name!r}?" if by_name else suggestion(symbol, chemical_symbols[1:])
    raise ValueError(f"unknown element {symbol!r}{hint or '; write its chemical symbol, for example Al'}")
