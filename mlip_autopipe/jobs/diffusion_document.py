"""From production runs to the property document: coefficients by temperature, what is missing, Arrhenius' law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.analysis.diffusion_gates import EVIDENCE
from mlip_autopipe.analysis.diffusion_replicas import CombinedDiffusion, combine_runs
from mlip_autopipe.analysis.diffusion_result import DiffusionResult, GroupDiffusion
from mlip_autopipe.analysis.results import GateResult
from mlip_autopipe.jobs.diffusion_laws import arrhenius_laws, vtf_laws
from mlip_autopipe.jobs.diffusion_relearning import relearnings
from mlip_autopipe.jobs.diffusion_size import BoxSize, box_size
from mlip_autopipe.jobs.elastic_document import provenance
from mlip_autopipe.schemas.diffusion import (
    DiffusionAtTemperature,
    DiffusionCurves,
    DiffusionDocument,
    DiffusionRun,
    SpeciesDiffusion,
)
from mlip_autopipe.schemas.property import Estimate, Gate, SplitEstimate

if TYPE_CHECKING:
    from mlip_autopipe.analysis.crossings import CoefficientShift
    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
    from mlip_autopipe.reference.labels import LabelStore
    from mlip_autopipe.schemas.system import DiffusionSettings

CURVE_POINTS = 60
LEAST_GROWTH, MOST_GROWTH = 1.25, 4.0
"""Of a run that is made longer: an extension that pays, and no more than a few hops can predict."""
MARGIN = 1.3
"""What some dozens of hops predict is uncertain by a quarter, and a round of jobs that falls short is repeated."""
LIQUID_VOLUME_POWER = 4.0
"""d ln D / d ln V at one temperature: 3.8 to 4.1 for liquid copper by EMT (docs/benchmarks.md), taken for all."""


@dataclass(frozen=True, eq=False)
class AtTemperature:
    """The runs at one temperature that have ended as they should, and what they say."""

    temperature_K: float
    runs: list[DiffusionRun]
    replicas: list[DiffusionResult]
    combined: dict[str, CombinedDiffusion]

    @property
    def fastest(self) -> str:
        """The species that moves most: frameworks that stand still are no reason to run longer."""
        return max(self.combined, key=lambda name: self.combined[name].D_cm2_s)


def at_temperature(production: DiffusionProduction, temperature_K: float) -> AtTemperature | None:
    """Analyse the finished runs at a temperature; None when no run with the mean potential has finished."""
    runs = [one for one in production.runs() if one.temperature_K == temperature_K and one.state == "finished"]
    replicas = [_analysed(production, one) for one in runs if one.role == "mean"]
    samples = [_analysed(production, one) for one in runs if one.role == "draw"]
    if not replicas:
        return None
    return AtTemperature(temperature_K, runs, replicas, combine_runs(replicas, samples))


def lengthened(production: DiffusionProduction) -> list[DiffusionRun]:
    """Make runs longer whose temperature is not known well enough yet, by what was seen to be missing.

    Parameters
    ----------
    production
        Its runs have all ended.

    Returns
    -------
    list of DiffusionRun
        Those that go on; stored already.
    """
    settings, longer = production.settings, []
    for kelvin in settings.temperatures_K:
        found = at_temperature(production, kelvin)
        if found is None or _is_enough(production, found):
            continue
        growth = float(np.clip(MARGIN * _growth_needed(found, settings), LEAST_GROWTH, MOST_GROWTH))
        for run in found.runs:
            steps = min(round(growth * run.wanted_steps), settings.max_steps)
            if run.role == "mean" and steps > run.wanted_steps:
                run.wanted_steps, run.state = steps, "running"
                production.save(run)
                longer.append(run)
    return longer


def build_diffusion_document(production: DiffusionProduction, labels: LabelStore) -> DiffusionDocument:
    """Write everything that is known of the property.

    Parameters
    ----------
    production
        Its runs have all ended.
    labels
        Where the labels' provenance is read from.
    """
    system, settings, otf = production.system, production.settings, production.records.learned()
    runs = production.runs()
    results = [one for kelvin in settings.temperatures_K if (one := at_temperature(production, kelvin)) is not None]
    described = [_described(production, one) for one in results]
    gates = [_all_ended(runs)]
    missing = [*otf.missing, *_missing(production, results, runs)]
    passed = all(gate.passed for gate in [*gates, *_deciding(described, results)])
    enough = otf.state == "done" and not missing
    return DiffusionDocument(
        run_id=system.run_id,
        project_name=system.project_name,
        state=("done" if enough else "not_enough_evidence") if passed else "failed",
        formula=system.material.formula,
        phase=settings.phase,
        temperatures_K=[one.temperature_K for one in results],
        vacancy_fraction=settings.vacancies / len(production.crystal.repeated(settings.supercell)),
        results=described,
        arrhenius=arrhenius_laws(described),
        vtf=vtf_laws(described) if settings.phase == "liquid" else {},
        gates=gates,
        n_reference_calculations=otf.n_reference_calculations,
        relearnings=relearnings(production),
        missing=missing,
        warnings=_warnings(production, otf.warnings, described),
        provenance={
            **provenance(system, otf.label_ids, labels, otf=otf),
            "frames_sha256": {_title(one): one.frames_sha256 for one in runs},
            "pressures_sha256": {_title(one): one.pressures_sha256 for one in runs if one.pressures_sha256},
        },
    )


def _analysed(production: DiffusionProduction, run: DiffusionRun) -> DiffusionResult:
    """Return what a run says; of a liquid, errors hold that of the volume at which it ran, too."""
    found = _of_its_frames(production, run)
    if production.settings.phase == "solid" or not run.volume_A3_per_atom:
        return found
    return replace(found, groups={name: _widened(one, _by_volume(run)) for name, one in found.groups.items()})


def _by_volume(run: DiffusionRun) -> float:
    """Return the relative error of a liquid's coefficient that comes from the volume at which it ran."""
    return LIQUID_VOLUME_POWER * (run.volume_stderr_A3_per_atom or 0.0) / (run.volume_A3_per_atom or 1.0)


