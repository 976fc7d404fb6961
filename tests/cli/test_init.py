"""``mlip-auto init`` writes inputs that validate, and never overwrites by accident."""

from mlip_autopipe.schemas.loading import load_user_config


def test_flags_make_a_valid_input(invoke, clean_dir):
    outcome = invoke(
        "init", "--elements", "Al", "--crystal-structure", "fcc", "--goal", "elastic", "--name", "al",
        "--calculator", "ase.calculators.emt.EMT",
    )  # fmt: skip
    assert outcome.code == 0
    config = load_user_config(clean_dir / "input.yaml")
    assert config.target_system.elements == ["Al"]
    assert config.reference.calculator == "ase.calculators.emt.EMT"
    assert len((clean_dir / "input.yaml").read_text().splitlines()) <= 6


def test_an_existing_file_is_kept_unless_forced(invoke, clean_dir):
    (clean_dir / "input.yaml").write_text("mine")
    flags = ("init", "--elements", "Cu", "--goal", "elastic", "--name", "cu")
    outcome = invoke(*flags)
    assert outcome.code == 2
    assert (clean_dir / "input.yaml").read_text() == "mine"
    assert invoke(*flags, "--force").code == 0
    assert load_user_config(clean_dir / "input.yaml").project_name == "cu"


def test_mistakes_are_said_and_nothing_is_written(invoke, clean_dir):
    outcome = invoke("init", "--elements", "Xy", "--goal", "elastic", "--name", "x")
    assert outcome.code == 2
    assert "Xy" in outcome.err
    outcome = invoke("init", "--goal", "elastic", "--name", "x")  # no terminal to ask on
    assert outcome.code == 2
    assert "--elements" in outcome.err
    assert list(clean_dir.iterdir()) == []
