"""Run ``mlip-auto`` inside this process and see its exit code and what it prints."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mlip_autopipe.cli.app import main


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["mlip-auto", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return call
