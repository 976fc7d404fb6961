"""What a model card refuses."""

import pytest
from pydantic import ValidationError

from mlip_autopipe.schemas.model_card import MAX_LABEL_IDS, CalibrationSummary, ErrorStatistics, ModelCard, TrainingData

DATA = {
    "configurations": 1,
    "atoms": 4,
    "energies": 1,
    "force_components": 12,
    "stresses": 1,
    "masked_atoms": 0,
}
CARD = {
    "state": "done",
    "created": "2030-01-02T03:04:05+00:00",
    "potential_sha256": "a" * 64,
    "backend": "polymlp",
    "model": "pair-4",
    "elements": ["Ni"],
    "training": DATA,
    "reference": {},
    "errors_training": {"configurations": 1},
    "calibration": {"factor": 1.0, "ready": False, "labels": 0, "nominal": 0.9},
    "validity": {"composition": {"Ni": [1, 1]}, "shortest_distance_A": {}},
    "versions": {},
}


def test_a_card():
    card = ModelCard.model_validate(CARD)
    assert card.schema_version == 1
    assert card.errors_held_out is None


def test_the_time_of_a_card_survives_a_database():
    card = ModelCard.model_validate(CARD)
    stored = card.model_dump()
    # a datetime would come back from MongoDB without its time zone
    assert stored["created"] == "2030-01-02T03:04:05+00:00"
    assert ModelCard.model_validate(stored) == card


@pytest.mark.parametrize(
    "change",
    [
        {"created": "2030-01-02T03:04:05"},
        {"potential_sha256": "a" * 63},
        {"state": "maybe"},
        {"schema_version": 2},
        {"colour": "blue"},
        {"cutoff_A": 0},
    ],
)
def test_refused(change):
    with pytest.raises(ValidationError):
        ModelCard.model_validate({**CARD, **change})


def test_numbers_that_cannot_be():
    with pytest.raises(ValidationError):
        ErrorStatistics(rmse=float("nan"), mae=0, largest=0, count=1)
    with pytest.raises(ValidationError):
        CalibrationSummary(factor=0, ready=True, labels=10, nominal=0.9)
    with pytest.raises(ValidationError):
        TrainingData(**DATA, label_ids=["x"] * (MAX_LABEL_IDS + 1))
