"""What a configuration fills in by itself."""

from workbench.training.config import build_config, open_split


def test_a_training_takes_options_with_which_the_loss_can_be_trained():
    assert build_config(loss="generalized").loss_options == {"cost_offset": 1.0}
    assert build_config(loss="generalized", loss_options={}).loss_options == {}
    assert build_config(loss="generalized", loss_options={"tau": 1.0}).loss_options == {"tau": 1.0}
    assert build_config(loss="generalized", convention="official").loss_options == {}
    assert build_config(loss="l2").loss_options == {}


def test_the_seed_draws_the_scenes_too():
    def first(**options):
        return open_split(build_config(dataset_options={"preset": "small", "length": 2} | options, seed=7), "test")

    assert first().names[0] == "small-7-test-00000"
    assert first(seed=1).names[0] == "small-1-test-00000"


def test_an_earlier_configuration_reads():
    assert build_config(evaluate_on="test") == build_config()