def _widened(group: GroupDiffusion, relative: float) -> GroupDiffusion:
    together = group.D_collective_cm2_s
    if together is not None:
        together = together._replace(stderr=float(np.hypot(together.stderr, relative * together.value)))
    error = float(np.hypot(group.D_stderr_cm2_s, relative * group.D_cm2_s))
    return replace(group, D_stderr_cm2_s=error, D_collective_cm2_s=together)


def _of_its_frames(production: DiffusionProduction, run: DiffusionRun) -> DiffusionResult:
    from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient
    from mlip_autopipe.jobs.run_trajectories import production_frames

    settings = production.settings
    frames = production_frames(production, run)
    return fit_diffusion_coefficient(
        calculate_msd(frames, start=production.transient_frames),
        run.temperature_K,
        settings.frame_interval * settings.time_step_fs,
        phase=settings.phase,
        min_hops=settings.min_hops,
    )


def _is_enough(production: DiffusionProduction, found: AtTemperature) -> bool:
    one = found.combined[found.fastest]
    hops = production.settings.phase == "liquid" or one.n_hops >= production.settings.min_hops
    return hops and one.relative_error <= production.settings.target_relative_error


def _described(production: DiffusionProduction, found: AtTemperature) -> DiffusionAtTemperature:
    settings = production.settings
    mean = [one for one in found.runs if one.role == "mean"]
    n_atoms = found.replicas[0].n_atoms
    solid = settings.phase == "solid"
    models = _model_shifts(production, found) if solid else {}
    size = None if solid else box_size(production, mean, found.combined[found.fastest].D_cm2_s)
    viscosity = size and size.viscosity_mPa_s
    volumes = np.array([one.volume_A3_per_atom or 0.0 for one in mean])
    errors = np.array([one.volume_stderr_A3_per_atom or 0.0 for one in mean])
    return DiffusionAtTemperature(
        temperature_K=found.temperature_K,
        species={name: _species(found, name, size, models.get(name)) for name in found.combined},
        volume_A3_per_atom=Estimate(
            value=float(volumes.mean()), stderr=float(np.sqrt((errors**2).sum()) / len(errors))
        ),
        viscosity_mPa_s=viscosity and Estimate(**viscosity._asdict()),
        n_atoms=n_atoms,
        simulated_time_ps=sum(one.step for one in mean) * settings.time_step_fs / 1000,
        n_runs=len(mean),
    )


