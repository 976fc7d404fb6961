"""``mlip-auto train``: a potential from a dataset, without a run or a database."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.cli.files import require_writable, write_all
from mlip_autopipe.cli.potential_figure import potential_figure
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from mlip_autopipe.potentials.train_alone import TrainedAlone
    from mlip_autopipe.schemas.model_card import ModelCard

POTENTIAL_NAME = "potential.mlip"


def train_dataset(
    dataset: Path,
    out: Path,
    *,
    backend: str,
    held_out_fraction: float,
    seed: int,
    assignments: Sequence[str] = (),
    as_json: bool,
) -> None:
    """Train on a dataset and write potential, model card and figure into a folder, all or nothing."""
    from mlip_autopipe.potentials.dataset import TrainingSet
    from mlip_autopipe.potentials.train_alone import train_alone

    settings = parse_settings(assignments)
    require_writable(out)
    data = TrainingSet.read_extxyz(dataset)
    with redirect_stdout(sys.stderr):  # a trainer may talk, and what is printed here may be read by a program
        trained = train_alone(
            data,
            created=datetime.now(UTC),
            backend=backend,
            held_out_fraction=held_out_fraction,
            seed=seed,
            settings=settings,
        )
    files = write_all(out, {POTENTIAL_NAME: trained.blob.data, **card_files(trained.card), **_figure(trained)})
    if as_json:
        card = trained.card.model_dump(mode="json")
        print(json.dumps({"files": [str(path) for path in files], "model_card": card}, indent=2))
        return
    print_card(trained.card)
    print("wrote " + ", ".join(str(path) for path in files))
    print_usage(out / POTENTIAL_NAME)


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """Return the settings of ``NAME=VALUE`` texts; a value is what it is in YAML.

    >>> parse_settings(["members=3", "device=cpu"])
    {'members': 3, 'device': 'cpu'}

    Raises
    ------
    InvalidInputError
        There is no ``=``, or the value is not valid YAML.
    """
    import yaml

    found = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise InvalidInputError(f"--set {text}: write NAME=VALUE, e.g. --set cutoff_A=5.0")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InvalidInputError(f"--set {text}: {value!r} is not a valid YAML value") from None
    return found


def card_files(card: ModelCard, stem: str = "model_card") -> dict[str, bytes]:
    """Return the two files of a model card by name."""
    from mlip_autopipe.potentials.card_markdown import card_markdown

    text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    return {f"{stem}.json": text.encode(), f"{stem}.md": card_markdown(card).encode()}


def print_card(card: ModelCard) -> None:
    """Print what matters most of a card."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mlip_autopipe.potentials.card_markdown import error_rows

    console = Console(highlight=False)
    size = f", {card.parameters} parameters" if card.parameters is not None else ""
    held_out = card.held_out.configurations if card.held_out else 0
    console.print(f"[bold]{' '.join(card.elements)}[/]: {card.backend} {card.model}{size}", soft_wrap=True)
    table = Table(title=f"Errors on {card.training.configurations} training and {held_out} held-out configurations")
    table.title_justify = "left"
    for column in ("", "training RMSE", "MAE", "held-out RMSE", "MAE"):
        table.add_column(column, justify="right" if column else "left")
    for row in error_rows(card):
        table.add_row(*row)
    console.print(table)
    c = card.calibration
    if c.coverage is not None:
        console.print(
            f"{c.nominal:.0%} interval of forces: held for {c.coverage:.0%} of the atoms of {c.coverage_labels} labels"
        )
    for warning in card.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)


def print_usage(potential: Path) -> None:
    """Print how ASE uses a potential file."""
    from mlip_autopipe.potentials.files import usage_example

    print("\nUse it from ASE (atoms: any ase.Atoms):")
    print("\n".join(f"    {line}" for line in usage_example(potential).splitlines()))


def _figure(trained: TrainedAlone) -> dict[str, bytes]:
    from mlip_autopipe.potentials.validation import compare

    title = f"{' '.join(trained.card.elements)}, {trained.card.backend} {trained.card.model}"
    training = compare(trained.potential, trained.training)
    held_out = compare(trained.potential, trained.held_out, with_std=True)
    return {"parity.png": potential_figure(training, held_out, title)}
