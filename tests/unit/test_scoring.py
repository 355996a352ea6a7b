"""The scores of a benchmark, of a model whose answers are known."""

import pytest
import torch

from workbench.data import open_dataset
from workbench.models import CountingModel, ModelOutput, build_model
from workbench.training.evaluation import Counted
from workbench.training.scoring import chance_f1, score_images, thirds


class Telling(CountingModel):
    """Puts every person of the image that it is shown into the right cell, and ``more`` people into the first one."""

    def __init__(self, samples, more=0.0):
        super().__init__(stride=8)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.more = more
        self.known = {float(sample.image.sum()): sample.points for sample in samples}

    def outputs(self, images):
        density = torch.zeros(1, 1, images.shape[2] // 8, images.shape[3] // 8)
        for x, y in self.known[float(images.sum())].tolist():
            density[0, 0, min(int(y // 8), density.shape[2] - 1), min(int(x // 8), density.shape[3] - 1)] += 1
        density[0, 0, 0, 0] += self.more
        return ModelOutput(density + 0 * self.weight)


@pytest.fixture(scope="module")
def scenes():
    return open_dataset("scenes", preset="small", length=9, split="test")


def test_a_model_that_knows_has_no_error_and_finds_people_near_them(scenes):
    samples = [scenes[index] for index in range(len(scenes))]
    counted, found = score_images(Telling(samples), scenes, radius=8.0, ot_m=True)
    assert [row.truth for row in counted] == [sample.count for sample in samples]
    assert (found["mae"], found["rmse"], found["mae_sparse"], found["mae_dense"]) == (0, 0, 0, 0)
    assert found["precision"] > 0.9  # local maxima lie in cells with people
    assert 0 < found["recall"] <= 1
    assert found["f1_ot_m"] > found["f1"]  # it finds several people in one cell, too


def test_one_person_too_many_is_an_error_of_one_everywhere(scenes):
    samples = [scenes[index] for index in range(len(scenes))]
    _, found = score_images(Telling(samples, more=1.0), scenes)
    assert [found[name] for name in ("mae", "bias", "mae_sparse", "mae_dense")] == pytest.approx([1, 1, 1, 1])
    assert [found[f"game_{level}"] for level in (1, 2, 3)] == pytest.approx([1, 1, 1])
    assert not {"f1", "f1_ot_m", "baseline_f1", "baseline_mae"} & set(found)


def test_experts_and_groups_are_scored_as_counters_of_their_own(scenes):
    torch.manual_seed(0)
    model = build_model("hmode", width=1 / 16).eval()
    counted, found = score_images(model, scenes)
    assert {name for name in found if name.startswith("mae_E") or name.startswith("mae_Gr")} == {
        *("mae_E1", "mae_E2", "mae_E3"),
        *("mae_Gr1", "mae_Gr2", "mae_Gr3"),
    }
    with torch.no_grad():
        maps = [model.outputs(scenes[index].image[None]).experts[0, 1].sum() for index in range(len(scenes))]
    errors = [abs(float(people) - row.truth) for people, row in zip(maps, counted, strict=True)]
    assert found["mae_E2"] == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_the_baselines_are_those_of_the_mean_count_and_of_random_points(scenes):
    samples = [scenes[index] for index in range(len(scenes))]
    truth = sorted(sample.count for sample in samples)
    _, found = score_images(Telling(samples), scenes, mean=10.0, radius=5.0)
    assert found["baseline_mae"] == pytest.approx(sum(abs(count - 10) for count in truth) / 9)
    assert found["baseline_mae_dense"] == pytest.approx(sum(abs(count - 10) for count in truth[-3:]) / 3)
    assert found["baseline_f1"] == chance_f1(scenes, 5.0)
    assert chance_f1(scenes, 1.0) < 0.1 < chance_f1(scenes, 8.0) < chance_f1(scenes, 60.0)


def test_thirds_are_of_the_images_with_fewest_and_most_people():
    rows = [Counted(str(truth), float(truth), truth + error) for truth, error in ((1, 1), (50, 10), (9, 5), (2, 3))]
    assert thirds(rows) == {"mae_sparse": 1.0, "mae_dense": 10.0}
    assert thirds(rows[:2]) == {}


@pytest.mark.bad_input
def test_a_radius_below_zero_is_refused(scenes):
    with pytest.raises(ValueError, match="radius is -1"):
        score_images(Telling([scenes[index] for index in range(len(scenes))]), scenes, radius=-1.0)
