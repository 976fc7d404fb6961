"""What every schema shares: unknown keys are refused, numbers must be finite."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

Matrix3x3 = tuple[
    tuple[float, float, float],
    tuple[float, float, float],
    tuple[float, float, float],
]
"""Rows of a 3x3 matrix."""

Vector3 = tuple[float, float, float]

Voigt = tuple[float, float, float, float, float, float]
"""Six components in the order xx, yy, zz, yz, xz, xy (ASE's order)."""


class StrictModel(BaseModel):
    """A document without room for misspelled keys, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_default=True)
