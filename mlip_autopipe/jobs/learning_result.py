"""What the learning loop writes down: metrics of a generation, and at the end the judgement of the potential."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.learning.candidates import FRESH, NOT_TRAINED, candidate
from mlip_autopipe.learning.exploration import sample_frames
from mlip_autopipe.learning.schedule import unaudited
from mlip_autopipe.learning.training import judge
from mlip_autopipe.potentials.dataset import atoms_of
from mlip_autopipe.schemas.otf import (
    Candidate,
    ForceErrors,
    FreshError,
    GenerationDocument,
    LearningState,
    OTFDocument,
    OTFSettings,
    UsedLabel,
)

if TYPE_CHECKING:
    from mlip_autopipe.learning.starts import Start
    from mlip_autopipe.learning.training import Labelled, Lesson
    from mlip_autopipe.potentials.base import ForceField, Potential

ROLLING_LABELS = 20
FROM_DYNAMICS = ("trigger", "guard", "audit")
_HELD_OUT_STREAM, _CONTROL_STREAM = 1, 2


@dataclass
class Judgement:
    """Errors of the potential and of the random arm's on labels that neither has seen."""

    held_out: ForceErrors | None = None
    control: ForceErrors | None = None
    control_potential: Potential | None = None
    control_sha256: str | None = None


def generation_document(state: LearningState, lesson: Lesson, new: Sequence[UsedLabel]) -> GenerationDocument:
    """Return the metrics of the generation that a training has just ended."""
    calibration = lesson.potential.calibration
    assert state.potential_sha256 is not None, "a training has just named it"
    return GenerationDocument(
        run_id=state.run_id,
        arm=state.arm,
        generation=state.generation,
        labels=len(state.used),
        new_labels=dict(Counter(one.origin for one in new)),
        left_out=[one for one in state.left_out if one.generation == state.generation],
        fresh_errors=lesson.fresh,
        coverage_90=covered_share([one for one in lesson.fresh if one.origin in FRESH]),
        coverage_90_rolling=calibration.covered_fraction(ROLLING_LABELS),
        calibration_factor=calibration.factor,
        calibration_ready=calibration.is_ready,
        model=lesson.report.model,
        parameters=lesson.report.parameters,
        training_rmse=lesson.report.rmse,
        md_steps=state.stretch_steps,
        md_max_std_eV_per_A=state.history,
        wall_s=state.wall_s,
        core_s=state.core_s,
        potential_sha256=state.potential_sha256,
    )


def samples(
    potential: Potential, settings: OTFSettings, starts: Sequence[Start], state: LearningState
) -> list[Candidate]:
    """Return frames of molecular dynamics at random times, for the judgement and for the random arm.

    The random arm gets as many frames as the loop has labels beyond the seeds, so that both train on the same number.
    """
    found = _frames(potential, settings, starts, settings.held_out, "held_out", _HELD_OUT_STREAM)
    if settings.held_out_strain:
        found[1::2] = [_strained(one, settings, k) for k, one in enumerate(found[1::2])]
    if settings.control_arm == "random":
        trained = [one for one in state.used if one.origin not in NOT_TRAINED]
        wanted = sum(one.origin != "seed" for one in trained)
        found += _frames(potential, settings, starts, wanted, "random", _CONTROL_STREAM)
    return found


def evaluate(
    potential: Potential,
    settings: OTFSettings,
    held_out: Sequence[Labelled],
    control: Sequence[Labelled],
    state: LearningState,
) -> Judgement:
    """Judge the potential, and one trained on the seeds and random frames."""
    from mlip_autopipe.potentials.dataset import TrainingSet
    from mlip_autopipe.potentials.registry import make_potential

    judged = Judgement()
    if held_out:
        fresh = [judge(potential, one) for one in held_out]
        covered = [(round(one.covered_fraction * one.atoms), one.atoms) for one in fresh]
        judged.held_out = force_errors(potential, held_out).model_copy(
            update={"coverage_90": covered_share(fresh), "covered": covered}
        )
    if settings.control_arm == "random":
        random = sum(one.used.origin == "random" for one in control)
        wanted = sum(one.origin not in (*NOT_TRAINED, "seed") for one in state.used)
        if random < wanted:
            state.missing.append(f"the random arm got {random} of {wanted} labels and was not trained")
        elif held_out:
            other = make_potential(settings.backend, **settings.potential)
            other.fit(TrainingSet.of(one.configuration for one in control))
            judged.control, judged.control_potential = force_errors(other, held_out), other
    return judged


def covered_share(judged: Sequence[FreshError]) -> float | None:
    """Return the share of all atoms inside the stated 90 % interval; None without labels."""
    atoms = sum(one.atoms for one in judged)
    return sum(one.covered_fraction * one.atoms for one in judged) / atoms if atoms else None


def force_errors(force_field: ForceField, labels: Sequence[Labelled]) -> ForceErrors:
    """Return root mean square errors on labels that were not trained on."""
    from ase.units import GPa

    forces, energies, stresses = [], [], []
    for one in labels:
        label, found = one.configuration, force_field.predict(one.configuration.atoms)
        assert label.forces_eV_per_A is not None, "every reference engine gives forces"
        forces.append((found.forces_eV_per_A - label.forces_eV_per_A)[label.force_weights > 0].ravel())
        if label.energy_eV is not None and label.energy_weight > 0:
            energies.append((found.energy_eV - label.energy_eV) / len(label.atoms))
        if label.stress_eV_per_A3 is not None and label.stress_weight > 0:
            stresses.append((found.stress_eV_per_A3 - label.stress_eV_per_A3) / GPa)
    return ForceErrors(
        labels=len(labels),
        force_rmse_eV_per_A=_rms(np.concatenate(forces)),
        energy_rmse_eV_per_atom=_rms(np.array(energies)) if energies else None,
        stress_rmse_GPa=_rms(np.concatenate(stresses)) if stresses else None,
    )


