"""``mlip-auto analyse diffusion``: coefficients from a trajectory of any program."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.cli.files import require_writable, write_all
from mlip_autopipe.errors import EXIT_FAILED, EXIT_NOT_ENOUGH_EVIDENCE, EXIT_OK, InvalidInputError

if TYPE_CHECKING:
    from mlip_autopipe.analysis.diffusion import DiffusionResult, MSDData
    from mlip_autopipe.analysis.diffusion_result import GroupDiffusion
    from mlip_autopipe.analysis.results import ValueWithError

Document = dict[str, Any]

SCHEMA_VERSION = 1
RESULT_NAME, FIGURE_NAME = "diffusion.json", "diffusion.png"
EXIT_CODES = {"done": EXIT_OK, "failed": EXIT_FAILED, "not_enough_evidence": EXIT_NOT_ENOUGH_EVIDENCE}
PHASES = ("solid", "liquid")


def analyse_diffusion(
    trajectory: Path,
    *,
    temperature_K: float,
    time_step_fs: float | None,
    start: int = 0,
    stop: int | None = None,
    phase: str | None = None,
    reference: str = "all",
    groups: Sequence[str] = (),
    types: str | None = None,
    charges: Sequence[str] = (),
    out: Path | None = None,
    as_json: bool = False,
) -> int:
    """Print diffusion coefficients; with a folder, also write ``diffusion.json`` and a figure there.

    Returns
    -------
    int
        0; 1 when a check failed, 3 when nothing was seen to diffuse.

    Raises
    ------
    InvalidInputError
        Something about the input is wrong. A frame that cannot be used is reported after the result of those before it.
    """
    from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient

    if phase is not None and phase not in PHASES:
        raise InvalidInputError(f"--phase {phase}: write {' or '.join(PHASES)}")
    if not (math.isfinite(temperature_K) and temperature_K > 0):
        raise InvalidInputError(f"--temperature {temperature_K:g}: a temperature in K is above zero")
    if time_step_fs is not None and not (math.isfinite(time_step_fs) and time_step_fs > 0):
        raise InvalidInputError(f"--time-step-fs {time_step_fs:g}: the time between frames is above zero")
    charge_e = parse_charges(charges)
    if out is not None:
        require_writable(out)
    msd = calculate_msd(
        trajectory,
        groups=parse_groups(groups),
        reference=reference if reference in ("all", "none") else _words(reference),
        start=start,
        stop=stop,
        type_names=dict(enumerate(_words(types), start=1)) if types else None,
        keep_sound=True,
    )
    result = fit_diffusion_coefficient(msd, temperature_K, time_step_fs, phase=phase)  # type: ignore[arg-type]
    document = diffusion_document(result, msd, charge_e)
    files = [] if out is None else write_all(out, _files(document, result))
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _show(document)
        if files:
            print("wrote " + " and ".join(str(path) for path in files))
    if msd.stopped_by:
        raise InvalidInputError(f"{msd.stopped_by} The result is that of those {msd.n_frames} frames.")
    return EXIT_CODES[result.state]


def parse_groups(texts: Sequence[str]) -> dict[str, list[int]]:
    """Return the atoms of ``NAME=0-3,8`` texts by name.

    >>> parse_groups(["water=0-2,5"])
    {'water': [0, 1, 2, 5]}

    Raises
    ------
    InvalidInputError
        A text is not of this form.
    """
    found: dict[str, list[int]] = {}
    for text in texts:
        name, equals, places = text.partition("=")
        try:
            if not (equals and name):
                raise ValueError
            atoms: list[int] = []
            for part in places.split(","):
                first, dash, last = part.partition("-")
                atoms += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise InvalidInputError(f"--group {text}: write NAME=ATOMS, e.g. --group surface=0-15,20") from None
        found[name] = atoms
    return found


def parse_charges(texts: Sequence[str]) -> dict[str, float]:
    """Return the charges of ``SPECIES=CHARGE`` texts.

    >>> parse_charges(["Li=1", "O=-2"])
    {'Li': 1.0, 'O': -2.0}

    Raises
    ------
    InvalidInputError
        A text is not of this form.
    """
    found = {}
    for text in texts:
        name, _, charge = text.partition("=")
        try:
            found[name] = float(charge)
        except ValueError:
            raise InvalidInputError(f"--charge {text}: write SPECIES=CHARGE, e.g. --charge Li=1") from None
    return found


def diffusion_document(result: DiffusionResult, msd: MSDData, charge_e: dict[str, float] | None = None) -> Document:
    """Return what ``--json`` prints."""
    species = set(msd.species)
    entries = {name: _entry(group, result, (charge_e or {}).get(name)) for name, group in result.groups.items()}
    if missing := sorted(set(charge_e or {}) - set(entries)):
        raise InvalidInputError(f"--charge {missing[0]}: the trajectory holds {', '.join(entries)}")
    return {
        "schema_version": SCHEMA_VERSION,
        "trajectory": msd.source,
        "state": result.state,
        "temperature_K": result.temperature_K,
        "time_step_fs": result.time_step_fs,
        "length_ps": result.length_ps,
        "n_frames": result.n_frames,
        "n_atoms": result.n_atoms,
        "volume_A3": result.volume_A3,
        "reference": msd.reference,
        "species": {name: entry for name, entry in entries.items() if name in species},
        "groups": {name: entry for name, entry in entries.items() if name not in species},
        "gates": [gate._asdict() for gate in result.gates],
        "warnings": list(result.warnings),
    }


def _entry(group: GroupDiffusion, result: DiffusionResult, charge_e: float | None) -> Document:
    entry: Document = {
        "n_atoms": group.n_atoms,
        "D_cm2_s": group.D_cm2_s,
        "D_stderr_cm2_s": _finite(group.D_stderr_cm2_s),
        "D_stderr_parts_cm2_s": {"atoms": group.D_stderr_atoms_cm2_s, "time": group.D_stderr_time_cm2_s},
        "plateau_ps": list(group.plateau_ps),
        "D_tensor_cm2_s": group.D_tensor_cm2_s.tolist(),
        "D_tensor_stderr_cm2_s": [[_finite(x) for x in row] for row in group.D_tensor_stderr_cm2_s.tolist()],
        **_pair("D_collective", group.D_collective_cm2_s, "_cm2_s"),
        **_pair("haven_ratio", group.haven_ratio),
        **_pair("msd_exponent", group.exponent),
        "n_hops": group.n_hops,
        "hop_distance_A": group.hop_distance_A,
        "site_ratio": group.site_ratio,
        "enough_evidence": group.enough_evidence,
        "gates": [gate._asdict() for gate in group.gates],
        "warnings": list(group.warnings),
    }
    if charge_e is not None:
        entry |= _conductivities(group, result, charge_e)
    return entry


def _conductivities(group: GroupDiffusion, result: DiffusionResult, charge_e: float) -> Document:
    from mlip_autopipe.analysis.conductivity import nernst_einstein_conductivity
    from mlip_autopipe.analysis.results import ValueWithError

    if result.volume_A3 is None:
        raise InvalidInputError("--charge: a conductivity needs a cell that is periodic on all sides")
    tracer = ValueWithError(group.D_cm2_s, group.D_stderr_cm2_s)
    found: Document = {"charge_e": charge_e}
    for name, coefficient in (("nernst_einstein", tracer), ("collective", group.D_collective_cm2_s)):
        one = coefficient and nernst_einstein_conductivity(
            coefficient, group.n_atoms, result.volume_A3, charge_e, result.temperature_K
        )
        found |= _pair(f"conductivity_{name}", one, "_S_per_cm")
    return found


def _pair(name: str, estimate: ValueWithError | None, unit: str = "") -> Document:
    value, stderr = (None, None) if estimate is None else (estimate.value, _finite(estimate.stderr))
    return {f"{name}{unit}": value, f"{name}_stderr{unit}": stderr}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _files(document: Document, result: DiffusionResult) -> dict[str, bytes]:
    from mlip_autopipe.cli.diffusion_figure import diffusion_figure

    return {
        RESULT_NAME: (json.dumps(document, indent=2) + "\n").encode(),
        FIGURE_NAME: diffusion_figure(result, Path(document["trajectory"]).name),
    }


def _show(document: Document) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(
        Text(
            f"{document['trajectory']}: {document['n_atoms']} atoms, {document['n_frames']} frames, "
            f"{document['length_ps']:.4g} ps at {document['temperature_K']:g} K"
        ),
        soft_wrap=True,
    )
    table = Table(title="Diffusion coefficients (cm²/s), reference: " + document["reference"], title_justify="left")
    for heading in ("", "atoms", "tracer D", "collective D", "Haven ratio", "plateau (ps)", "hops"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, one in (document["species"] | document["groups"]).items():
        start, end = one["plateau_ps"]
        table.add_row(
            name,
            str(one["n_atoms"]),
            scientific(one["D_cm2_s"], one["D_stderr_cm2_s"]),
            scientific(one["D_collective_cm2_s"], one["D_collective_stderr_cm2_s"]),
            "" if one["haven_ratio"] is None else f"{one['haven_ratio']:.2f} ± {one['haven_ratio_stderr']:.2f}",
            f"{start:.3g} to {end:.3g}",
            str(one["n_hops"]),
        )
    console.print(table)
    for name, one in (document["species"] | document["groups"]).items():
        for key in ("nernst_einstein", "collective"):
            value = one.get(f"conductivity_{key}_S_per_cm")
            if value is not None:
                words = scientific(value, one[f"conductivity_{key}_stderr_S_per_cm"])
                console.print(Text(f"{name}: {key.replace('_', '-')} conductivity {words} S/cm"))
    for warning in document["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)


def scientific(value: float | None, stderr: float | None) -> str:
    """Write a value with its error and one exponent, with as many digits as the error has meaning: two.

    >>> scientific(2.4312e-5, 3.1e-7)
    '(2.431 ± 0.031)e-05'
    """
    if value is None:
        return ""
    if stderr is None or not stderr > 0:
        return f"{value:.3e}"
    power = math.floor(math.log10(max(abs(value), stderr)))
    digits = max(0, 1 - math.floor(math.log10(stderr)) + power)
    return f"({value / 10.0**power:.{digits}f} ± {stderr / 10.0**power:.{digits}f})e{power:+03d}"
