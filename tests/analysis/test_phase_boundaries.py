from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, logsumexp

from mlip_autopipe.analysis.cluster_expansion import TRUSTWORTHY, fit_cluster_expansion
from mlip_autopipe.analysis.coexistence import CRITICAL_BARRIER, coexisting, find_gaps, lower_hull
from mlip_autopipe.analysis.composition_walk import walk_composition
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_decoration import common_supercell
from mlip_autopipe.analysis.order_disorder import order_disorder
from mlip_autopipe.analysis.phase_boundaries import PhaseBoundaries, calculate_phase_boundaries
from mlip_autopipe.analysis.solution_model import SolutionModel
from mlip_autopipe.analysis.temperature_walk import cool, heat
from mlip_autopipe.errors import InvalidInputError

from .lattice_models import (
    J_EV,
    NEIGHBOURS,
    SIXTEEN,
    all_decorations,
    cluster_space,
    conventional,
    decoration,
    enumerated,
    ising,
    many_body,
    parent,
    primitive,
)

pytest.importorskip("icet")


def expansion_of(name, pair_eV, sites=4):
    """Expansion of a nearest-neighbour model with the energy -pair_eV s s' - the pure elements' one."""
    structures = enumerated(name, sites)
    pairs = np.array([cluster_space(name, (2.9,)).get_cluster_vector(atoms)[2] for atoms in structures])
    return fit_cluster_expansion(primitive(name), structures, pair_eV * NEIGHBOURS[name] / 2 * (1 - pairs))


def regular_cell(n, omega, kelvin):
    """Exact beta F of n sites whose energy depends on the composition alone."""
    k = np.arange(n + 1)
    x = k / n
    entropy = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return n * omega * x * (1 - x) / (BOLTZMANN_EV_PER_K * kelvin) - entropy


@pytest.fixture(scope="module")
def sixteen():
    hamiltonian = many_body(SIXTEEN)
    states = all_decorations(16)
    return hamiltonian, 16 * hamiltonian.energy_eV(states), states.sum(axis=1)


@pytest.mark.parametrize("kelvin", [500.0, 1500.0])
def test_walks_along_the_composition_agree_with_all_decorations(sixteen, kelvin):
    hamiltonian, energies, counts = sixteen
    beta = 1 / (BOLTZMANN_EV_PER_K * kelvin)
    exact = np.diff([-logsumexp(-beta * energies[counts == k]) for k in range(17)])
    for start, end in ((0, 16), (16, 0)):
        walk = walk_composition(hamiltonian, np.full(16, start == 16), kelvin, end, sweeps=8000, seed=5)
        assert walk.ascending == (end > start)
        errors = np.sqrt((walk.influences**2).sum(axis=(0, 1)))
        pulls = (walk.steps - exact) / errors
        assert np.sqrt(np.mean(pulls**2)) < 2
        assert abs(walk.steps.sum() - exact.sum()) < 4 * np.sqrt(walk.variances().max())
        assert walk.variances()[0 if walk.ascending else -1] == 0
        assert errors.max() < 0.3
        spread = walk.draws(400, np.random.default_rng(0)).std(axis=0)
        np.testing.assert_allclose(spread, errors, rtol=0.25)


def test_walks_along_the_temperature_agree_with_all_decorations(sixteen):
    hamiltonian, energies, counts = sixteen
    inside = energies[counts == 8]
    start = all_decorations(16)[counts == 8][np.argmin(inside)]
    kelvin = np.geomspace(80, 2500, 30)
    beta = 1 / (BOLTZMANN_EV_PER_K * kelvin)
    exact = -logsumexp(-beta[:, None] * inside, axis=1) / 16
    images = np.sum(inside < inside.min() + 1e-9)
    cooled = cool(hamiltonian, start, kelvin, sweeps=2000, seed=1)
    heated = heat(hamiltonian, start, kelvin, sweeps=2000, seed=2)
    assert (np.abs(cooled.free_energies - exact) < 4 * cooled.stderrs + 2e-4).all()
    # one image of the ground state, not all of them
    assert (np.abs(heated.free_energies - exact - np.log(images) / 16) < 4 * heated.stderrs + 2e-4).all()
    assert heated.stderrs.max() < 0.02


