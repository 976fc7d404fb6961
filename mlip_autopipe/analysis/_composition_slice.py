"""One temperature of a phase diagram: walks between anchors, put together to a free energy, phases and boundaries.

An anchor is a state whose free energy is known: a pure element, or an ordered structure from its run over temperature.
From every anchor one walk goes to each neighbour. Where the two walks over a range agree, they are averaged with the
weights that make the ends exact; where they do not, a transition was passed too fast, and the lower one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis._sublattices import IntArray
from mlip_autopipe.analysis.coexistence import CRITICAL_BARRIER, Gap, coexisting, find_gaps
from mlip_autopipe.analysis.composition_walk import CompositionWalk, walk_composition
from mlip_autopipe.analysis.lattice_order import ORDERED, OrderOverlaps
from mlip_autopipe.analysis.phase_slices import SOLUTION
from mlip_autopipe.analysis.symmetry import FloatArray

if TYPE_CHECKING:
    from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian

DRAWS: Final = 200
_AGREE: Final = 4.0
"""Walks that differ by more standard errors than this are taken for different phases."""
_LEAST_ERROR: Final = 0.05
# Names are smoothed over so many states on each side.
_AROUND: Final = 2


@dataclass(frozen=True, eq=False)
class Anchor:
    """A state of known free energy.

    Attributes
    ----------
    count
        Atoms of the second element.
    free_energy, stderr
        beta F of the whole cell, no unit.
    decoration
        (n,) in equilibrium.
    """

    count: int
    free_energy: float
    stderr: float
    decoration: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class FreeEnergyCurve:
    """beta F of the whole cell over all compositions.

    Attributes
    ----------
    values
        (n + 1,).
    draws
        (d, n + 1) with the noise drawn anew.
    differences
        (n + 1,) between the walks from both sides; 0 at anchors.
    counts, decorations
        (w,) and (w, n) states along the walks that count.
    """

    values: FloatArray
    draws: FloatArray
    differences: FloatArray
    counts: IntArray
    decorations: NDArray[np.int8]


@dataclass(frozen=True)
class Segment:
    """A range of compositions of one phase: its name, first and last number of atoms."""

    phase: str
    first: float
    last: float


def walk_all(
    hamiltonian: LatticeHamiltonian, anchors: Sequence[Anchor], temperature_K: float, *, sweeps: int, seed: int
) -> FreeEnergyCurve:
    """Walk between neighbouring anchors, in both directions, and put the free energies together."""
    seeds = iter(np.random.SeedSequence(seed).generate_state(2 * len(anchors)))
    rng = np.random.default_rng(seed)
    ranges = list(pairwise(anchors))
    walks = [
        tuple(
            walk_composition(hamiltonian, a.decoration, temperature_K, b.count, sweeps=sweeps, seed=int(next(seeds)))
            for a, b in ((one, other), (other, one))
        )
        for one, other in ranges
    ]
    known, noise = _reconciled(anchors, walks)
    drawn = known + noise * rng.standard_normal((DRAWS, len(anchors)))
    values, draws = np.zeros(hamiltonian.n_sites + 1), np.zeros((DRAWS, hamiltonian.n_sites + 1))
    differences = np.zeros(hamiltonian.n_sites + 1)
    states = [(np.array([a.count]), a.decoration[None]) for a in anchors]
    for k, (forth, back) in enumerate(walks):
        # neither is better known than so many samples let its error be
        variances = [noise[k + i] ** 2 + walk.variances() + _LEAST_ERROR**2 for i, walk in enumerate((forth, back))]
        share = variances[1] / (variances[0] + variances[1])
        up, down = _curves(known[k], known[k + 1], forth.steps, back.steps)
        agree = bool((np.abs(up - down) < _AGREE * np.sqrt(variances[0] + variances[1])).all())
        if not agree:
            share = (up <= down).astype(float)
        part = slice(ranges[k][0].count, ranges[k][1].count + 1)
        differences[part] = np.abs(up - down)
        differences[[part.start, part.stop - 1]] = 0.0
        values[part] = share * up + (1 - share) * down
        noisy = _curves(drawn[:, k], drawn[:, k + 1], forth.draws(DRAWS, rng), back.draws(DRAWS, rng))
        draws[:, part] = share * noisy[0] + (1 - share) * noisy[1]
        for walk, weight in ((forth, share), (back, 1 - share)):
            kept = agree | (weight[walk.ends - walk.counts[0]] > 0)
            states.append((walk.ends[kept], walk.decorations[kept]))
    counts, decorations = (np.concatenate(column) for column in zip(*states, strict=True))
    order = np.argsort(counts, kind="stable")
    return FreeEnergyCurve(values, draws, differences, counts[order], decorations[order])


def segments(curve: FreeEnergyCurve, gaps: Sequence[Gap], order: OrderOverlaps | None) -> list[list[Segment]]:
    """Name the phases between gaps; a phase that turns into another without a gap gives two segments.

    Returns
    -------
    list
        Of each range between neighbouring gaps, the segments in it; their inner ends are where the order passes its
        threshold.
    """
    n = len(curve.values) - 1
    names = _names(curve, order)
    bounds = [0, *(x for gap in gaps for x in (gap.first, gap.last)), n]
    found = []
    for first, last in zip(bounds[::2], bounds[1::2], strict=True):
        inside = np.flatnonzero((curve.counts >= first) & (curve.counts <= last))
        if len(inside) == 0:
            inside = np.array([int(np.argmin(np.abs(curve.counts - (first + last) / 2)))])
        parts: list[Segment] = []
        for k, name in zip(inside, _smoothed([names[k] for k in inside]), strict=True):
            place = float(curve.counts[k])
            if parts and parts[-1].phase == name:
                parts[-1] = Segment(name, parts[-1].first, place)
            else:
                parts.append(Segment(name, place, place))
        edges = [
            float(first),
            *((a.last + b.first) / 2 for a, b in pairwise(parts)),
            float(last),
        ]
        found.append([Segment(p.phase, a, b) for p, a, b in zip(parts, edges[:-1], edges[1:], strict=True)])
    return found


def gaps_with_errors(curve: FreeEnergyCurve) -> tuple[list[Gap], FloatArray, FloatArray, FloatArray]:
    """Return gaps, fractions on both sides (gaps, 2) with errors, and chemical potentials in kT (gaps,)."""
    gaps = find_gaps(curve.values, curve.draws)
    fractions, potentials = coexisting(curve.values, gaps)
    noisy, _ = coexisting(curve.draws, gaps)
    return gaps, fractions, np.asarray(noisy.std(axis=0)), potentials


def largest_barrier(curve: FreeEnergyCurve, first: float, last: float) -> tuple[float, float]:
    """Return the highest barrier between two compositions (atoms of the second element), and its error."""
    barriers = [
        gap
        for gap in find_gaps(curve.values, curve.draws, least_barrier=-np.inf)
        if gap.first < last and gap.last > first
    ]
    best = max(barriers, key=lambda gap: gap.barrier, default=None)
    return (0.0, CRITICAL_BARRIER) if best is None else (best.barrier, best.barrier_stderr)


def _reconciled(
    anchors: Sequence[Anchor], walks: Sequence[tuple[CompositionWalk, ...]]
) -> tuple[FloatArray, FloatArray]:
    """Return the free energies of the anchors, and their errors, after what the walks between them say.

    An anchor is lowered where a walk from a neighbour arrives clearly below it; it was not in equilibrium. Then least
    squares: ranges that both walks cross with the same change tie their two anchors together.
    """
    known = np.array([a.free_energy for a in anchors])
    errors = np.array([a.stderr for a in anchors])
    last = len(anchors) - 1
    for _ in anchors:
        for k, (forth, back) in enumerate(walks):
            for source, target, change, walk in (
                (k, k + 1, forth.steps.sum(), forth),
                (k + 1, k, -back.steps.sum(), back),
            ):
                arrived = float(np.hypot(errors[source], np.sqrt(walk.variances().max())))
                far = _AGREE * (np.hypot(arrived, errors[target]) + _LEAST_ERROR)
                # the pure elements are exact
                if 0 < target < last and known[source] + change < known[target] - far:
                    known[target], errors[target] = known[source] + change, arrived
    if last < 2:
        return known, errors
    exact = np.eye(last + 1)[[0, last]]
    rows, values = [*exact, *np.eye(last + 1)[1:last]], [*known[[0, last]], *known[1:last]]
    spread = [_LEAST_ERROR / 100] * 2 + [float(np.hypot(e, _LEAST_ERROR)) for e in errors[1:last]]
    for k, (forth, back) in enumerate(walks):
        changes = np.array([forth.steps.sum(), back.steps.sum()])
        variances = np.array([walk.variances().max() + _LEAST_ERROR**2 for walk in (forth, back)])
        if abs(changes[0] - changes[1]) < _AGREE * np.sqrt(variances.sum()):
            rows.append(np.eye(last + 1)[k + 1] - np.eye(last + 1)[k])
            values.append(float(np.average(changes, weights=1 / variances)))
            spread.append(float(1 / np.sqrt(np.sum(1 / variances))))
    design = np.array(rows) / np.array(spread)[:, None]
    covariance = np.linalg.inv(design.T @ design)
    found = covariance @ (design.T @ (np.array(values) / np.array(spread)))
    found[[0, last]] = known[[0, last]]
    return found, np.sqrt(np.diag(covariance)) * np.where(np.arange(last + 1) % last == 0, 0.0, 1.0)


def _curves(one: ArrayLike, other: ArrayLike, forth: FloatArray, back: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return beta F (..., k + 1) from the walks that start at each end."""
    a, b = np.asarray(one)[..., None], np.asarray(other)[..., None]
    up = np.concatenate([a, a + np.cumsum(forth, axis=-1)], axis=-1)
    down = np.concatenate([b - np.cumsum(back[..., ::-1], axis=-1)[..., ::-1], b], axis=-1)
    return up, down


def _names(curve: FreeEnergyCurve, order: OrderOverlaps | None) -> list[str]:
    if order is None or not order.names:
        return [SOLUTION] * len(curve.counts)
    overlaps = order.of(curve.decorations)
    best = overlaps.argmax(axis=1)
    return [order.names[k] if row[k] > ORDERED else SOLUTION for k, row in zip(best, overlaps, strict=True)]


def _smoothed(names: list[str]) -> list[str]:
    """Replace every name by the most frequent one around it."""
    padded = [names[0]] * _AROUND + names + [names[-1]] * _AROUND
    around = [padded[k : k + 2 * _AROUND + 1] for k in range(len(names))]
    return [max(part, key=lambda name: (part.count(name), name == part[_AROUND])) for part in around]
