"""Parts that the documents of all properties share."""

from __future__ import annotations

from math import hypot, isclose
from typing import Self

from pydantic import Field, model_validator

from mlip_autopipe.schemas.base import StrictModel


class Estimate(StrictModel):
    """A value with its standard error (same unit)."""

    value: float
    stderr: float = Field(ge=0)


class ErrorParts(StrictModel):
    """A standard error split by source, in the unit of the value; None: not measured."""

    statistics: float | None = Field(None, ge=0, description="From the finite length of the simulations.")
    model: float | None = Field(None, ge=0, description="From the potential's posterior.")
    check: float | None = Field(None, ge=0, description="From comparing the potential with the reference on frames.")
    finite_size: float | None = Field(None, ge=0, description="From the size of the simulation cell.")
    curvature: float | None = Field(None, ge=0, description="From finite differences in temperature.")

    def total(self) -> float:
        """All measured parts in quadrature."""
        return hypot(*(part for part in self.model_dump().values() if part is not None))


class SplitEstimate(Estimate):
    """A value whose standard error is the quadrature of its parts."""

    stderr_parts: ErrorParts

    @classmethod
    def from_parts(cls, value: float, **parts: float | None) -> Self:
        """Make an estimate from its value and the parts of its error by name."""
        split = ErrorParts(**parts)
        return cls(value=value, stderr=split.total(), stderr_parts=split)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not isclose(self.stderr, self.stderr_parts.total(), rel_tol=1e-6, abs_tol=1e-300):
            raise ValueError(
                f"stderr is {self.stderr:g}, but its parts add up to {self.stderr_parts.total():g} in quadrature"
            )
        return self


class Gate(StrictModel):
    """One physics check: a result that fails one is stored as failed."""

    name: str
    passed: bool
    detail: str