def otf_document(
    state: LearningState, settings: OTFSettings, potential: Potential, judged: Judgement | None
) -> OTFDocument:
    """Return what was learned, or, before the judgement, what is known so far."""
    assert state.potential_sha256 is not None, "the loop ends after a training"
    trained = [one for one in state.used if one.origin not in NOT_TRAINED]
    from_dynamics = sum(one.origin in FROM_DYNAMICS for one in trained)
    ready = [one for one in potential.calibration.coverage if one.ready]
    found = judged or Judgement()
    better = None
    if found.control is not None and found.held_out is not None:
        better = found.held_out.force_rmse_eV_per_A < found.control.force_rmse_eV_per_A
    ended = "done" if state.verdict is not None and state.verdict.is_enough else "not_enough_evidence"
    return OTFDocument(
        run_id=state.run_id,
        arm=state.arm,
        state="learning" if judged is None else ended,  # type: ignore[arg-type]
        potential_sha256=state.potential_sha256,
        backend=settings.backend,
        model=state.model,
        parameters=state.parameters,
        label_ids=[one.label_id for one in trained],
        held_out_label_ids=[one.label_id for one in state.used if one.origin == "held_out"],
        force_weights={one.label_id: one.force_weights for one in state.used if one.force_weights is not None},
        energy_weights={one.label_id: one.energy_weight for one in state.used if one.energy_weight != 1},
        stress_weights={one.label_id: one.stress_weight for one in state.used if one.stress_weight != 1},
        labels_by_origin=dict(Counter(one.origin for one in state.used)),
        left_out=state.left_out,
        generations=state.generation,
        md_steps=state.md_steps,
        labelled_fraction_of_md=from_dynamics / state.md_steps if state.md_steps else None,
        temperatures_K=settings.temperatures_K,
        others=[one.name for one in settings.others],
        coverage_90=potential.calibration.covered_fraction(),
        coverage_labels=len(ready),
        covered=[(one.covered, one.atoms) for one in ready],
        calibration_factor=potential.calibration.factor,
        audit_errors=state.audit_errors,
        verdict=state.verdict,
        held_out=found.held_out,
        control=found.control,
        control_potential_sha256=found.control_sha256,
        active_beats_random=better,
        n_reference_calculations=len(state.used) + len(state.left_out),
        stop_reason=state.stop_reason or "",
        missing=state.missing,
        remarks=state.remarks,
        warnings=_warnings(state, settings, better),
    )


def _frames(
    potential: Potential, settings: OTFSettings, starts: Sequence[Start], n: int, origin: str, stream: int
) -> list[Candidate]:
    # the hottest first: forces there are hardest
    where = [(kelvin, k) for kelvin in sorted(settings.temperatures_K, reverse=True) for k in range(len(starts))]
    shares = [len(part) for part in np.array_split(np.arange(n), len(where))]
    found = []
    for number, ((kelvin, k), share) in enumerate(zip(where, shares, strict=True)):
        seed = int(np.random.SeedSequence((settings.seed, stream, number)).generate_state(1)[0])
        for atoms in sample_frames(potential, settings, starts[k].cell, kelvin, share, seed) if share else []:
            detail = f"random frame{f' of {starts[k].name}' if len(starts) > 1 else ''} at {kelvin:g} K"
            found.append(candidate(atoms, origin, detail, start=k, temperature_K=kelvin))  # type: ignore[arg-type]
    return found


def _strained(one: Candidate, settings: OTFSettings, number: int) -> Candidate:
    from mlip_autopipe.generation.perturb import random_strains

    rng = np.random.default_rng((settings.seed, _HELD_OUT_STREAM, number))
    (atoms,) = random_strains(atoms_of(one.structure), 1, settings.held_out_strain, rng)
    strained = candidate(atoms, "held_out", f"{one.detail}, strained")
    return one.model_copy(update={"structure": strained.structure, "detail": strained.detail})


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def _warnings(state: LearningState, settings: OTFSettings, better: bool | None) -> list[str]:
    found = [
        f"at {one.temperature_K:g} K the newest audit{_of(one.start, settings)} had a force error of "
        f"{1e3 * one.force_rmse_eV_per_A:.0f} meV/A, "
        f"more than the target of {1e3 * settings.target_force_error_eV_per_A:.0f}"
        for one in state.audit_errors
        if one.force_rmse_eV_per_A > settings.target_force_error_eV_per_A
    ]
    if missed := unaudited(state.audit_errors, settings):
        where = ", ".join(f"{temperature:g}" for temperature in missed)
        found.append(f"no label judged the potential at {where} K: there it is not tested")
    if state.left_out:
        found.append(f"{len(state.left_out)} labels failed and were left out; the first: {state.left_out[0].reason}")
    if better is False:
        found.append("a potential trained on as many random frames had smaller errors on the held-out labels")
    return found


def _of(start: int, settings: OTFSettings) -> str:
    return f" of {settings.others[start - 1].name}" if start else ""