def _model_shifts(production: DiffusionProduction, found: AtTemperature) -> dict[str, CoefficientShift]:
    from mlip_autopipe.jobs.diffusion_model import shifts_by_species

    settings = production.settings
    return shifts_by_species(
        production,
        [one for one in found.runs if one.role == "mean"],
        {name: group.hop_distance_A for name, group in found.replicas[0].groups.items()},
        production.potential.draw(settings.draws, seed=settings.seed),
    )


def _species(
    found: AtTemperature, name: str, size: BoxSize | None, shift: CoefficientShift | None
) -> SpeciesDiffusion:
    """Write what is known of a species: the model part of a solid is samples' effect on hops."""
    boxed, groups = found.combined[name], [one.groups[name] for one in found.replicas]
    collective = [one.D_collective_cm2_s for one in groups if one.D_collective_cm2_s is not None]
    together = None
    if collective:
        together = Estimate(
            value=float(np.mean([one.value for one in collective])),
            stderr=float(np.sqrt(np.sum([one.stderr**2 for one in collective])) / len(collective)),
        )
    volumes = [_by_volume(one) for one in found.runs if one.role == "mean"]
    combined = boxed if size is None else size.corrected(boxed, float(np.linalg.norm(volumes)) / len(volumes))
    return SpeciesDiffusion(
        D_cm2_s=SplitEstimate.from_parts(
            combined.D_cm2_s,
            statistics=combined.statistics_cm2_s,
            model=combined.model_cm2_s if shift is None else abs(combined.D_cm2_s) * shift.spread,
            finite_size=None if size is None else size.error_cm2_s(boxed),
        ),
        size_correction_cm2_s=Estimate(**size.shift_cm2_s._asdict()) if size and size.shift_cm2_s else None,
        collective_D_cm2_s=together,
        haven_ratio=None if together is None or together.value <= 0 else boxed.D_cm2_s / together.value,
        model_ln_D_shifts=[] if shift is None else shift.shifts.tolist(),
        n_hops=boxed.n_hops if size is None else None,
        plateau_ps=float(np.mean([one.plateau_ps[0] for one in groups])),
        curves=_curves(groups[0]),
        gates=[Gate(**gate._asdict()) for gate in (boxed.gate, *_common(groups))],
        warnings=list(dict.fromkeys([*_of_the_box(size), *(s for one in groups for s in _of_each_run(one))])),
    )


def _of_the_box(size: BoxSize | None) -> list[str]:
    return [size.warning] if size and size.warning else []


def _of_each_run(group: GroupDiffusion) -> list[str]:
    """Return what one run says; whether the evidence is enough, all of them say together."""
    return [sentence for sentence in group.warnings if not sentence.startswith(EVIDENCE)]


def _curves(group: GroupDiffusion) -> DiffusionCurves:
    places = np.unique(np.linspace(0, len(group.lags_ps) - 1, CURVE_POINTS).round().astype(int))
    return DiffusionCurves(
        lags_ps=group.lags_ps[places].tolist(),
        msd_A2=group.msd_A2[places].tolist(),
        D_lags_ps=group.curve_lags_ps.tolist(),
        D_cm2_s=group.curve_D_cm2_s.tolist(),
        D_stderr_cm2_s=np.nan_to_num(group.curve_stderr_cm2_s).tolist(),
    )


