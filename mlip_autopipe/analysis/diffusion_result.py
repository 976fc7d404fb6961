"""Diffusion coefficients of a trajectory, with errors and checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlip_autopipe.analysis.diffusion_gates import EVIDENCE
from mlip_autopipe.analysis.results import GateResult, ValueWithError
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class GroupDiffusion:
    """The diffusion of one species or group.

    Attributes
    ----------
    name, n_atoms
        The group.
    D_cm2_s, D_stderr_cm2_s
        Tracer coefficient and its standard error, the larger of the next two.
    D_stderr_atoms_cm2_s, D_stderr_time_cm2_s
        From the scatter between atoms, and along the run; none where there are too few.
    plateau_ps
        First and last lag between which D(t) is constant; the first is that of the estimate.
    exponent
        Of MSD ~ t^exponent at the start of the plateau; none where D is not positive.
    D_tensor_cm2_s, D_tensor_stderr_cm2_s
        (3, 3).
    D_collective_cm2_s
        Coefficient of the summed displacement (jump, or conductivity, diffusion); none where it is zero by
        construction.
    haven_ratio
        Tracer over collective coefficient; none where the collective one does not stand out of its error.
    n_hops, hop_distance_A, site_ratio
        See `msd.GroupMSD`.
    gates, warnings
        Checks, and sentences about them and the data.
    lags_ps, msd_A2
        (m,) mean square displacement.
    curve_lags_ps, curve_D_cm2_s, curve_stderr_cm2_s
        (h,) D(t).
    """

    name: str
    n_atoms: int
    D_cm2_s: float
    D_stderr_cm2_s: float
    D_stderr_atoms_cm2_s: float | None
    D_stderr_time_cm2_s: float | None
    plateau_ps: tuple[float, float]
    exponent: ValueWithError | None
    D_tensor_cm2_s: FloatArray
    D_tensor_stderr_cm2_s: FloatArray
    D_collective_cm2_s: ValueWithError | None
    haven_ratio: ValueWithError | None
    n_hops: int
    hop_distance_A: float
    site_ratio: float
    gates: tuple[GateResult, ...]
    warnings: tuple[str, ...]
    lags_ps: FloatArray
    msd_A2: FloatArray
    curve_lags_ps: FloatArray
    curve_D_cm2_s: FloatArray
    curve_stderr_cm2_s: FloatArray

    @property
    def enough_evidence(self) -> bool:
        """Whether the coefficient stands out of its error and rests on hops."""
        return all(gate.passed for gate in self.gates if gate.name == EVIDENCE)


@dataclass(frozen=True, eq=False)
class DiffusionResult:
    """Diffusion coefficients of a trajectory at one temperature.

    Attributes
    ----------
    groups
        By name: species, then further groups.
    temperature_K, time_step_fs, length_ps
        Of the run; the time step is that between frames.
    n_frames, n_atoms, volume_A3
        Of the run; no volume without a periodic cell.
    gates
        Checks of the run as a whole.
    warnings
        Sentences, those of the groups included.
    """

    groups: dict[str, GroupDiffusion]
    temperature_K: float
    time_step_fs: float
    length_ps: float
    n_frames: int
    n_atoms: int
    volume_A3: float | None
    gates: tuple[GateResult, ...]
    warnings: tuple[str, ...]

    @property
    def state(self) -> Literal["done", "failed", "not_enough_evidence"]:
        """What the checks say together.

        Species that stand still, as the framework of an ionic conductor does, are no failure: only what diffuses must
        pass the checks on how. Where nothing diffuses, the run was too short, or there is nothing to be seen.
        """
        seen = [group for group in self.groups.values() if group.enough_evidence]
        checks = [*self.gates, *(gate for group in seen for gate in group.gates)]
        if not all(gate.passed for gate in checks):
            return "failed"
        return "done" if seen else "not_enough_evidence"

    @property
    def all_gates(self) -> list[tuple[str, GateResult]]:
        """Every check with the name of its group, empty for those of the run."""
        of_groups = [(name, gate) for name, group in self.groups.items() for gate in group.gates]
        return [*(("", gate) for gate in self.gates), *of_groups]


def run_length_needed_ps(result: DiffusionResult, target_relative_error: float) -> float | None:
    """Return how long a run would have to be for the least certain species; none where one does not diffuse at all.

    The squared error falls with the length of the run.
    """
    if not target_relative_error > 0:
        raise InvalidInputError("The target of the relative error must be positive.")
    values = [(group.D_cm2_s, group.D_stderr_cm2_s) for group in result.groups.values()]
    if any(value <= 0 for value, _ in values):
        return None
    worst = max(stderr / value for value, stderr in values)
    return float(result.length_ps * (worst / target_relative_error) ** 2)
