"""Build the model card of a potential."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from mlip_autopipe.potentials.base import Potential
from mlip_autopipe.potentials.calibration import LEVEL, Calibration
from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.validation import errors_on
from mlip_autopipe.potentials.validity import range_of_validity
from mlip_autopipe.schemas.label import ReferenceLabel
from mlip_autopipe.schemas.model_card import (
    MAX_LABEL_IDS,
    CalibrationSummary,
    CoverageMethod,
    ModelCard,
    PotentialErrors,
    Range,
    ReferenceData,
    TrainingData,
)

PACKAGES = ("mlip-autopipe", "numpy", "scipy", "ase", "pypolymlp", "mace-torch", "torch")

_LOW_COVERAGE = 0.8
_ENOUGH_LABELS = 5
_OVERFITTED = 2.0


def build_model_card(
    potential: Potential,
    training: TrainingSet,
    *,
    potential_sha256: str,
    created: datetime,
    held_out: TrainingSet | None = None,
    labels: Iterable[ReferenceLabel] = (),
    temperature_K: Range | None = None,
    seeds: Mapping[str, int] | None = None,
    run_id: str | None = None,
    coverage_method: CoverageMethod = "later_labels",
    failure: str | None = None,
    warnings: Sequence[str] = (),
) -> ModelCard:
    """Return the card of a trained potential; the same arguments give the same card.

    Parameters
    ----------
    potential
        Trained; its calibration is what the card states.
    training
        What it was trained on.
    potential_sha256
        Of the bytes that are delivered.
    created
        With time zone.
    held_out
        Configurations that it was not trained on.
    labels
        The reference labels behind both sets, where there are any: engine, settings and cost.
    temperature_K
        Lowest and highest temperature of the dynamics that the data come from.
    seeds
        Seed per random choice.
    run_id
        The run that trained it.
    coverage_method
        How coverage is measured; ``leave_one_out`` is for labels that were all predicted by the same potential.
    failure
        Why the potential is not what was asked for.
    warnings
        In addition to those that the numbers themselves call for.

    Raises
    ------
    PredictionError
        The potential cannot predict one of the configurations.
    """
    model = potential.describe()
    reference = _reference(labels)
    errors = errors_on(potential, training)
    errors_held_out = errors_on(potential, held_out) if held_out else None
    calibration = calibration_summary(potential, coverage_method)
    found = _warnings(training, reference, errors, errors_held_out, calibration)
    return ModelCard(
        state="done" if failure is None else "failed",
        failure=failure,
        created=created,
        potential_sha256=potential_sha256,
        backend=potential.name,
        model=model.model,
        parameters=model.parameters,
        cutoff_A=model.cutoff_A,
        elements=list(potential.elements),
        settings=model.settings,
        training=_data(training),
        held_out=_data(held_out) if held_out else None,
        reference=reference,
        errors_training=errors,
        errors_held_out=errors_held_out,
        calibration=calibration,
        validity=range_of_validity(training, temperature_K=temperature_K),
        versions=package_versions(),
        seeds=dict(seeds or {}),
        run_id=run_id,
        warnings=list(dict.fromkeys([*warnings, *found])),
    )


def calibration_summary(potential: Potential, coverage_method: CoverageMethod = "later_labels") -> CalibrationSummary:
    """Return what is known of a potential's stated uncertainty."""
    calibration = potential.calibration
    if coverage_method == "leave_one_out":
        coverage, labels = leave_one_out_coverage(calibration)
    else:
        coverage, labels = calibration.covered_fraction(), sum(one.ready for one in calibration.coverage)
    return CalibrationSummary(
        factor=calibration.factor,
        ready=calibration.is_ready,
        labels=len(calibration.coverage),
        nominal=LEVEL,
        coverage=coverage,
        coverage_labels=labels,
        coverage_method=coverage_method,
    )


def leave_one_out_coverage(calibration: Calibration) -> tuple[float | None, int]:
    """Return the share of atoms inside the interval that the other labels lead to, and the number of labels.

    Uses every label of the window, where coverage on later labels leaves out those that came before calibration was
    ready. None while it is not.
    """
    entries = calibration.entries
    if not calibration.is_ready or len(entries) < 2:
        return None, 0
    covered = 0.0
    for k, entry in enumerate(entries):
        others = Calibration(window=len(entries), minimum_labels=1, entries=entries[:k] + entries[k + 1 :])
        quantile = others.quantile
        covered += entry.atoms * sum(ratio <= quantile for ratio in entry.ratios) / len(entry.ratios)
    return covered / sum(entry.atoms for entry in entries), len(entries)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on, of those that are installed."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _data(configurations: TrainingSet) -> TrainingData:
    ids = sorted({one.label_id for one in configurations if one.label_id})
    known_forces = [one for one in configurations if one.forces_eV_per_A is not None]
    return TrainingData(
        configurations=len(configurations),
        atoms=sum(len(one.atoms) for one in configurations),
        energies=sum(one.energy_eV is not None and one.energy_weight > 0 for one in configurations),
        force_components=configurations.force_components,
        stresses=sum(
            one.stress_eV_per_A3 is not None and one.stress_weight > 0 and bool(one.atoms.pbc.all())
            for one in configurations
        ),
        masked_atoms=sum(int((one.force_weights == 0).sum()) for one in known_forces),
        label_ids=ids if len(ids) <= MAX_LABEL_IDS else [],
        label_ids_sha256=hashlib.sha256("\n".join(ids).encode()).hexdigest() if ids else None,
    )


def _reference(labels: Iterable[ReferenceLabel]) -> ReferenceData:
    labels = list(labels)
    return ReferenceData(
        settings_hashes=sorted({label.settings_hash for label in labels}),
        engines=sorted({f"{label.engine} {label.engine_version}" for label in labels}),
        core_time_s=sum(label.core_time_s for label in labels) if labels else None,
    )


def _warnings(
    training: TrainingSet,
    reference: ReferenceData,
    errors: PotentialErrors,
    errors_held_out: PotentialErrors | None,
    calibration: CalibrationSummary,
) -> list[str]:
    found = []
    data = _data(training)
    if not reference.settings_hashes:
        found.append("the data do not say with which reference settings they were computed")
    if len(reference.settings_hashes) > 1:
        found.append(f"labels of {len(reference.settings_hashes)} different reference settings were mixed")
    if not data.energies:
        found.append("no energies in the training data: energies of the potential have no meaning")
    if not data.stresses:
        found.append("no stresses in the training data: pressures and elastic constants are untested")
    if errors_held_out is None:
        found.append("no configurations were held out: errors on unseen ones are not known")
    elif errors.force_meV_per_A and errors_held_out.force_meV_per_A:
        unseen, seen = errors_held_out.force_meV_per_A.rmse, errors.force_meV_per_A.rmse
        if unseen > _OVERFITTED * seen:
            found.append(
                f"forces of held-out configurations are off by {unseen / seen:.1f} times those of the training data: "
                "more data would help"
            )
    if not calibration.ready:
        found.append(f"the force uncertainty rests on {calibration.labels} fresh labels only and is a cautious guess")
    elif _is_low(calibration):
        found.append(
            f"the {calibration.nominal:.0%} interval of forces held for only {calibration.coverage:.0%} of the atoms "
            f"of {calibration.coverage_labels} fresh labels"
        )
    return found


def _is_low(calibration: CalibrationSummary) -> bool:
    measured = calibration.coverage is not None and calibration.coverage_labels >= _ENOUGH_LABELS
    return measured and (calibration.coverage or 0.0) < _LOW_COVERAGE
