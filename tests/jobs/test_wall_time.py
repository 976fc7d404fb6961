"""How long a job may still run."""

from __future__ import annotations

import time

import pytest

from mlip_autopipe.jobs.wall_time import END_VARIABLES, RESERVE_S, end_of_job, seconds_left


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch):
    for name in END_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(time, "time", lambda: 1e9)


def test_nobody_set_a_limit():
    assert seconds_left() is None


@pytest.mark.parametrize("name", END_VARIABLES)
def test_a_reserve_is_kept_for_storing(monkeypatch, name):
    monkeypatch.setenv(name, str(1_000_000_100))
    assert seconds_left() == pytest.approx(100 - RESERVE_S)


@pytest.mark.parametrize("end", ["1000000000", "999999000", "0"])
def test_time_that_is_over_is_not_negative(monkeypatch, end):
    monkeypatch.setenv("SLURM_JOB_END_TIME", end)
    assert seconds_left() == 0.0


def test_ours_comes_before_the_queue_s(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1000001000")
    monkeypatch.setenv("MLIP_AUTOPIPE_JOB_END", "1000000500")
    assert seconds_left() == pytest.approx(500 - RESERVE_S)


@pytest.mark.parametrize("text", ["", "UNLIMITED", "soon"])
def test_what_is_no_time_is_no_limit(monkeypatch, text):
    monkeypatch.setenv("MLIP_AUTOPIPE_JOB_END", text)
    assert seconds_left() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1000000100")
    assert seconds_left() is not None


def test_the_end_itself_is_what_the_queue_says(monkeypatch):
    assert end_of_job() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1000000100")
    assert end_of_job() == 1_000_000_100
