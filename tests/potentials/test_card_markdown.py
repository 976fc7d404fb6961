from __future__ import annotations

import itertools
from datetime import UTC, datetime

from mlip_autopipe.potentials.card import build_model_card
from mlip_autopipe.potentials.card_markdown import card_markdown, error_rows
from mlip_autopipe.schemas.model_card import ModelCard
from tests.potentials.helpers import emt_set
from tests.potentials.toys import ShiftedEMT


def card(elements: tuple[str, ...] = ("Ni",), **more: object) -> ModelCard:
    return build_model_card(
        ShiftedEMT(elements),
        emt_set(2, 0, elements, 3.6),
        potential_sha256="b" * 64,
        created=datetime(2030, 1, 2, 3, 4, tzinfo=UTC),
        **more,
    )


def test_everything_that_matters_is_there() -> None:
    text = card_markdown(card(held_out=emt_set(2, 1), seeds={"split": 5}, temperature_K=(300, 900), run_id="ni-1"))
    for part in ("b" * 64, "ni-1", "2030-01-02 03:04 UTC", "300 to 900 K", "shortest Ni-Ni", "seed of split", "A^3"):
        assert part in text
    assert "not calibrated" in text.lower()


def test_tables_are_aligned() -> None:
    lines = card_markdown(card()).splitlines()
    for before, after in itertools.pairwise(lines):
        if before.startswith("|") and after.startswith("|"):
            assert len(before) == len(after)
            assert before.count("|") == after.count("|")


def test_error_rows() -> None:
    rows = {row[0]: row[1:] for row in error_rows(card(held_out=emt_set(2, 1)))}
    assert rows["energy (meV/atom)"] == ("2", "2", "2", "2")
    assert rows["force (meV/A)"] == ("28.9", "23.3", "28.9", "23.3")
    assert rows["stress (GPa)"] == ("0.5",) * 4
    assert len(rows) == 3
    assert {row[0]: row[3:] for row in error_rows(card())}["force (meV/A)"] == ("-", "-")


def test_an_alloy_has_rows_per_element() -> None:
    rows = error_rows(card(("Cu", "Au")))
    assert [row[0] for row in rows][2:4] == ["force on Cu (meV/A)", "force on Au (meV/A)"]
    assert "fraction of Au" in card_markdown(card(("Cu", "Au")))


def test_failures_and_warnings_are_visible() -> None:
    text = card_markdown(card(failure="too few labels", warnings=["take care"]))
    assert "**Failed:** too few labels" in text
    assert "- take care" in text
