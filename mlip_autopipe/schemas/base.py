"""What every schema shares: unknown keys are refused, numbers must be finite."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_validator

Matrix3x3 = tuple[
    tuple[float, float, float],
    tuple[float, float, float],
    tuple[float, float, float],
]
"""Rows of a 3x3 matrix."""

IntMatrix3x3 = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

Vector3 = tuple[float, float, float]

Voigt = tuple[float, float, float, float, float, float]
"""Six components in the order xx, yy, zz, yz, xz, xy (ASE's order)."""


def _structure_dict(value: Any) -> Any:
    # jobflow decodes stored structures on the way into a job; here they are plain data again
    return value.as_dict() if hasattr(value, "as_dict") else value


StructureDict = Annotated[dict[str, Any], BeforeValidator(_structure_dict)]
"""A pymatgen Structure as ``Structure.as_dict()``; a Structure is accepted, too."""


Instant = Annotated[AwareDatetime, PlainSerializer(lambda moment: moment.isoformat(), return_type=str)]
"""A moment with its time zone, stored as text: MongoDB would give a time back without the zone."""


class StrictModel(BaseModel):
    """A document without room for misspelled keys, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _without_store_marks(cls, data: Any) -> Any:
        # a JobStore adds @module, @class and @version, by which it finds the model again
        if isinstance(data, dict) and "@class" in data:
            return {key: value for key, value in data.items() if key not in ("@module", "@class", "@version")}
        return data
