"""The learning loop, phase by phase; what a phase finds is stored before the next one begins.

label -> train -> explore -> label ... -> refine -> label ... -> held_out -> label -> evaluate -> finished. A job that
is killed leaves the state of the last whole phase; labels that are done are found again by their name, so nothing is
computed twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.errors import AutoPipeError, BudgetExhaustedError, ReferenceCalculationError
from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.jobs.labelling import Labeller, Labelling, labeller
from mlip_autopipe.jobs.learning_result import evaluate, generation_document, otf_document, samples
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.jobs.superseded import remove_superseded
from mlip_autopipe.learning.candidates import NOT_TRAINED, configuration_of
from mlip_autopipe.learning.cutting import small_enough
from mlip_autopipe.learning.exploration import explore, thinned
from mlip_autopipe.learning.reopening import still_to_judge
from mlip_autopipe.learning.schedule import after_audits, first_walkers, is_done, newest_audits, once_more, unaudited
from mlip_autopipe.learning.seeds import seed_structures
from mlip_autopipe.learning.starts import starts_of
from mlip_autopipe.learning.target import target_of
from mlip_autopipe.learning.training import Labelled, Lesson, learn
from mlip_autopipe.schemas.otf import (
    Candidate,
    ClosingDocument,
    LearningState,
    LeftOut,
    OTFDocument,
    OTFSettings,
    Phase,
    PropertyVerdict,
    UsedLabel,
    Walker,
)

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore

    from mlip_autopipe.potentials.base import Potential
    from mlip_autopipe.schemas.label import ReferenceLabel

MAX_PENDING_ATOMS = 8000
"""Of the frames that judge at the end and wait at the same time: half a megabyte."""


class LearningRun:
    """One run's loop in this process.

    Parameters
    ----------
    store
        A connected JobStore that holds the run's plan.
    run_id
        The run.
    reserve
        Reference calculations that must be left for what comes after the loop.
    """

    def __init__(self, store: JobStore, run_id: str, *, reserve: int = 0) -> None:
        from mlip_autopipe.reference.labels import LabelStore

        self.store = store
        self.records = RunRecords(store, run_id)
        self.blobs = BlobStore(store)
        self.labels = LabelStore(store)
        self.system = self.records.plan()
        assert self.system.otf is not None, "a plan that learns has a section otf"
        self.settings: OTFSettings = self.system.otf
        self.starts = starts_of(self.system)
        known = self.records.state()
        self.state = known or self._first_state()
        if known is None:
            self.records.save_state(self.state)  # jobs that label its structures look for them there
        self._reserve = reserve
        self._loaded: tuple[str, Potential] | None = None

    def label(self, *, compute: bool) -> None:
        """Label all that waits, or take what other jobs have labelled.

        Parameters
        ----------
        compute
            Compute what is not there in this process: for references that cost milliseconds.
        """
        state = self.state
        with self._phase("label"):
            reserve = self._reserve + kept_for_the_end(state, self.settings)
            with labeller(self.store, self.system, reserve=reserve) as labels:
                known = {one.label_id for one in state.used}
                for one in state.pending:
                    self._take(one, _labelled(labels, one, compute=compute), known)
            state.pending = []
        self._go_to(state.after_label)

    def train(self) -> None:
        """Judge the potential by the fresh labels, let it learn them, and store the generation's metrics.

        Raises
        ------
        BudgetExhaustedError, ReferenceCalculationError
            There is not one label to train on.
        TrainingError
            The fit gave no usable potential.
        """
        state = self.state
        new = state.used[state.trained :]
        lesson: Lesson | None = None
        with self._phase("train"):
            if new:
                before = self.potential if state.potential_sha256 else None
                lesson = learn(before, self.settings, self.labelled(new), self._everything, state.generation + 1)
                blob = lesson.potential.save()
                state.potential_sha256 = self.blobs.put(blob.data, "potential", state.run_id)
                self._loaded = state.potential_sha256, lesson.potential
                state.generation += 1
                state.trained = len(state.used)
                state.coverage = [(c.covered, c.atoms) for c in lesson.potential.calibration.coverage if c.ready]
            elif state.potential_sha256 is None:
                # who raises the budget, or mends the reference, and runs the same job again begins with the seeds
                self.records.save_state(self._first_state())
                raise _nothing_labelled(state)
            fresh = [] if lesson is None else lesson.fresh
            walker_of = {one.label_id: one.walker for one in new if one.walker is not None}
            audits = {walker_of[f.label_id]: f for f in fresh if f.origin == "audit"}
            state.audit_errors = newest_audits(state.audit_errors, fresh, state.generation)
            state.walkers = after_audits(state.walkers, audits, self.settings)
        if lesson is not None:
            self.records.save_generation(generation_document(state, lesson, new))
            state.model = lesson.report.model
            state.parameters = lesson.report.parameters
            self.records.save_learned(otf_document(state, self.settings, lesson.potential, None))
        state.wall_s, state.core_s, state.history, state.stretch_steps = {}, {}, [], 0
        if state.generation >= self.settings.max_generations and state.stop_reason is None:
            state.stop_reason = f"{state.generation} generations were made (otf.max_generations)"
        explored = all(is_done(walker, self.settings) for walker in state.walkers)
        self._go_to("refine" if explored or state.stop_reason else "explore")
        remove_superseded(self.blobs, self.records, state)

    def explore(self, seconds_left: float | None = None) -> bool:
        """Let every walker run until it needs a label.

        Returns
        -------
        bool
            False when time ran out: the state is stored, and the same call goes on later.
        """
        state, started = self.state, time.monotonic()
        waiting = {one.walker for one in state.pending}
        in_time = True
        with self._phase("explore"):
            for walker in list(state.walkers):
                if is_done(walker, self.settings) or walker.index in waiting or not in_time:
                    continue
                left = None if seconds_left is None else max(0.0, seconds_left - (time.monotonic() - started))
                in_time = self._explore(walker, left)
        state.after_label = "train"
        if in_time:
            self._go_to("label" if state.pending else "train")
        else:
            self.records.save_state(state)
        remove_superseded(self.blobs, self.records, state)
        return in_time

    def refine(self) -> None:
        """Ask the goal whether the potential is good enough; if not, label what its property depends on most."""
        state, target = self.state, target_of(self.system, self.starts)
        with self._phase("refine"):
            verdict = target.verdict(self.potential, state.audit_errors)
            state.verdict = PropertyVerdict(**asdict(verdict), is_enough=verdict.is_enough)
            first = target.wants_own_labels and state.refinements == 0
            spent = state.refinements >= self.settings.max_refinements
            if state.stop_reason or spent or (verdict.is_enough and not first):
                if not verdict.is_enough:
                    state.missing.append(_what_is_missing(state.verdict, unaudited(state.audit_errors, self.settings)))
                state.stop_reason = state.stop_reason or _why_enough(state.verdict, state.refinements)
                state.phase = "held_out"
            else:
                wanted = target.informative(self.potential, state.refinements, self._structures())
                state.pending = [
                    small_enough(one, self.settings, self.potential, state.generation) if one.origin == "pool" else one
                    for one in wanted.candidates
                ]
                state.remarks += wanted.remarks
                state.refinements += 1
                state.after_label = "train"
                state.phase = "label"
                if not state.pending:
                    # nothing worth a label, or nothing but molecular dynamics tells
                    state.phase = "refine" if verdict.is_enough else "explore"
                    state.walkers = state.walkers if verdict.is_enough else once_more(state.walkers, self.settings)
        self._go_to(state.phase)

    def hold_out(self) -> None:
        """Ask for labels that judge the potential, and for those of the random arm."""
        state = self.state
        with self._phase("held_out"):
            frames = samples(self.potential, self.settings, self.starts, state)
            # another number for each frame: around another atom
            frames = [
                small_enough(one, self.settings, self.potential, state.generation + k)
                for k, one in enumerate(still_to_judge(frames, state))
            ]
            state.pending = _first_of(frames[state.judges :])
            state.judges += len(state.pending)
            state.after_label = "evaluate" if state.judges == len(frames) else "held_out"
        self._go_to("label" if state.pending else "evaluate")

    def evaluate(self) -> OTFDocument:
        """Judge the potential, and the random arm's, on labels that neither has seen; end the loop."""
        state = self.state
        with self._phase("evaluate"):
            held_out = self.labelled([one for one in state.used if one.origin == "held_out"])
            control = self.labelled([one for one in state.used if one.origin in ("seed", "random")])
            judged = evaluate(self.potential, self.settings, held_out, control, state)
            if judged.control_potential is not None:
                data = judged.control_potential.save().data
                judged.control_sha256 = self.blobs.put(data, "potential", state.run_id)
        document = otf_document(state, self.settings, self.potential, judged)
        self.records.save_learned(document)
        self.records.save_closing(ClosingDocument(run_id=state.run_id, wall_s=state.wall_s, core_s=state.core_s))
        self._go_to("finished")
        return document

    @property
    def potential(self) -> Potential:
        """The newest potential."""
        from mlip_autopipe.potentials.registry import load_potential

        sha256 = self.state.potential_sha256
        assert sha256 is not None, "phases that need a potential come after the first training"
        if self._loaded is None or self._loaded[0] != sha256:
            self._loaded = sha256, load_potential(self.blobs.get(sha256), sha256=sha256)
        return self._loaded[1]

    def labelled(self, used: Sequence[UsedLabel]) -> list[Labelled]:
        """Return labels with their numbers."""
        return [Labelled(one, configuration_of(self._label(one.label_id), one)) for one in used]

    def _everything(self) -> list[Labelled]:
        return self.labelled([one for one in self.state.used if one.origin not in NOT_TRAINED])

    def _structures(self) -> list[Atoms]:
        return [one.configuration.atoms for one in self._everything()]

    def _label(self, label_id: str) -> ReferenceLabel:
        from mlip_autopipe.jobs.records import RecordError

        found = self.labels.get(label_id)
        if found is None:
            raise RecordError(f"label {label_id[:12]} of run {self.state.run_id} is not in the JobStore any more")
        return found

    def _take(self, one: Candidate, found: Labelling, known: set[str]) -> None:
        state = self.state
        if found.state == "no_budget":
            if state.after_label == "train":
                state.refused.append(one)
                state.stop_reason = state.stop_reason or found.reason
            else:
                state.missing.append(f"a label ({one.origin}) was not computed: {found.reason}")
        elif found.state == "failed":
            state.left_out.append(
                LeftOut(
                    label_id=found.label_id, generation=state.generation + 1, origin=one.origin, reason=found.reason
                )
            )
        elif found.label_id not in known:
            known.add(found.label_id)
            weights = {k: getattr(one, k) for k in ("force_weights", "energy_weight", "stress_weight")}
            state.used.append(
                UsedLabel(
                    label_id=found.label_id,
                    generation=state.generation + 1,
                    origin=one.origin,
                    walker=one.walker,
                    start=one.start,
                    temperature_K=one.temperature_K,
                    **weights,
                )
            )

    def _explore(self, walker: Walker, seconds_left: float | None) -> bool:
        state = self.state
        assert state.potential_sha256 is not None, "exploration comes after the first training"
        stretch = explore(
            walker,
            self.settings,
            self._start_of(walker),
            self.potential,
            potential_sha256=state.potential_sha256,
            checkpoint=self._blob(walker.checkpoint_sha256),
            seconds_left=seconds_left,
        )
        kept = None if stretch.checkpoint is None else self.blobs.put(stretch.checkpoint, "checkpoint", state.run_id)
        state.walkers[walker.index] = stretch.walker.model_copy(update={"checkpoint_sha256": kept})
        state.md_steps += stretch.steps
        state.stretch_steps += stretch.steps
        state.history = thinned(state.history + stretch.history)
        if stretch.candidate is not None:
            state.pending.append(small_enough(stretch.candidate, self.settings, self.potential, state.generation))
        return not stretch.out_of_time

    def _start_of(self, walker: Walker) -> Atoms:
        """Return the crystal, or where the temperature before ended (velocities are drawn again)."""
        from mlip_autopipe.dynamics.checkpoint import from_bytes

        if walker.start_sha256 is None:
            return self.starts[walker.start].cell
        atoms = from_bytes(self.blobs.get(walker.start_sha256)).stop.to_atoms()
        atoms.set_momenta(None)
        return atoms

    def _blob(self, sha256: str | None) -> bytes | None:
        return None if sha256 is None else self.blobs.get(sha256)

    def _first_state(self) -> LearningState:
        return LearningState(
            run_id=self.records.run_id,
            walkers=first_walkers(self.settings),
            pending=seed_structures(self.starts, self.settings),
        )

    def _go_to(self, phase: Phase) -> None:
        self.state.phase = phase
        self.records.save_state(self.state)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Add a phase's wall and core time to the generation's."""
        wall, core = time.perf_counter(), time.process_time()
        yield
        state = self.state
        state.wall_s[name] = state.wall_s.get(name, 0.0) + time.perf_counter() - wall
        state.core_s[name] = state.core_s.get(name, 0.0) + time.process_time() - core


def atoms_of_candidate(one: Candidate) -> Atoms:
    """Return the structure that waits for a label."""
    from mlip_autopipe.potentials.dataset import atoms_of

    return atoms_of(one.structure)


def kept_for_the_end(state: LearningState, settings: OTFSettings) -> int:
    """Return how many calculations the loop leaves for the labels that judge its potential."""
    if state.after_label != "train":
        return 0
    return max(0, settings.held_out - sum(one.origin == "held_out" for one in state.used))


def _first_of(candidates: list[Candidate]) -> list[Candidate]:
    """Return as many as the state can hold: a document must stay far below 1 MB; at least one."""
    atoms = np.cumsum([len(one.structure["numbers"]) for one in candidates])
    return candidates[: max(1, int(np.searchsorted(atoms, MAX_PENDING_ATOMS, side="right")))]


def _labelled(labels: Labeller, one: Candidate, *, compute: bool) -> Labelling:
    atoms = atoms_of_candidate(one)
    return labels.label(atoms) if compute else labels.find(atoms)


def _nothing_labelled(state: LearningState) -> AutoPipeError:
    if state.stop_reason:
        return BudgetExhaustedError(f"there is not one label to train on: {state.stop_reason}")
    return ReferenceCalculationError(
        f"not one of {len(state.left_out)} structures could be labelled; the last said: {state.left_out[-1].reason}"
    )


def _what_is_missing(verdict: PropertyVerdict, unaudited_K: Sequence[float]) -> str:
    if verdict.error is None:
        where = ", ".join(f"{temperature:g}" for temperature in unaudited_K)
        found = f"the error at {where} K is not known, since no label has measured it"
    else:
        found = f"the model's part of the error is {verdict.error:.2g} {verdict.unit}, the target {verdict.target:.2g}"
    return f"{found}; more labels are needed: raise resources.max_reference_calculations or otf.max_refinements"


def _why_enough(verdict: PropertyVerdict, refinements: int) -> str:
    if verdict.error is not None and verdict.error <= verdict.target:
        return f"the model's part of the error, {verdict.error:.2g} {verdict.unit}, is within its target"
    if verdict.is_enough:
        return "the model is no longer the largest part of the error"
    return f"after exploring, the potential was refined as often as otf.max_refinements allows ({refinements})"
