import pytest

from workbench.data import open_dataset
from workbench.models import build_model
from workbench.training.predict import localize


def test_a_data_set_is_localized_image_by_image():
    scenes = open_dataset("scenes", split="test", preset="small", length=3)
    model = build_model("mcnn", width=0.25)
    for method in ("local_maxima", "ot_m"):
        found = localize(model, (scenes[index] for index in range(3)), method)
        assert list(found) == scenes.names
        for one in found.values():
            assert one.points.shape == (len(one.scores), 2)
            assert ((one.points >= 0) & (one.points <= 128)).all()
    with pytest.raises(ValueError, match="twice, expected one of each name"):
        localize(model, [scenes[0], scenes[0]])


def test_the_options_reach_the_method():
    sample = open_dataset("scenes", preset="small", length=2)[0]
    model = build_model("mcnn", width=0.25)
    model.calibrate(0.1)
    assert len(localize(model, [sample], threshold=1e6)[sample.name].points) == 0
