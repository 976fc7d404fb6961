"""Pressure tensors along a run."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from mlip_autopipe.dynamics.pressure_record import PressureRecord
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.errors import InvalidInputError


class Silent(EMT):
    """Knows no stress."""

    implemented_properties = ("energy", "forces")


def settings():
    return MDSettings(ensemble="nvt_nose_hoover", temperature_K=900.0, time_step_fs=3.0, anchor_interval=20, seed=7)


def copper():
    return bulk("Cu", "fcc", a=3.7, cubic=True).repeat((2, 2, 1))


def test_a_record_is_minus_the_stress_of_ase_with_the_ideal_gas():
    record = PressureRecord(30)
    end = run_md(settings(), copper(), EMT(), 30, pressures=record).atoms
    end.calc = EMT()
    expected = -end.get_stress(include_ideal_gas=True) / units.GPa
    assert record.tensors_GPa.shape == (1, 6)
    np.testing.assert_allclose(record.tensors_GPa[0], expected, rtol=1e-4, atol=1e-4)


def test_pieces_record_what_the_whole_records_once(tmp_path):
    whole, path, pieces = PressureRecord(7), tmp_path / "md.ckpt", []
    run_md(settings(), copper(), EMT(), 130, pressures=whole)
    # on and off the anchors, from which steps are repeated, and on and off the records
    for stop in (20, 56, 57, 57, 101, 130):
        record = PressureRecord(7)
        assert run_md(settings(), copper(), EMT(), stop, checkpoint_path=path, pressures=record).step == stop
        pieces.append(record.tensors_GPa)
    assert len(whole.tensors_GPa) == 130 // 7
    np.testing.assert_array_equal(np.concatenate(pieces), whole.tensors_GPa)


def test_an_ideal_gas_has_its_pressure_in_every_direction():
    atoms = bulk("Ar", "sc", a=20.0).repeat((3, 3, 3))
    record = PressureRecord(1)
    free = LennardJones(epsilon=1e-9, sigma=1.0, rc=3.0)
    run_md(settings().model_copy(update={"ensemble": "nve"}), atoms, free, 3, pressures=record)
    means = record.tensors_GPa.mean(axis=0)
    kinetic = (len(atoms) - 1) * units.kB * 900.0 / atoms.get_volume() / units.GPa
    assert means[:3].mean() == pytest.approx(kinetic, rel=1e-4)


def test_a_calculator_without_stress_is_refused():
    with pytest.raises(InvalidInputError, match="needs the stress"):
        run_md(settings(), copper(), Silent(), 3, pressures=PressureRecord(1))
