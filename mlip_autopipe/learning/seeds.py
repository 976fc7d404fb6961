"""The first training structures: small cells for the stress, large ones for the forces, around the guessed crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.generation.perturb import random_strains, rattle, with_interstitials, with_vacancies
from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.schemas.otf import Candidate, OTFSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlip_autopipe.learning.starts import Start

_LEAST_RATTLE = 0.2
"""Of the largest, in the seed that moves least."""


def seed_structures(starts: Sequence[Start], settings: OTFSettings) -> list[Candidate]:
    """Return strained primitive cells and strained, rattled supercells in turn, and some supercells with a defect.

    A primitive cell says how energy and stress follow the strain, for next to nothing; the supercells show forces, from
    near the lattice to hot. The guessed lattice constant may be off by several per cent, which the strains span.

    Parameters
    ----------
    starts
        Crystals; the seeds are shared out among them, those with a defect in turn.
    settings
        Numbers, amplitudes and seed.
    """
    rng = np.random.default_rng(settings.seed)
    shares = [len(part) for part in np.array_split(np.arange(settings.seed_structures), len(starts))]
    found = [one for k, share in enumerate(shares) for one in _around(starts, k, share, settings, rng)]
    return found + [_defective(starts, settings, k, rng) for k in range(settings.defect_seeds)]


def _around(
    starts: Sequence[Start], which: int, n: int, settings: OTFSettings, rng: np.random.Generator
) -> Iterator[Candidate]:
    start, supercells = starts[which], (n + 1) // 2
    of = f" of {start.name}" if len(starts) > 1 else ""
    large = start.cell
    for k in range(n):
        if k % 2:
            (strained,) = random_strains(start.primitive, 1, settings.seed_strain, rng)
            yield candidate(strained, "seed", f"strained primitive cell {k // 2 + 1}{of}", start=which)
            continue
        # a single supercell is neither cold nor hot
        share = _LEAST_RATTLE + (1 - _LEAST_RATTLE) * ((k // 2) / (supercells - 1) if supercells > 1 else 0.5)
        (strained,) = random_strains(large, 1, settings.seed_strain / 2, rng)
        moved = rattle(strained, share * settings.seed_rattle_A, rng)
        what = f"strained supercell{of} rattled by {share * settings.seed_rattle_A:.2f} A"
        yield candidate(moved, "seed", what, start=which)


def _defective(starts: Sequence[Start], settings: OTFSettings, k: int, rng: np.random.Generator) -> Candidate:
    """Return a supercell with a vacancy or an interstitial, its atoms displaced a little."""
    which = k % len(starts)
    large = starts[which].cell
    if k % 2 == 0:
        defective, what = with_vacancies(large, 1, rng), "vacancy"
    else:
        symbol = str(rng.choice(large.get_chemical_symbols()))
        defective, what = with_interstitials(large, [symbol], rng), f"{symbol} interstitial"
    moved = rattle(defective, _LEAST_RATTLE * settings.seed_rattle_A, rng)
    of = f" of {starts[which].name}" if len(starts) > 1 else ""
    return candidate(moved, "seed", f"supercell{of} with a {what}", start=which)
