"""How much the plan will cost, roughly, and what the run may spend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics.choices import USER_REASON, Choices
from mlip_autopipe.schemas.config import Resources
from mlip_autopipe.schemas.system import Budget, CostEstimate, ElasticSettings, Reason, ReferenceSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

RELAXATION_LABELS = {True: 12, False: 8}
"""Labels of a cell relaxation, by cheap (the thresholds differ); a good start in a cubic crystal needs 3 or 4."""
ION_RELAXATION_LABELS = {True: 5, False: 4}
"""Labels per strained cell when ions can move; Stillinger-Weber silicon needs 3."""

CHEAP_CORE_SECONDS_PER_ATOM = 2e-3

# The anchor: silicon, 2 atoms, 8 valence electrons, 40 A^3, 400 eV, 112 k-points, 20 SCF steps
ANCHOR_CORE_SECONDS = 9.0
ANCHOR_KPOINTS = 112
ANCHOR_ELECTRONS = 8
ANCHOR_VOLUME_A3 = 40.0
ANCHOR_CUTOFF_EV = 400.0
METAL_FACTOR = 1.5
"""Empty bands and more SCF steps."""
SPIN_FACTOR = 3.0
"""Two spin channels and more SCF steps."""

CALCULATIONS_SAFETY = 5
CORE_HOURS_SAFETY = 10
MIN_CALCULATIONS = 100
TRIGGERS_PER_AUDIT = 1.0
"""Labels that the watch asks for, per planned audit; few for a metal, more for alloys and covalent crystals."""
MIN_CORE_HOURS = 1.0


def estimate_cost(
    structure: Structure,
    reference: ReferenceSettings,
    elastic: ElasticSettings,
    kpts: tuple[int, int, int],
    *,
    is_metal: bool,
    spin_polarised: bool,
) -> CostEstimate:
    """Estimate labels and core-hours of an elastic run; good to a factor of three or so.

    Parameters
    ----------
    structure
        Primitive start structure.
    reference, elastic
        Sections of the plan, overrides applied.
    kpts
        Mesh; not used by cheap references.
    is_metal, spin_polarised
        Both make SCF cycles longer.
    """
    per_strain = ION_RELAXATION_LABELS[reference.cheap] if ions_move_under_strain(structure) else 1
    n_strains = len(elastic.directions) * (4 if elastic.half_amplitude_check else 2)
    relaxation = RELAXATION_LABELS[reference.cheap]
    labels = relaxation + n_strains * per_strain
    counting = f"{relaxation} for the cell relaxation + {n_strains} strains x {per_strain}"
    if reference.cheap:
        seconds = CHEAP_CORE_SECONDS_PER_ATOM * len(structure)
        basis = f"{counting}; {1e3 * seconds:.3g} ms each for a classical potential"
    else:
        seconds = label_core_seconds(
            structure, reference.parameters, kpts, is_metal=is_metal, spin_polarised=spin_polarised
        )
        basis = (
            f"{counting}; {seconds:.3g} core-seconds each, scaled from 9 s for Si2 (400 eV, 112 k-points, measured) "
            "with k-points, bands, volume and cutoff; right to a factor of about three"
        )
    return CostEstimate(n_reference_calculations=labels, core_hours=_two_digits(labels * seconds / 3600), basis=basis)


def estimate_learning(
    structure: Structure,
    reference: ReferenceSettings,
    learning: Mapping[str, Any],
    kpts: tuple[int, int, int],
    *,
    is_metal: bool,
    spin_polarised: bool,
) -> CostEstimate:
    """Estimate labels and core-hours of a run that learns a potential; good to a factor of three or so.

    Parameters
    ----------
    structure
        Primitive start structure.
    reference
        Section of the plan.
    learning
        Sections ``otf`` and, by goal, ``elastic_check`` and ``equilibrate``.
    kpts
        Mesh of the primitive cell; not used by cheap references.
    is_metal, spin_polarised
        Both make SCF cycles longer.
    """
    import numpy as np

    otf = learning["otf"]
    copies = round(abs(float(np.linalg.det(np.array(otf.supercell)))))
    audits = otf.audits_per_temperature * len(otf.temperatures_K) * otf.walkers * (1 + len(otf.others))
    large = ceil(otf.seed_structures / 2) + otf.defect_seeds + ceil(audits * (1 + TRIGGERS_PER_AUDIT)) + otf.held_out
    large += otf.pool_labels
    small = otf.seed_structures // 2
    seeds, triggers = otf.seed_structures + otf.defect_seeds, ceil(audits * TRIGGERS_PER_AUDIT)
    parts = f"{seeds} seeds + {audits} audits and about {triggers} triggers"
    if (check := learning.get("elastic_check")) is not None:
        small += 2 * len(check.strains)
        parts += f" + {len(check.strains)} property cells + {len(check.strains)} checks"
    if (runs := learning.get("equilibrate")) is not None:
        large += runs.check_labels * len(runs.temperatures_K)
        small += 2
        parts += f" + 2 property cells + {runs.check_labels * len(runs.temperatures_K)} checks"
    if otf.pool_labels:
        parts += f" + {otf.pool_labels} of a pool"
    if otf.held_out:
        parts += f" + {otf.held_out} held out"
    if otf.control_arm == "random":
        large += ceil(audits * (1 + TRIGGERS_PER_AUDIT)) + small
        parts += " + as many again for the random arm"
    if reference.cheap:
        seconds = CHEAP_CORE_SECONDS_PER_ATOM * len(structure) * (small + copies * large)
        each = "milliseconds each for a classical potential; training and molecular dynamics take minutes"
    else:
        one = label_core_seconds(
            structure, reference.parameters, kpts, is_metal=is_metal, spin_polarised=spin_polarised
        )
        # k-points x bands x plane waves: a supercell has fewer of the first and more of the others
        seconds = one * (small + copies * large)
        each = f"{one:.3g} core-seconds for a primitive cell, {copies * one:.3g} for {copies * len(structure)} atoms"
    return CostEstimate(
        n_reference_calculations=small + large,
        core_hours=_two_digits(seconds / 3600),
        basis=f"{parts}; {each}; right to a factor of about three",
    )


def label_core_seconds(
    structure: Structure,
    parameters: dict[str, Any],
    kpts: tuple[int, int, int],
    *,
    is_metal: bool,
    spin_polarised: bool,
) -> float:
    """Estimate the core-seconds of one plane-wave calculation.

    Time goes as k-points x bands x plane waves: the regime of small cells, where applying the Hamiltonian costs more
    than making bands orthogonal. Strained cells keep little symmetry, so half of the mesh (time reversal) is counted.
    """
    total = kpts[0] * kpts[1] * kpts[2]
    kpoints = (total + 8) / 2 if total > 1 else 1.0
    electrons = sum(valence_electrons(site.specie) for site in structure)
    cutoff = float(parameters.get("cutoff_eV") or ANCHOR_CUTOFF_EV)
    seconds = (
        ANCHOR_CORE_SECONDS
        * (kpoints / ANCHOR_KPOINTS)
        * (electrons / ANCHOR_ELECTRONS)
        * (structure.volume / ANCHOR_VOLUME_A3)
        * (cutoff / ANCHOR_CUTOFF_EV) ** 1.5
    )
    return float(seconds * (METAL_FACTOR if is_metal else 1.0) * (SPIN_FACTOR if spin_polarised else 1.0))


def valence_electrons(element: Any) -> int:
    """Return the number of valence electrons of a usual pseudopotential, from the element's group."""
    if element.is_lanthanoid or element.is_actinoid:
        return int(element.Z - (54 if element.is_lanthanoid else 86)) + 8
    group = int(element.group)
    if group > 12:
        return group - 10
    # on the left of the table the p shell below is shallow and counts as valence
    return group if group > 6 or element.Z < 3 else group + 6


