"""``mlip-auto``: the commands, and how errors end them.

Exit codes: 0 property stored, 1 failed, 2 invalid input, 3 ended without enough evidence.
Heavy libraries are imported inside the commands that need them, so that ``--help`` and ``status`` answer at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mlip_autopipe.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_INVALID_INPUT, AutoPipeError

app = typer.Typer(
    name="mlip-auto",
    help="From a few lines of YAML to a materials property with an error bar.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db_app = typer.Typer(help="The embedded database server of this folder.", no_args_is_help=True)
app.add_typer(db_app, name="db")
potential_app = typer.Typer(help="Potential files: from a run, and for other programs.", no_args_is_help=True)
app.add_typer(potential_app, name="potential")
dataset_app = typer.Typer(help="The labels that a run has paid for.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")
trajectory_app = typer.Typer(help="Trajectories: from a run, and for other programs.", no_args_is_help=True)
app.add_typer(trajectory_app, name="trajectory")
analyse_app = typer.Typer(help="Properties from data of any program.", no_args_is_help=True)
app.add_typer(analyse_app, name="analyse")

InputFile = Annotated[Path, typer.Argument(metavar="INPUT", help="The input file (YAML).")]
LaunchPadFile = Annotated[
    Path | None,
    typer.Option(
        "--launchpad",
        "-l",
        metavar="FILE",
        help="LaunchPad file; otherwise ./my_launchpad.yaml, ~/.fireworks/, or a server of this folder's own.",
    ),
]
Run = Annotated[str | None, typer.Argument(metavar="[RUN]", help="Run id or project name; omitted: the latest.")]
LearningRun = Annotated[str, typer.Argument(metavar="RUN", help="Run id or project name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OutDir = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for results.json and the plot.")]


def main() -> None:
    """Entry point of ``mlip-auto``: run a command and turn exceptions into one sentence and an exit code."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]  # wherever it stands
    debug = len(arguments) < len(sys.argv) - 1
    code: object
    try:
        code = app(args=arguments, standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _say_error("interrupted")
        code = EXIT_INTERRUPTED
    except AutoPipeError as error:
        if debug:
            raise
        _say_error(str(error))
        code = error.exit_code
    except BrokenPipeError:  # the reader of our output went away: nothing to say and nobody to say it to
        sys.stderr.close()
        code = EXIT_FAILED
    except Exception as error:
        usage = getattr(error, "format_message", None)  # click's usage errors, which typer may bring along itself
        if usage is not None:
            if sentence := usage().rstrip("."):  # none where the help was shown instead
                _say_error(f"{sentence}; see `mlip-auto --help`")
            code = EXIT_INVALID_INPUT
        elif debug:
            raise
        else:
            _say_error(f"unexpected {type(error).__name__}: {error} (run again with --debug for the traceback)")
            code = EXIT_FAILED
    sys.exit(code if isinstance(code, int) else 0)


def _say_error(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)


def _show_version(wanted: bool) -> None:
    if wanted:
        from mlip_autopipe import __version__

        print(f"mlip-auto {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """From a few lines of YAML to a materials property with an error bar."""


@app.command()
def init(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("input.yaml"),
    name: Annotated[str | None, typer.Option("--name", help="Project name.")] = None,
    elements: Annotated[str | None, typer.Option("--elements", help="Chemical symbols, e.g. Al or Ga,As.")] = None,
    crystal_structure: Annotated[
        str | None, typer.Option("--crystal-structure", help="Prototype, e.g. fcc; 'auto': the ground state.")
    ] = None,
    structure: Annotated[str | None, typer.Option("--structure", help="POSCAR, CIF or extxyz file.")] = None,
    goal: Annotated[str | None, typer.Option("--goal", help="Simulation goal.")] = None,
    calculator: Annotated[
        str | None, typer.Option("--calculator", help="ASE calculator by dotted name; omitted: GPAW.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write an input file; what no flag says is asked for."""
    from mlip_autopipe.cli.init import write_input

    write_input(
        output,
        name=name,
        elements=elements,
        crystal_structure=crystal_structure,
        structure=structure,
        goal=goal,
        calculator=calculator,
        force=force,
    )


@app.command()
def plan(input_file: InputFile, as_json: AsJson = False) -> None:
    """Show the full plan with reasons, its jobs and its cost; run nothing."""
    from mlip_autopipe.cli.plan import show_plan

    show_plan(input_file, as_json=as_json)


@app.command()
def run(input_file: InputFile, out: OutDir = Path("results"), launchpad: LaunchPadFile = None) -> None:
    """Submit a plan, run rockets here until it is done, and write its results; run again to resume."""
    from mlip_autopipe.cli.run import run_input

    raise typer.Exit(run_input(input_file, out, launchpad))


@app.command()
def submit(input_file: InputFile, launchpad: LaunchPadFile = None) -> None:
    """Store a plan in the LaunchPad for rockets started elsewhere (rlaunch, qlaunch)."""
    from mlip_autopipe.cli.run import submit_input

    submit_input(input_file, launchpad)


@app.command()
def export(
    input_file: InputFile,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
) -> None:
    """Write a plan as a LaunchPad YAML file for `lpad add`."""
    from mlip_autopipe.cli.run import export_input

    export_input(input_file, output)


@app.command()
def status(run_name: Run = None, launchpad: LaunchPadFile = None, as_json: AsJson = False) -> None:
    """Show all runs, or one run's jobs and failures."""
    from mlip_autopipe.cli.status import show_status

    show_status(run_name, launchpad, as_json=as_json)


@app.command()
def results(
    run_name: Run = None,
    launchpad: LaunchPadFile = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write results.json and the plot here.")] = None,
) -> None:
    """Show the property that a run found."""
    from mlip_autopipe.cli.results import show_results

    raise typer.Exit(show_results(run_name, launchpad, out, as_json=as_json))


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Extended XYZ with energies and forces.")],
    backend: Annotated[str, typer.Option("--backend", help="polymlp, or mace.")] = "polymlp",
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the files.")] = Path("potential"),
    held_out: Annotated[
        float, typer.Option("--held-out", metavar="FRACTION", help="Share kept for testing and calibration.")
    ] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Chooses what is held out.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the backend; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a potential on a dataset; needs no database."""
    from mlip_autopipe.cli.train import train_dataset

    train_dataset(
        dataset,
        out,
        backend=backend,
        held_out_fraction=held_out,
        seed=seed,
        assignments=settings or [],
        as_json=as_json,
    )


@potential_app.command("export")
def potential_export(
    run_name: LearningRun,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="File to write; omitted: RUN.mlip.")
    ] = None,
    launchpad: LaunchPadFile = None,
) -> None:
    """Write a run's potential and its model card, and show how ASE uses it."""
    from mlip_autopipe.cli.potential import export_potential

    export_potential(run_name, out, launchpad)


@potential_app.command("convert")
def potential_convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A potential file (.mlip) of backend polymlp.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="File to write.")] = Path("polymlp.yaml"),
) -> None:
    """Write a potential in the format of pypolymlp and its LAMMPS interface; says what that leaves out."""
    from mlip_autopipe.cli.potential import convert_potential

    convert_potential(file, out)


