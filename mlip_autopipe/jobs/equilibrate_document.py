"""From runs at constant pressure to the property document: values, errors by source, gates, provenance."""

from __future__ import annotations

from collections.abc import Container, Sequence
from math import hypot
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.analysis.lattice import PARAMETER_NAMES, lattice_parameters
from mlip_autopipe.errors import AnalysisError
from mlip_autopipe.jobs.elastic_document import provenance
from mlip_autopipe.jobs.equilibrate_result import RunResult, expansion_estimate
from mlip_autopipe.schemas.equilibrate import EquilibrateDocument, EquilibriumAtTemperature
from mlip_autopipe.schemas.property import Estimate, Gate, SplitEstimate

if TYPE_CHECKING:
    from mlip_autopipe.analysis.results import ValueWithError
    from mlip_autopipe.jobs.equilibrate_check import VolumeCheck
    from mlip_autopipe.jobs.npt_production import NPTProduction
    from mlip_autopipe.reference.labels import LabelStore
    from mlip_autopipe.schemas.npt import NPTProgress
    from mlip_autopipe.schemas.system import EquilibrateSettings

MAX_UNSURE_FRACTION = 0.1
"""Of the frames along a run: more, and the run was where the potential had not learned."""


def build_equilibrate_document(
    production: NPTProduction, runs: Sequence[NPTProgress], checks: Sequence[VolumeCheck], labels: LabelStore
) -> EquilibrateDocument:
    """Average the runs and write everything that is known of the property.

    Parameters
    ----------
    production
        The plan, its potential and the stored frames.
    runs, checks
        One of each per temperature.
    labels
        Where the labels' provenance is read from.

    Raises
    ------
    AnalysisError
        The run at an asked temperature was stopped before its end.
    """
    system, settings, crystal = production.system, production.settings, production.crystal
    otf = production.records.learned()
    asked = settings.expansion_at_K or settings.temperatures_K[:1]
    for one in runs:
        if one.state != "finished" and one.temperature_K in asked:
            raise AnalysisError(f"the run at {one.temperature_K:g} K was stopped at step {one.step}: {one.reason}")
    results = [
        _result(production, one, check) for one, check in zip(runs, checks, strict=True) if one.state == "finished"
    ]
    expansions = {t: found for t in asked if (found := expansion_estimate(results, t)) is not None}
    at_asked = next(one for one in results if one.progress.temperature_K == asked[0])
    missing = [*_missing(results, settings), *_unmeasured(asked, expansions)]
    gates = [_relaxed(production), _finished(runs)]
    passed = all(gate.passed for gate in [*gates, *(g for one in results for g in one.gates)])
    enough = otf.state == "done" and not missing
    check_ids = list(dict.fromkeys(i for one in checks for i in one.label_ids))
    parameters = [at_asked.state.lattice_parameters[name].value for name in PARAMETER_NAMES]
    return EquilibrateDocument(
        run_id=system.run_id,
        project_name=system.project_name,
        state=("done" if enough else "not_enough_evidence") if passed else "failed",
        formula=system.material.formula,
        structure=crystal.conventional_structure(parameters).as_dict(),
        space_group=crystal.symmetry.space_group,
        crystal_system=crystal.symmetry.crystal_system,
        pressure_GPa=0.0,
        temperature_K=asked[0],
        temperatures_K=[one.progress.temperature_K for one in results],
        equilibria=[_equilibrium(one, settings.time_step_fs) for one in results],
        thermal_expansion=expansions.pop(asked[0], None),
        further_expansions=list(expansions.values()),
        gates=gates,
        n_reference_calculations=otf.n_reference_calculations + len(check_ids),
        missing=[*otf.missing, *missing],
        warnings=_warnings(production, results, otf.warnings),
        provenance={
            **provenance(system, [*otf.label_ids, *check_ids], labels, otf=otf),
            "check_label_ids": check_ids,
            "series_sha256": {f"{one.temperature_K:g} K": one.series_sha256 for one in runs},
        },
    )


def _result(production: NPTProduction, progress: NPTProgress, check: VolumeCheck) -> RunResult:
    crystal = production.crystal
    conventional = crystal.conventional @ crystal.atoms.cell.array
    state, gates = production.equilibrium(progress)
    return RunResult(
        progress=progress,
        check=check,
        state=state,
        static=lattice_parameters(conventional @ conventional.T),
        n_atoms=len(production.cell),
        static_volume_A3=crystal.volume_A3_per_atom,
        gates=[*(Gate(**one._asdict()) for one in gates), _sure(progress, production.otf.force_std_trigger_eV_per_A)],
    )


