from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest

from mlip_autopipe.analysis.phase_boundaries import PhaseBoundaries
from mlip_autopipe.analysis.phase_slices import PhaseInterval, TemperatureSlice, TwoPhaseRegion
from mlip_autopipe.analysis.results import GateResult, ValueWithError
from mlip_autopipe.analysis.solution_model import SolutionModel
from mlip_autopipe.cli.phase_figure import (
    baseline_curves,
    phase_colours,
    phase_figure,
    phase_page,
    transitions,
    two_phase_areas,
)

MODEL = SolutionModel(("Ag", "Cu"), (0.2,))


def slice_at(kelvin, *ends):
    """A slice of solutions and ordered phases with gaps between them: names and ends in turn."""
    names, bounds = ends[::3], list(zip(ends[1::3], ends[2::3], strict=True))
    single = tuple(
        PhaseInterval(
            name, ValueWithError(low, 0.0 if low == 0 else 0.01), ValueWithError(high, 0.0 if high == 1 else 0.01)
        )
        for name, (low, high) in zip(names, bounds, strict=True)
    )
    two = tuple(
        TwoPhaseRegion((a.phase, b.phase), a.high, b.low, 0.1, 5.0)
        for a, b in pairwise(single)
        if b.low.value > a.high.value
    )
    return TemperatureSlice(kelvin, single, two, (0.0, 1.0), (0.0, 0.0), 0.0)


@pytest.fixture
def document():
    slices = (
        slice_at(300.0, "solution", 0.0, 0.02, "AgCu3", 0.74, 0.76, "solution", 0.99, 1.0),
        slice_at(500.0, "solution", 0.0, 0.1, "AgCu3", 0.7, 0.78, "solution", 0.95, 1.0),
        slice_at(700.0, "solution", 0.0, 0.3, "solution", 0.8, 1.0),
        slice_at(900.0, "solution", 0.0, 1.0),
    )
    boundaries = PhaseBoundaries(
        elements=("Ag", "Cu"),
        n_sites=256,
        sweeps=100,
        slices=slices,
        order_disorder=(),
        consolute_temperature_K=ValueWithError(850.0, 20.0),
        baseline=MODEL,
        gates=(GateResult("walks_agree", True, ""),),
    )
    made = boundaries.to_dict()
    ordered = {"phase": "AgCu3", "fractions": [0.25, 0.75], "method": "cumulants"}
    made["order_disorder"] = [{**ordered, "temperature_K": {"value": 610.0, "stderr": 9.0}}]
    return made


def test_areas_join_the_same_two_phases_only(document):
    areas = two_phase_areas(document)
    # two regions from 300 to 500 K; between 500 and 700 K the ordered phase is gone
    assert len(areas) == 2
    np.testing.assert_allclose(areas[0], [[0.02, 300], [0.74, 300], [0.7, 500], [0.1, 500]])
    np.testing.assert_allclose(areas[1], [[0.76, 300], [0.99, 300], [0.95, 500], [0.78, 500]])


def test_transitions_stand_at_their_compositions(document):
    ordered, top = transitions(document)
    assert (ordered["x"], ordered["kelvin"], ordered["stderr"]) == (0.75, 610.0, 9.0)
    assert "AgCu3 disorders at 610 ± 9 K" in ordered["text"]
    assert top["x"] == pytest.approx(0.55)
    assert top["kelvin"] == 850.0
    # the hottest slice below the top shows no gap any more
    document["slices"].insert(3, document["slices"][3] | {"temperature_K": 840.0})
    assert transitions(document)[1]["x"] == pytest.approx(0.55)


def test_the_baseline_is_the_common_tangent(document):
    ((x, kelvin),) = baseline_curves(document)
    for place, t in zip(x[::17], kelvin[::17], strict=True):
        ((low, high),) = MODEL.miscibility_gaps(t)
        assert min(abs(place - low), abs(place - high)) < 1e-9
    assert kelvin.max() < MODEL.critical_temperature_K()
    assert baseline_curves({**document, "baseline": SolutionModel(("Ag", "Cu"), (-0.1,)).to_dict()}) == []


def test_figures_show_every_phase_and_transition(document):
    assert phase_figure(document, "Ag-Cu").startswith(b"\x89PNG")
    page = phase_page(document, "Ag-Cu")
    assert page is not None
    for text in ("AgCu3", "solution", "top of the miscibility gap", "temperature (K)", "0.7000"):
        assert text in page
    assert "NaN" not in page.split("Plotly.newPlot")[-1]
    colours = phase_colours(document)
    assert len(set(colours.values())) == len(colours) == 2


def test_a_diagram_that_is_not_trusted_says_so(document):
    empty = copy.deepcopy(document)
    empty |= {"slices": [], "order_disorder": [], "consolute_temperature_K": None}
    empty["gates"] = [{"name": "transition_temperatures_trustworthy", "passed": False, "detail": ""}]
    assert phase_figure(empty, "Ag-Cu").startswith(b"\x89PNG")
    page = phase_page(empty, "Ag-Cu")
    assert page is not None
    assert "the expansion is not good enough" in page