@dataset_app.command("export")
def dataset_export(
    run_name: LearningRun,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="File to write; omitted: RUN.extxyz.")
    ] = None,
    launchpad: LaunchPadFile = None,
) -> None:
    """Write a run's labels as extended XYZ with force masks."""
    from mlip_autopipe.cli.potential import export_dataset

    export_dataset(run_name, out, launchpad)


@trajectory_app.command("export")
def trajectory_export(
    run_name: LearningRun,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder; omitted: RUN-trajectories.")
    ] = None,
    launchpad: LaunchPadFile = None,
) -> None:
    """Write the production runs of goal diffusion as HDF5 trajectories, one file each."""
    from mlip_autopipe.cli.trajectory import export_trajectories

    export_trajectories(run_name, out, launchpad)


@trajectory_app.command("convert")
def trajectory_convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An HDF5 trajectory of this program.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="File to write: .extxyz, .xyz or .traj.")],
    every: Annotated[int, typer.Option("--every", min=1, metavar="N", help="Every N-th frame.")] = 1,
    unwrapped: Annotated[bool, typer.Option("--unwrapped", help="Positions follow the atoms out of the cell.")] = False,
) -> None:
    """Write a trajectory as extended XYZ or for ASE; needs no database."""
    from mlip_autopipe.cli.trajectory import convert_trajectory

    convert_trajectory(file, out, every=every, unwrapped=unwrapped)