def test_heated_and_cooled_runs_differ_by_the_number_of_images():
    state = decoration("B2")
    hamiltonian = ising("bcc", conventional("bcc", 3), -J_EV)
    start = hamiltonian.occupation(state)
    kelvin = np.geomspace(120, 1200, 50)
    found = []
    for seed in range(2):
        cold = cool(hamiltonian, np.random.default_rng(seed).permutation(start), kelvin, sweeps=500, seed=seed)
        hot = heat(hamiltonian, start, kelvin, sweeps=500, seed=seed + 9)
        found.append(54 * (hot.free_energies[-1] - cold.free_energies[-1]))
    assert np.mean(found) == pytest.approx(np.log(2), abs=0.35)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_coexistence_in_a_cell_is_the_common_tangent(share):
    model = SolutionModel(("A", "B"), (0.2,))
    kelvin = share * model.critical_temperature_K()
    ((low, high),) = model.miscibility_gaps(kelvin)
    curve = regular_cell(400, 0.2, kelvin)
    gaps = find_gaps(curve, curve[None])
    fractions, potentials = coexisting(curve, gaps)
    assert len(gaps) == 1
    np.testing.assert_allclose(fractions[0], [low, high], rtol=0.03)
    assert potentials[0] == pytest.approx(0, abs=1e-6)
    assert gaps[0].split == 200


def test_a_convex_curve_has_no_gap_even_when_it_is_noisy():
    rng = np.random.default_rng(0)
    curve = regular_cell(300, -0.05, 600)
    noise = np.cumsum(rng.normal(0, 0.15, (201, 301)), axis=1)
    noise -= np.linspace(0, 1, 301) * noise[:, -1:]
    for k in range(20):
        assert find_gaps(curve + noise[k], curve + noise[20:]) == []


def test_two_peaks_near_a_critical_point_are_one_phase():
    kelvin = SolutionModel(("A", "B"), (0.2,)).critical_temperature_K()
    curve = regular_cell(100, 0.2, 0.97 * kelvin)
    assert len(lower_hull(curve)) < 101
    assert find_gaps(curve, curve[None]) == []
    assert len(find_gaps(curve, curve[None], least_barrier=0.0)) == 1
    assert pytest.approx(np.log(2.173), abs=1e-3) == CRITICAL_BARRIER


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), tilt=st.floats(-5, 5), shift=st.floats(-100, 100))
def test_gaps_mirror_and_do_not_feel_a_tilt(seed, tilt, shift):
    """A term linear in the composition moves the chemical potential and nothing else."""
    rng = np.random.default_rng(seed)
    k = np.arange(121)
    curve = regular_cell(120, 0.0, 500) + sum(
        a * np.cos(np.pi * m * k / 120) for m, a in enumerate(rng.normal(0, 25, 6))
    )
    gaps = find_gaps(curve, curve[None])
    fractions, potentials = coexisting(curve, gaps)
    tilted = curve + tilt * k + shift
    others, moved = coexisting(tilted, find_gaps(tilted, tilted[None]))
    np.testing.assert_allclose(others, fractions, atol=1e-6)
    np.testing.assert_allclose(moved, potentials + tilt, atol=1e-6)
    mirrored, _ = coexisting(curve[::-1], find_gaps(curve[::-1], curve[None, ::-1]))
    np.testing.assert_allclose(1 - mirrored[::-1, ::-1], fractions, atol=1e-6)
    assert (np.diff(fractions.reshape(-1)) > -1e-9).all()


@pytest.fixture(scope="module")
def separating():
    return calculate_phase_boundaries(
        expansion_of("fcc", J_EV), [600.0, 900.0, 1050.0], sweeps=64, target_sites=110, seed=4
    )


def test_the_miscibility_gap_of_nearest_neighbours_closes_where_it_should(separating):
    """9.797 J / k after Lundow, Markstroem and Rosengren, 10.1080/14786430802680512."""
    peak = separating.consolute_temperature_K
    assert peak.value == pytest.approx(979.7, abs=3 * peak.stderr)
    assert peak.stderr < 60
    cold = separating.slices[0]
    (region,) = cold.two_phase
    assert region.low.value + region.high.value == pytest.approx(
        1, abs=4 * np.hypot(region.low.stderr, region.high.stderr)
    )
    # series for the spontaneous magnetisation of the dilute phase: one, two and three neighbouring atoms
    assert 0.018 < region.low.value < 0.03
    assert cold.phase_at(0.5) == ("solution", "solution")
    assert cold.phase_at(0.001) == ("solution",)
    assert separating.slices[-1].two_phase == ()
    assert separating.order_disorder == ()
    # mean field is too high by 12 / 9.8
    assert separating.baseline.critical_temperature_K() == pytest.approx(1200, rel=1e-3)
    assert all(gate.passed for gate in separating.gates)


def test_json_brings_a_diagram_back(separating):
    assert PhaseBoundaries.from_dict(json.loads(json.dumps(separating.to_dict()))) == separating


@pytest.fixture(scope="module")
def ordering():
    return calculate_phase_boundaries(expansion_of("bcc", -J_EV), [300.0, 900.0], sweeps=96, target_sites=128, seed=1)


