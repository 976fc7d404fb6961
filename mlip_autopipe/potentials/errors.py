"""What can go wrong with a potential."""

from __future__ import annotations

from mlip_autopipe.errors import AutoPipeError


class TrainingError(AutoPipeError):
    """A fit gave no usable potential: bad data, a loss that is not finite, a trainer that died.

    Attributes
    ----------
    last_lines
        What the trainer itself said last, when it is a program of its own.
    """

    def __init__(self, message: str, *, last_lines: str = "") -> None:
        super().__init__(f"{message}\n{last_lines}" if last_lines else message)
        self.last_lines = last_lines


class PotentialFileError(AutoPipeError):
    """The bytes of a potential are damaged, of another version, or not those that were asked for."""


class PredictionError(AutoPipeError):
    """A potential cannot say anything of this structure: not trained, unknown element, not finite."""