def _common(groups: Sequence[GroupDiffusion]) -> list[GateResult]:
    """Return each check once, that of the first run that fails it."""
    found: dict[str, GateResult] = {}
    for group in groups:
        for gate in group.gates:
            if gate.name != EVIDENCE and (gate.name not in found or not gate.passed):
                found[gate.name] = gate
    return list(found.values())


def _deciding(described: Sequence[DiffusionAtTemperature], results: Sequence[AtTemperature]) -> list[Gate]:
    """Return the checks of the runs as a whole, and of the species that were seen to diffuse."""
    found = [gate for one in results for result in one.replicas for gate in result.gates]
    moving = [
        one.species[result.fastest]
        for one, result in zip(described, results, strict=True)
        if any(replica.groups[result.fastest].enough_evidence for replica in result.replicas)
    ]
    return [*(Gate(**gate._asdict()) for gate in found), *(gate for one in moving for gate in one.gates)]


def _all_ended(runs: Sequence[DiffusionRun]) -> Gate:
    stopped = [f"{_title(one)}: {one.reason}" for one in runs if one.state == "stopped"]
    return Gate(
        name="all_runs_finished",
        passed=not stopped,
        detail="; ".join(stopped) or f"no guard stopped any of {len(runs)}",
    )


def _missing(
    production: DiffusionProduction, results: Sequence[AtTemperature], runs: Sequence[DiffusionRun]
) -> list[str]:
    settings, found = production.settings, []
    unsure = [_title(one) for one in runs if one.state == "triggered"]
    if unsure:
        found.append(
            f"the potential was unsure in production ({'; '.join(unsure)}), which is therefore not used: raise "
            "resources.max_reference_calculations or diffusion.max_relearnings"
        )
    for one in results:
        if _is_enough(production, one):
            continue
        best = one.combined[one.fastest]
        needed = _needed_ps(one, settings)
        length = "" if needed is None else f"; runs of some {needed / 1000:.2g} ns would do"
        hops = "" if settings.phase == "liquid" else f" from {best.n_hops} hops (at least {settings.min_hops})"
        found.append(
            f"at {one.temperature_K:g} K the relative error of {one.fastest} is {best.relative_error:.2g}{hops}, the "
            f"target {settings.target_relative_error:g}{length}: raise diffusion.max_steps"
        )
    measured = {one.temperature_K for one in results}
    lost = [f"{kelvin:g}" for kelvin in settings.temperatures_K if kelvin not in measured]
    if lost and not unsure:
        found.append(f"no run at {', '.join(lost)} K reached its end")
    return found


def _needed_ps(found: AtTemperature, settings: DiffusionSettings) -> float | None:
    """Return the length of a run that would tell enough; None where nothing was seen to move."""
    growth = _growth_needed(found, settings)
    return found.replicas[0].length_ps * growth if np.isfinite(growth) else None


def _growth_needed(found: AtTemperature, settings: DiffusionSettings) -> float:
    """Return how many times longer the runs must be: squared errors fall, and hops grow, with the length."""
    best = found.combined[found.fastest]
    growth = (best.relative_error / settings.target_relative_error) ** 2
    if settings.phase == "solid" and settings.min_hops:
        growth = max(growth, settings.min_hops / best.n_hops if best.n_hops else np.inf)
    return float(growth)


def _warnings(
    production: DiffusionProduction, learned: Sequence[str], described: Sequence[DiffusionAtTemperature]
) -> list[str]:
    found = [*production.system.warnings, *learned]
    if production.settings.vacancies:
        sites = len(production.crystal.repeated(production.settings.supercell))
        found.append(
            f"coefficients are those of a crystal in which {production.settings.vacancies} of {sites} sites are "
            "vacant; that of a crystal in equilibrium is smaller by the ratio of the vacancy fractions"
        )
    if production.settings.phase == "solid":
        found.append("the error from the size of the cell is not measured for solids")
    found += [sentence for one in described for two in one.species.values() for sentence in two.warnings]
    return list(dict.fromkeys(found))


def _title(run: DiffusionRun) -> str:
    return f"{run.temperature_K:g} K, {'run' if run.role == 'mean' else 'sample'} {run.number + 1}"