def _equilibrium(one: RunResult, time_step_fs: float) -> EquilibriumAtTemperature:
    state, parts = one.state, one.volume_parts()
    density, pressure, modulus = state.density_g_per_cm3.value, state.pressure_GPa, state.bulk_modulus_GPa
    return EquilibriumAtTemperature(
        temperature_K=one.progress.temperature_K,
        lattice_parameters={
            name: SplitEstimate.from_parts(state.lattice_parameters[name].value, **one.length_parts(name))
            for name in PARAMETER_NAMES
        },
        free_parameters=list(state.free_parameters),
        volume_A3_per_atom=SplitEstimate.from_parts(one.volume_A3, **parts),
        density_g_per_cm3=SplitEstimate.from_parts(
            density, **{k: None if v is None else density * v / one.volume_A3 for k, v in parts.items()}
        ),
        bulk_modulus_GPa=SplitEstimate.from_parts(modulus.value, statistics=modulus.stderr),
        energy_eV_per_atom=_estimate(state.energy_eV_per_atom),
        measured_temperature_K=_estimate(state.temperature_K),
        measured_pressure_GPa=None if pressure is None else _estimate(pressure),
        n_atoms=one.n_atoms,
        n_frames=state.n_frames,
        n_discarded_frames=state.n_discarded,
        effective_samples=state.effective_samples,
        simulated_time_ps=one.progress.step * time_step_fs / 1000,
        gates=one.gates,
        warnings=[*state.warnings, *_unlabelled(one)],
    )


def _sure(progress: NPTProgress, trigger_eV_per_A: float) -> Gate:
    stds = np.array(progress.max_force_std_eV_per_A)
    unsure = int((stds > trigger_eV_per_A).sum())
    return Gate(
        name="potential_is_sure",
        passed=unsure <= MAX_UNSURE_FRACTION * len(stds),
        detail=f"in {unsure} of {len(stds)} frames an atom had a force uncertainty above {trigger_eV_per_A:g} eV/A, at "
        f"most in {100 * MAX_UNSURE_FRACTION:.0f} %; the largest was {stds.max(initial=0.0):.2g} eV/A",
    )


def _relaxed(production: NPTProduction) -> Gate:
    outcome = production.crystal.relaxation
    return Gate(
        name="relaxed",
        passed=outcome.converged,
        detail=f"the crystal at rest has a largest force of {outcome.max_force_eV_per_A:.2g} eV/A and stress of "
        f"{abs(outcome.stress_GPa).max():.2g} GPa after {outcome.n_steps} steps",
    )


def _finished(runs: Sequence[NPTProgress]) -> Gate:
    stopped = [f"at {one.temperature_K:g} K: {one.reason}" for one in runs if one.state != "finished"]
    return Gate(
        name="all_runs_finished", passed=not stopped, detail="; ".join(stopped) or f"all {len(runs)} reached their end"
    )


def _missing(results: Sequence[RunResult], settings: EquilibrateSettings) -> list[str]:
    found, target = [], settings.target_length_error
    for one in results:
        error, kelvin = one.progress.length_error, one.progress.temperature_K
        if error is None or error > target:
            reached = "not known" if error is None else f"{error:.2g}"
            found.append(
                f"the relative statistical error of the lattice constant at {kelvin:g} K is {reached}, the target "
                f"{target:.2g}; raise equilibrate.steps or equilibrate.max_extensions under overrides"
            )
        if settings.check_labels and one.check.shift_A3_per_atom is None:
            why = "; ".join(one.check.failures) or "too few frames"
            found.append(f"the reference did not judge the volume at {kelvin:g} K: {why}")
    return found


def _unmeasured(asked: Sequence[float], measured: Container[float]) -> list[str]:
    return [f"thermal expansion at {t:g} K needs runs below and above it" for t in asked if t not in measured]


def _warnings(production: NPTProduction, results: Sequence[RunResult], learned: Sequence[str]) -> list[str]:
    found = [*production.system.warnings, *production.crystal.relaxation.warnings, *learned]
    for one in results:
        kelvin, parts = one.progress.temperature_K, one.volume_parts()
        unsure = sum(std > production.otf.force_std_trigger_eV_per_A for std in one.progress.max_force_std_eV_per_A)
        if unsure:
            total = len(one.progress.max_force_std_eV_per_A)
            found.append(f"the potential was unsure in {unsure} of {total} frames at {kelvin:g} K")
        check, model = one.check.shift_A3_per_atom, parts["model"] or 0.0
        if check is not None and abs(check.value) > 3 * hypot(check.stderr, model):
            found.append(
                f"at {kelvin:g} K the reference would change the volume by {100 * check.value / one.volume_A3:+.3f} %, "
                "more than the potential's posterior samples say; the error holds it as its part `check`"
            )
    if production.crystal.symmetry.crystal_system != "cubic":
        found.append("the parts `model` and `check` of single lengths are those of the volume, shared by all axes")
    return list(dict.fromkeys(found))


def _unlabelled(one: RunResult) -> list[str]:
    return [f"a check frame has no label: {reason}" for reason in one.check.failures]


def _estimate(one: ValueWithError) -> Estimate:
    return Estimate(value=one.value, stderr=one.stderr)
