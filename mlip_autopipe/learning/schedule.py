"""Where the walkers go next, and when the loop has done enough: decisions on small documents, nothing computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlip_autopipe.schemas.otf import AuditError, FreshError, OTFSettings, Walker

if TYPE_CHECKING:
    from collections.abc import Sequence


def first_walkers(settings: OTFSettings) -> list[Walker]:
    """Return the walkers at the first temperature, as many for every crystal."""
    return [
        Walker(index=k, start=k // settings.walkers, segment_end=settings.segment_steps)
        for k in range(settings.walkers * n_starts(settings))
    ]


def n_starts(settings: OTFSettings) -> int:
    """Return the number of crystals that are explored."""
    return 1 + len(settings.others)


def is_done(walker: Walker, settings: OTFSettings) -> bool:
    """Whether a walker has been at all temperatures."""
    return walker.temperature_index >= len(settings.temperatures_K)


def after_audits(walkers: Sequence[Walker], audits: dict[int, FreshError], settings: OTFSettings) -> list[Walker]:
    """Return the walkers after a training.

    A walker that has reached the end of its segment has been audited; an audit whose error is within the target passes.
    After enough of them in a row, or after as many segments as are allowed, the next temperature begins where this one
    ended. A run that guards stopped again and again counts as a segment, too.

    Parameters
    ----------
    walkers
        All walkers.
    audits
        The error on each walker's audited frame; an audit without a usable label is not in it, and has not passed.
    settings
        Target, number of audits and of segments.
    """
    return [_after_audit(walker, audits.get(walker.index), settings) for walker in walkers]


def newest_audits(before: Sequence[AuditError], fresh: Sequence[FreshError], generation: int) -> list[AuditError]:
    """Return the newest audit of every crystal at every temperature."""
    found = {(one.start, one.temperature_K): one for one in before}
    for one in fresh:
        if one.origin == "audit" and one.temperature_K is not None:
            found[one.start, one.temperature_K] = AuditError(
                temperature_K=one.temperature_K,
                start=one.start,
                generation=generation,
                force_rmse_eV_per_A=one.force_rmse_eV_per_A,
                predicted_rms_eV_per_A=one.predicted_rms_eV_per_A,
            )
    return [found[key] for key in sorted(found)]


def unaudited(audits: Sequence[AuditError], settings: OTFSettings) -> list[float]:
    """Return the temperatures (K) at which no audit has measured the error of some crystal yet."""
    known = {(one.start, one.temperature_K) for one in audits}
    starts = range(n_starts(settings))
    return [kelvin for kelvin in settings.temperatures_K if any((start, kelvin) not in known for start in starts)]


def once_more(walkers: Sequence[Walker], settings: OTFSettings) -> list[Walker]:
    """Return walkers that visit all temperatures again, with new random numbers."""
    return [
        Walker(index=one.index, start=one.start, attempt=one.attempt + 1, segment_end=settings.segment_steps)
        for one in walkers
    ]


def _after_audit(walker: Walker, audit: FreshError | None, settings: OTFSettings) -> Walker:
    gave_up = walker.segments >= settings.max_segments_per_temperature
    if is_done(walker, settings) or (walker.step < walker.segment_end and not gave_up):
        return walker
    ok = audit is not None and audit.force_rmse_eV_per_A <= settings.target_force_error_eV_per_A
    passed = walker.passed + 1 if ok else 0
    segments = walker.segments + 1
    if passed < settings.audits_per_temperature and segments < settings.max_segments_per_temperature:
        end = walker.segment_end + settings.segment_steps
        return walker.model_copy(update={"passed": passed, "segments": segments, "segment_end": end})
    return Walker(
        index=walker.index,
        start=walker.start,
        temperature_index=walker.temperature_index + 1,
        attempt=walker.attempt,
        segment_end=settings.segment_steps,
        start_sha256=walker.checkpoint_sha256,
    )
