"""The first training structures: small cells for the stress, large ones for the forces, around the guessed crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.generation.perturb import random_strains, rattle, with_interstitials, with_vacancies
from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.schemas.otf import Candidate, OTFSettings

if TYPE_CHECKING:
    from ase import Atoms

_LEAST_RATTLE = 0.2
"""Of the largest, in the seed that moves least."""


def md_cell(primitive: Atoms, settings: OTFSettings) -> Atoms:
    """Return the supercell in which molecular dynamics runs."""
    from ase.build import make_supercell

    return make_supercell(primitive, np.array(settings.supercell), order="atom-major")


def seed_structures(primitive: Atoms, settings: OTFSettings) -> list[Candidate]:
    """Return strained primitive cells and strained, rattled supercells in turn.

    A primitive cell says how energy and stress follow the strain, for next to nothing; the supercells show forces, from
    near the lattice to hot. The guessed lattice constant may be off by several per cent, which the strains span.

    Parameters
    ----------
    primitive
        Start structure.
    settings
        Numbers, amplitudes, supercell and seed.
    """
    rng = np.random.default_rng(settings.seed)
    large = md_cell(primitive, settings)
    supercells = (settings.seed_structures + 1) // 2
    found: list[Candidate] = []
    for k in range(settings.seed_structures):
        if k % 2:
            (strained,) = random_strains(primitive, 1, settings.seed_strain, rng)
            found.append(candidate(strained, "seed", f"strained primitive cell {k // 2 + 1}"))
            continue
        share = _LEAST_RATTLE + (1 - _LEAST_RATTLE) * (k // 2) / max(1, supercells - 1)
        (strained,) = random_strains(large, 1, settings.seed_strain / 2, rng)
        moved = rattle(strained, share * settings.seed_rattle_A, rng)
        found.append(candidate(moved, "seed", f"strained supercell rattled by {share * settings.seed_rattle_A:.2f} A"))
    return found + [_defective(large, settings, k, rng) for k in range(settings.defect_seeds)]


def _defective(large: Atoms, settings: OTFSettings, k: int, rng: np.random.Generator) -> Candidate:
    """Return a supercell with a vacancy or an interstitial, its atoms displaced a little."""
    if k % 2 == 0:
        defective, what = with_vacancies(large, 1, rng), "vacancy"
    else:
        symbol = str(rng.choice(large.get_chemical_symbols()))
        defective, what = with_interstitials(large, [symbol], rng), f"{symbol} interstitial"
    return candidate(rattle(defective, _LEAST_RATTLE * settings.seed_rattle_A, rng), "seed", f"supercell with a {what}")
