"""Structures away from molecular dynamics of the crystal: many are generated, few are worth a label.

A potential for general use meets strain, defects and disorder. The pool holds strained, scaled, rattled and defective
cells and, if wanted, frames of a melt and its quench with the current potential. A surrogate drops what is absurd; of
the rest those are labelled whose labels say most.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.generation.perturb import random_strains, rattle, volume_scan, with_interstitials, with_vacancies
from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.schemas.otf import Candidate, OTFSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlip_autopipe.learning.starts import Start
    from mlip_autopipe.potentials.base import Potential

POOL_STREAM: Final = 3
MELT_FS, COOLING_FS, HOLD_FS = 2500.0, 3000.0, 300.0
LIQUID_VOLUME: Final = 1.05
"""Of the crystal's: metals expand by 3 to 6 % when they melt."""


def choose_from_pool(
    starts: Sequence[Start], settings: OTFSettings, potential: Potential, trained: Sequence[Atoms], round_: int
) -> tuple[list[Candidate], list[str]]:
    """Return the structures of a new pool whose labels say most.

    Parameters
    ----------
    starts
        Crystals.
    settings
        Size and kinds of the pool, number of labels.
    potential
        Melts, screens unless `settings.surrogate` names a model, and says what it does not know.
    trained
        Structures with a label: copies of them say nothing new.
    round_
        Each has other random numbers.

    Returns
    -------
    candidates, remarks
        The most valuable first; what a person should know of the pool.

    Raises
    ------
    InvalidInputError
        The surrogate cannot be read.
    """
    from mlip_autopipe.selection.select import select_configurations
    from mlip_autopipe.selection.surrogate import load_surrogate, screen

    surrogate = load_surrogate(Path(settings.surrogate)) if settings.surrogate else potential
    rng = np.random.default_rng((settings.seed, POOL_STREAM, round_))
    pool: list[tuple[int, str, Atoms]] = []
    remarks: list[str] = []
    for k, start in enumerate(starts):
        crystal = start.cell
        pool += [(k, what, atoms) for what, atoms in _around(crystal, settings, rng)]
        if settings.melt_temperature_K is not None:
            frames, remark = _molten(crystal, settings, settings.melt_temperature_K, potential, rng)
            pool += [(k, what, atoms) for what, atoms in frames]
            remarks += [f"{start.name}: {remark}"] if remark else []
    structures = [atoms for _, _, atoms in pool]
    kept = sorted(screen(structures, surrogate, known=[start.cell for start in starts]).kept)
    chosen = select_configurations(
        [structures[i] for i in kept], settings.pool_labels, potential=potential, trained=trained
    )
    remarks.append(
        f"pool {round_ + 1}: {len(pool)} structures, {len(pool) - len(kept)} of them absurd, "
        f"{len(chosen.indices)} chosen ({chosen.method})"
    )
    found = []
    for i in chosen.indices:
        start_index, what, atoms = pool[kept[i]]
        found.append(candidate(atoms, "pool", f"{what} of {starts[start_index].name}", start=start_index))
    return found, remarks


def _around(crystal: Atoms, settings: OTFSettings, rng: np.random.Generator) -> list[tuple[str, Atoms]]:
    """Return strained, scaled and defective cells in turn, all rattled."""
    found: list[tuple[str, Atoms]] = []
    for k in range(settings.pool_structures):
        amplitude = settings.seed_rattle_A * rng.uniform(0.2, 1.0)
        if k % 4 == 0:
            (atoms,), what = random_strains(crystal, 1, settings.pool_strain, rng), "strained supercell"
        elif k % 4 == 1:
            # volumes, not lengths
            ratio = (1 + settings.pool_strain * rng.uniform(-1, 1)) ** 3
            (atoms,), what = volume_scan(crystal, [ratio]), f"supercell at {100 * ratio:.0f} % of the volume"
        elif k % 4 == 2:
            atoms, what = with_vacancies(crystal, int(rng.integers(1, 3)), rng), "supercell with vacancies"
        else:
            symbol = str(rng.choice(crystal.get_chemical_symbols()))
            atoms, what = with_interstitials(crystal, [symbol], rng), f"supercell with a {symbol} interstitial"
        found.append((f"{what}, rattled by {amplitude:.2f} A", rattle(atoms, amplitude, rng)))
    return found


def _molten(
    crystal: Atoms, settings: OTFSettings, melt_K: float, potential: Potential, rng: np.random.Generator
) -> tuple[list[tuple[str, Atoms]], str | None]:
    from mlip_autopipe.generation.melt_quench import MeltQuenchSettings, melt_quench

    def steps(time_fs: float) -> int:
        return max(10, round(time_fs / settings.time_step_fs))

    plan = MeltQuenchSettings(
        melt_temperature_K=melt_K,
        final_temperature_K=min(300.0, melt_K / 2),
        melt_steps=steps(MELT_FS),
        cooling_steps=steps(COOLING_FS),
        hold_steps=steps(HOLD_FS),
        time_step_fs=settings.time_step_fs,
        volume_scale=LIQUID_VOLUME,
        n_liquid=3,
        n_cooling=2,
        n_quenched=1,
    )
    outcome = melt_quench(crystal, potential.calculator(), plan, seed=int(rng.integers(2**31)))
    frames = [(f"{one.info['stage']} at {one.info['temperature_K']:.0f} K", one) for one in outcome.frames]
    if outcome.stopped is not None:
        return frames, f"melt and quench ended early, {outcome.stopped}"
    if outcome.melted is False:
        return frames, f"it did not melt at {melt_K:.0f} K within {MELT_FS / 1000:g} ps"
    return frames, None