@analyse_app.command("diffusion")
def analyse_diffusion(
    trajectory: Annotated[
        Path,
        typer.Argument(metavar="TRAJECTORY", help="HDF5 of a run, ASE .traj, extended XYZ, LAMMPS dump, or XDATCAR."),
    ],
    temperature: Annotated[float, typer.Option("--temperature", metavar="K", help="Temperature of the run.")],
    time_step: Annotated[
        float | None,
        typer.Option("--time-step-fs", metavar="DT", help="Time between frames; omitted: as the file says."),
    ] = None,
    start: Annotated[int, typer.Option("--start", min=0, metavar="FRAME", help="First frame to use.")] = 0,
    stop: Annotated[int | None, typer.Option("--stop", min=1, metavar="FRAME", help="Frame to stop before.")] = None,
    phase: Annotated[str | None, typer.Option("--phase", help="Check that it is a solid, or a liquid.")] = None,
    reference: Annotated[
        str,
        typer.Option("--reference", help="What atoms move relative to: all, none, or species of a framework (O,Ti)."),
    ] = "all",
    groups: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME=ATOMS", help="A further group: a=0-3,8; repeatable.")
    ] = None,
    types: Annotated[
        str | None, typer.Option("--types", metavar="SYMBOLS", help="Elements of a LAMMPS dump's types: Al,Cu.")
    ] = None,
    charges: Annotated[
        list[str] | None,
        typer.Option("--charge", metavar="SPECIES=CHARGE", help="Charge in e, for a conductivity; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Also write diffusion.json and a plot here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find diffusion coefficients with error bars; needs no database."""
    from mlip_autopipe.cli.analyse import analyse_diffusion as analyse

    code = analyse(
        trajectory,
        temperature_K=temperature,
        time_step_fs=time_step,
        start=start,
        stop=stop,
        phase=phase,
        reference=reference,
        groups=groups or [],
        types=types,
        charges=charges or [],
        out=out,
        as_json=as_json,
    )
    raise typer.Exit(code)


@analyse_app.command("hull")
def analyse_hull(
    entries: Annotated[
        Path,
        typer.Argument(
            metavar="ENTRIES", help="Extended XYZ or ASE .traj with energies, JSON of pymatgen entries, or CSV."
        ),
    ],
    samples: Annotated[
        int, typer.Option("--samples", min=1, metavar="N", help="Hulls drawn from the error bars.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Also write tables, pymatgen entries and plots here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find which of your own entries are stable, and with what probability; needs no database."""
    from mlip_autopipe.cli.analyse_hull import analyse_hull as analyse

    raise typer.Exit(analyse(entries, n_samples=samples, seed=seed, out=out, as_json=as_json))


@app.command()
def doctor(launchpad: LaunchPadFile = None) -> None:
    """Find and mend lost jobs, ownerless locks and inconsistent states in the LaunchPad."""
    from mlip_autopipe.cli.status import repair_launchpad

    repair_launchpad(launchpad)


@db_app.command("start")
def db_start(launchpad: LaunchPadFile = None) -> None:
    """Start the server, or find the one that runs."""
    from mlip_autopipe.cli.db import start_server

    start_server(launchpad)


@db_app.command("stop")
def db_stop(launchpad: LaunchPadFile = None) -> None:
    """Stop the server; its data stay."""
    from mlip_autopipe.cli.db import stop_server

    stop_server(launchpad)


@db_app.command("status")
def db_status(launchpad: LaunchPadFile = None) -> None:
    """Say where the server is and whether it answers."""
    from mlip_autopipe.cli.db import server_status

    server_status(launchpad)


if __name__ == "__main__":
    main()