def ions_move_under_strain(structure: Structure, tolerance_A: float = 0.01) -> bool:
    """Whether a homogeneous strain can displace ions inside the cell.

    It cannot when every atom is an inversion centre, because strain keeps inversion (fcc, bcc, rocksalt,
    cesiumchloride, L1_2); it can in hcp, diamond and zincblende.
    """
    import numpy as np
    import spglib

    numbers = [site.specie.Z for site in structure]
    cell = (structure.lattice.matrix, structure.frac_coords, numbers)
    try:
        symmetry = spglib.get_symmetry(cell, symprec=tolerance_A)
    except spglib.SpglibError:
        symmetry = None
    if symmetry is None:
        return True
    inversions = [
        t for r, t in zip(symmetry["rotations"], symmetry["translations"], strict=True) if (r == -np.eye(3)).all()
    ]
    for position in structure.frac_coords:
        shifts = [t - 2 * position for t in inversions]
        if not any(
            np.linalg.norm(structure.lattice.get_cartesian_coords(s - np.round(s))) < 2 * tolerance_A for s in shifts
        ):
            return True
    return False


def choose_budget(resources: Resources, estimate: CostEstimate, choices: Choices) -> Budget:
    """Choose what the run may spend: the user's limits, or generous multiples of the estimate.

    Parameters
    ----------
    resources
        The user's limits.
    estimate
        What the plan expects.
    choices
        Takes reasons and warnings.

    Raises
    ------
    InvalidInputError
        A limit is given under both ``resources`` and ``overrides``.
    """
    calculations = max(MIN_CALCULATIONS, CALCULATIONS_SAFETY * estimate.n_reference_calculations)
    core_hours = max(MIN_CORE_HOURS, _two_digits(CORE_HOURS_SAFETY * estimate.core_hours))
    rule = "estimate of the plan"
    budget = Budget(
        max_reference_calculations=_limit(
            "max_reference_calculations",
            resources.max_reference_calculations,
            calculations,
            f"{CALCULATIONS_SAFETY} times the estimated number, at least {MIN_CALCULATIONS}",
            rule,
            choices,
        ),
        max_core_hours=_limit(
            "max_core_hours",
            resources.max_core_hours,
            core_hours,
            f"{CORE_HOURS_SAFETY} times the estimate, at least {MIN_CORE_HOURS:g}",
            rule,
            choices,
        ),
        cores=_limit(
            "cores", resources.cores, available_cores(), "all cores that this process may use", "this machine", choices
        ),
    )
    if budget.max_reference_calculations < estimate.n_reference_calculations:
        choices.warn(
            f"the budget of {budget.max_reference_calculations} reference calculations is below the estimate of "
            f"{estimate.n_reference_calculations}; the run may stop before it is done"
        )
    if budget.max_core_hours < estimate.core_hours:
        choices.warn(
            f"the budget of {budget.max_core_hours:g} core-hours is below the estimate of {estimate.core_hours:g}; "
            "the run may stop before it is done"
        )
    return budget


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _limit(name: str, given: Any, default: Any, reason: str, source: str, choices: Choices) -> Any:
    path = f"budget.{name}"
    if given is None:
        return choices.choose(path, default, reason, source)
    if path in choices.overrides:
        raise InvalidInputError(f"resources.{name} and overrides: {path} set the same limit; keep one of the two")
    choices.reasons[path] = Reason(reason=USER_REASON, source="input.yaml: resources")
    return given


def _two_digits(value: float) -> float:
    """Round up to two significant digits: an estimate does not know more."""
    if value <= 0:
        return 0.0
    digit = 10.0 ** (floor(log10(value)) - 1)
    return float(f"{ceil(value / digit - 1e-9) * digit:.3g}")