def test_an_ordered_phase_is_recognised_and_disorders(ordering):
    """6.355 J / k after Lundow, Markstroem and Rosengren, 10.1080/14786430802680512."""
    (found,) = ordering.order_disorder
    assert found.phase == "AuCu"
    assert found.temperature_K.value == pytest.approx(635.5, rel=0.08)
    assert abs(found.temperature_K.value - 635.5) < 3 * found.temperature_K.stderr
    low, high = found.bracket_K
    assert low <= high
    assert low > 0.85 * 635.5
    assert high < 1.1 * 635.5
    cold, hot = ordering.slices
    assert cold.phase_at(0.5) == ("AuCu",)
    assert cold.phase_at(0.02) == ("solution",)
    assert hot.phase_at(0.5) == ("solution",)
    assert cold.two_phase == ()
    again = PhaseBoundaries.from_dict(json.loads(json.dumps(ordering.to_dict())))
    assert again == ordering
    assert again.order_disorder[0].hysteresis_K == found.hysteresis_K


def test_hysteresis_is_bridged_by_the_free_energies():
    """With few sweeps from both sides a first-order transition is passed late, and still found."""
    state = decoration("L1_2")
    cell = common_supercell([state], parent("fcc"), shortest_image_A=4.0, target_sites=250)
    from mlip_autopipe.analysis.lattice_hamiltonian import lattice_hamiltonian

    # second neighbours that like to be alike make the transition strongly first-order
    space = cluster_space("fcc", (4.0,))
    hamiltonian = lattice_hamiltonian(space, [0, 0, 6 * J_EV, -3 * J_EV], parent("fcc"), ("Au", "Cu"), cell)
    kelvin = np.geomspace(70, 1000, 45)
    found, runs = order_disorder(hamiltonian, state, kelvin, small=None, sweeps=24, seed=2)
    assert found.method in ("free energies", "heat capacity")
    low, high = found.bracket_K
    assert low is None or low < found.temperature_K.value + 30
    assert runs.heated.free_energies[0] < runs.cooled.free_energies[0] + 0.02
    assert runs.heated.free_energies[-1] > runs.cooled.free_energies[-1] - 0.01
    assert found.temperature_K.value < high * 1.05


def test_an_expansion_that_is_not_trusted_gives_no_temperatures():
    expansion = replace(expansion_of("bcc", -J_EV), cross_validation_error_eV=0.02)
    diagram = calculate_phase_boundaries(expansion, [300.0])
    assert diagram.slices == ()
    assert diagram.order_disorder == ()
    assert diagram.consolute_temperature_K is None
    (gate,) = [gate for gate in diagram.gates if not gate.passed]
    assert gate.name == TRUSTWORTHY
    assert "20 meV/atom" in gate.detail
    assert PhaseBoundaries.from_dict(json.loads(json.dumps(diagram.to_dict()))) == diagram


def test_bad_input_is_refused(sixteen):
    with pytest.raises(InvalidInputError, match="above 0 K"):
        calculate_phase_boundaries(expansion_of("bcc", -J_EV), [-5.0])
    with pytest.raises(InvalidInputError, match="other than its first"):
        walk_composition(sixteen[0], np.zeros(16), 300.0, 0, sweeps=100, seed=0)


def test_a_temperature_that_is_not_known_is_in_a_failed_gate_only(ordering):
    (found,) = ordering.order_disorder
    assert [(gate.name, gate.passed) for gate in found.gates[-2:]] == [
        ("temperature_known", True),
        ("stable_in_energies", True),
    ]
    unknown = found.with_expansion_error(2.0)
    assert unknown.temperature_K is None
    assert not unknown.gates[-1].passed
    assert f"{found.temperature_K.value:.0f} +-" in unknown.gates[-1].detail


def test_a_ground_state_that_the_energies_do_not_have_gets_no_temperature():
    true = expansion_of("bcc", -J_EV)
    energies = true.energies_eV.copy()
    (place,) = np.flatnonzero(true.predictions_eV == true.predictions_eV.min())
    energies[place] += 10 * J_EV  # another structure is stable, says what was expanded
    wrong = replace(true, energies_eV=energies)
    diagram = calculate_phase_boundaries(wrong, sweeps=24, target_sites=54, seed=1)
    (found,) = diagram.order_disorder
    assert found.temperature_K is None
    # the slices reach above where it disorders all the same, since it is in them
    assert diagram.slices[-1].temperature_K > found.bracket_K[1]
    assert found.bracket_K != (None, None)
    assert not found.gates[-1].passed
    assert "AuCu lies" in found.gates[-1].detail


def test_json_brings_an_ordering_diagram_back(ordering):
    assert PhaseBoundaries.from_dict(json.loads(json.dumps(ordering.to_dict()))) == ordering


def test_the_order_parameter_falls_from_perfect_order(ordering):
    (found,) = ordering.order_disorder
    kelvin, heated, cooled = np.array(found.order_parameters).T
    assert (np.diff(kelvin) > 0).all()
    assert heated[0] > 0.98
    low, high = found.bracket_K
    assert heated[kelvin < low].min() > 0.6 > heated[kelvin > 1.3 * high].max()
    assert cooled[kelvin > 1.3 * high].max() < 0.6
