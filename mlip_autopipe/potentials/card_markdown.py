"""A model card as Markdown that reads well as plain text, too."""

from __future__ import annotations

from collections.abc import Sequence

from mlip_autopipe.schemas.model_card import ErrorStatistics, ModelCard, PotentialErrors, Range


def card_markdown(card: ModelCard) -> str:
    """Return the card as Markdown text."""
    blocks = [
        f"# Potential {' '.join(card.elements)} ({card.backend})",
        _state(card),
        _table(("", "value"), _identity(card)),
        "## Errors",
        _table(("", "training RMSE", "MAE", "held-out RMSE", "MAE"), error_rows(card)),
        *_warnings(card),
        "## Force uncertainty",
        _calibration(card),
        "## Range of validity",
        _table(("", "training data"), _validity(card)),
        "Outside this range the potential extrapolates; watch its force uncertainty there.",
        "## Data and reference",
        _table(("", "value"), _provenance(card)),
    ]
    return "\n\n".join(blocks) + "\n"


def error_rows(card: ModelCard) -> list[tuple[str, str, str, str, str]]:
    """Return one row per quantity: its name, RMSE and MAE on training data, RMSE and MAE on held-out data."""
    seen, unseen = card.errors_training, card.errors_held_out or PotentialErrors(configurations=0)
    rows = [
        ("energy (meV/atom)", seen.energy_meV_per_atom, unseen.energy_meV_per_atom),
        ("force (meV/A)", seen.force_meV_per_A, unseen.force_meV_per_A),
    ]
    if len(card.elements) > 1:
        by_element, unseen_by_element = seen.force_meV_per_A_by_element, unseen.force_meV_per_A_by_element
        rows += [(f"force on {e} (meV/A)", by_element.get(e), unseen_by_element.get(e)) for e in card.elements]
    rows.append(("stress (GPa)", seen.stress_GPa, unseen.stress_GPa))
    return [(name, *_pair(a), *_pair(b)) for name, a, b in rows]


def _pair(found: ErrorStatistics | None) -> tuple[str, str]:
    return ("-", "-") if found is None else (_number(found.rmse), _number(found.mae))


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _state(card: ModelCard) -> str:
    if card.state == "failed":
        return f"**Failed:** {card.failure}"
    return f"State: done. Created {card.created:%Y-%m-%d %H:%M %Z}."


def _identity(card: ModelCard) -> list[tuple[str, str]]:
    rows = [("sha256", card.potential_sha256), ("model", card.model)]
    if card.parameters is not None:
        rows.append(("parameters", str(card.parameters)))
    if card.cutoff_A is not None:
        rows.append(("cutoff", f"{card.cutoff_A:g} A"))
    if card.run_id is not None:
        rows.append(("run", card.run_id))
    return rows


def _warnings(card: ModelCard) -> list[str]:
    return ["## Warnings", "\n".join(f"- {warning}" for warning in card.warnings)] if card.warnings else []


def _calibration(card: ModelCard) -> str:
    c = card.calibration
    sentences = [
        f"Raw standard deviations are multiplied by {c.factor:.3g}.",
        f"Calibrated on {c.labels} fresh labels." if c.ready else f"Not calibrated: {c.labels} fresh labels only.",
    ]
    if c.coverage is not None:
        sentences.append(
            f"The {c.nominal:.0%} interval held for {c.coverage:.1%} of the atoms of {c.coverage_labels} labels, "
            + ("each left out of calibration." if c.coverage_method == "leave_one_out" else "predicted before use.")
        )
    return "\n".join(sentences)


def _validity(card: ModelCard) -> list[tuple[str, str]]:
    v = card.validity
    rows = []
    if v.temperature_K:
        rows.append(("temperature", _range(v.temperature_K, "K", 4)))
    if v.volume_per_atom_A3:
        rows.append(("volume per atom", _range(v.volume_per_atom_A3, "A^3", 4)))
    if len(v.composition) > 1:
        rows += [(f"fraction of {element}", _range(r, "", 3)) for element, r in v.composition.items()]
    rows += [(f"shortest {pair}", f"{distance:.3f} A") for pair, distance in v.shortest_distance_A.items()]
    if v.largest_force_eV_per_A is not None:
        rows.append(("largest force", f"{v.largest_force_eV_per_A:.3g} eV/A"))
    return rows


def _provenance(card: ModelCard) -> list[tuple[str, str]]:
    t, h = card.training, card.held_out
    held_out = f"{h.configurations} configurations, {h.force_components} force components" if h else "none"
    rows = [
        (
            "trained on",
            f"{t.configurations} configurations, {t.atoms} atoms, {t.energies} energies, {t.force_components} force "
            f"components, {t.stresses} stresses" + (f", {t.masked_atoms} masked atoms" if t.masked_atoms else ""),
        ),
        ("held out", held_out),
        ("reference", ", ".join(card.reference.engines) or "not known"),
        ("reference settings", ", ".join(card.reference.settings_hashes) or "not known"),
    ]
    if card.reference.core_time_s is not None:
        rows.append(("reference core time", f"{card.reference.core_time_s:.3g} s"))
    if t.label_ids_sha256:
        rows.append(("label ids (sha256)", t.label_ids_sha256))
    rows += [(f"seed of {name}", str(seed)) for name, seed in card.seeds.items()]
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())))
    return rows


def _range(values: Range, unit: str, digits: int) -> str:
    low, high = (f"{value:.{digits}g}" for value in values)
    return (low if low == high else f"{low} to {high}") + (f" {unit}" if unit else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    text = [f"| {' | '.join(cells)} |" for cells in padded]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])
