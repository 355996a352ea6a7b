import pytest

from workbench.losses import build_loss
from workbench.study.comparison import PAPER_LOSSES, network_config


def test_every_loss_of_the_table_can_be_built():
    for name, options in PAPER_LOSSES.values():
        build_loss(name, **options)


def test_the_same_network_is_the_same_run():
    settings = {"seed": 1, "length": 80, "epochs": 4, "width": 0.1}
    one = network_config("l2", {"sigma": 6.4}, **settings)
    assert one == network_config("l2", {"sigma": 6.4}, **settings)
    assert one.identity != network_config("l2", {"sigma": 6.4}, **(settings | {"seed": 2})).identity
    assert network_config("l2", {}, **settings, batch_size=3).batch_size == 3


def test_published_networks_start_from_imagenet():
    config = network_config("l2", {}, seed=0, length=80, epochs=4, width=1.0, model="vgg19", dataset="ucf_qnrf")
    assert (config.weights, config.learning_rate, config.dataset_options) == ("imagenet", 1e-5, {})


@pytest.mark.bad_input
def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match="unknown key 'width_'"):
        network_config("l2", {}, seed=0, length=8, epochs=1, width=0.1, width_=3)
