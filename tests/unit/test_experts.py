import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from workbench.data.sample import CrowdSample
from workbench.models import CountingModel, ModelOutput, build_model
from workbench.plots.basic import show_runs
from workbench.plots.hmode import (
    scale_legend,
    show_best_scale,
    show_regions,
    show_sweep,
    show_weights,
)
from workbench.study.experts import (
    OutputCounts,
    balance,
    best_scale,
    count_outputs,
    errors_by_level,
    foreground_counts,
    output_names,
    scale_shares,
)
from workbench.study.recipes import beside_published, errors_of

matplotlib.use("Agg")


def sample(people):
    return CrowdSample(image=torch.rand(3, 32, 32), points=torch.rand(people, 2) * 32, name=f"{people}")


def test_names_as_table_12_has_them():
    torch.manual_seed(0)
    result = build_model("hmode", width=0.03, norm="group").eval().outputs(torch.rand(1, 3, 32, 32))
    assert output_names(result) == ["E1", "E2", "E3", "Gr1", "Gr2", "Gr3", "E_out"]
    assert output_names(ModelOutput(torch.zeros(1, 1, 2, 2))) == ["E_out"]


def test_counts_of_every_output():
    torch.manual_seed(0)
    model = build_model("hmode", width=0.03, norm="batch")
    samples = [sample(3), sample(60)]
    counts = count_outputs(model, samples)
    assert model.training  # the mode it found
    assert counts.truth == [3, 60]
    maps = model.eval().outputs(samples[1].image[None]).maps().sum(dim=(2, 3))[0]
    assert [values[1] for values in counts.predicted.values()] == pytest.approx(maps.tolist(), rel=1e-5)


def test_errors_by_level():
    counts = OutputCounts([10, 20, 100], {"E1": [12, 20, 100], "E_out": [10, 20, 70]})
    rows = {(row["level"], row["output"]): row for row in errors_by_level(counts)}
    assert rows["overall", "E1"]["mae"] == pytest.approx(2 / 3)
    assert rows["overall", "E_out"]["rmse"] == pytest.approx(np.sqrt(300))
    assert rows["low", "E1"] == {"level": "low", "output": "E1", "images": 2, "mae": 1.0, "rmse": np.sqrt(2)}
    assert rows["medium", "E_out"]["mae"] == 30
    assert ("high", "E1") not in rows


def test_the_best_scale():
    experts = torch.tensor([[[0.0, 1.0, 2.0]], [[1.0, 0.4, 2.0]], [[0.4, 0.0, 2.0]]])
    best = best_scale(experts, torch.tensor([[0.5, 0.5, 0.5]]))
    assert best.tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(scale_shares(best, 3), [1 / 3] * 3)


def test_balance():
    gate = torch.tensor([0.2, 0.8]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert balance([gate, gate.flip(1), torch.full((1, 3, 2, 2), 1 / 3)]) == pytest.approx([0.8, 0.8, 1 / 3])


class Constant(CountingModel):
    """A density that is the same everywhere."""

    def __init__(self, value):
        super().__init__(stride=4)
        self.value = nn.Parameter(torch.tensor(value))

    def features_to_map(self, images):
        return self.value.expand(len(images), 1, images.shape[2] // 4, images.shape[3] // 4)


def test_the_foreground_alone():
    corner = CrowdSample(image=torch.rand(3, 64, 64), points=torch.tensor([[4.0, 4.0]]), name="corner")
    (row,) = foreground_counts(Constant(1.0), [corner], sigma=2.0)
    assert row.truth == pytest.approx(1, abs=0.02)
    assert 1 <= row.predicted < 30  # cells near the corner, not all 256
    (everywhere,) = foreground_counts(Constant(1.0), [corner], sigma=1000.0)
    assert everywhere.predicted == 256


def test_figures_say_what_they_show():
    figure = Figure()
    one, two, three, four = figure.subplots(1, 4)
    show_best_scale(one, torch.tensor([[0, 1], [2, 0]]), 3, stride=4, title="best")
    assert one.images[0].get_extent() == [0, 8, 8, 0]
    colors = {tuple(one.images[0].cmap(one.images[0].norm(k))) for k in range(3)}
    assert len(colors) == 3
    assert [patch.get_label() for patch in scale_legend(3)] == ["$E_1$", "$E_2$", "$E_3$"]
    assert show_weights(two, torch.rand(2, 2)).get_clim() == (0, 1)
    show_runs(three, {"A": [1.0, 3.0], "B": [2.0]}, xlabel="test MAE (people)", mark="B")
    assert [dots.get_offsets().tolist() for dots in three.collections] == [[[1.0, 0.0], [3.0, 0.0]], [[2.0, 1.0]]]
    assert {x for line in three.lines for x in line.get_xdata() if x == x} == {2.0}  # both means
    assert [label.get_text() for label in three.get_yticklabels()] == ["A", "B"]
    assert three.get_xlabel() == "test MAE (people)"
    show_sweep(four, {"3": [1.0, 3.0], "9": [4.0, 4.0]}, xlabel="S", mark="9")
    assert [list(line.get_ydata()) for line in four.lines if len(line.get_xdata()) == 2][2] == [2.0, 4.0]
    show_regions(two, torch.tensor([5, 0]), (2, 4), 8)
    assert [(patch.get_x(), patch.get_y()) for patch in two.patches] == [(8, 8), (0, 0)]
    assert [text.get_text() for text in two.texts] == ["1", "2"]


def test_variants_beside_what_is_printed():
    networks = pd.DataFrame({"variant": ["MoE", "MoE", "mine"], "seed": [0, 1, 0], "mae": [4.0, 6.0, 1.0]})
    table = beside_published(networks, {"MoE": "MoE"}, paper="hmode", table="IV", dataset="ShanghaiTech A")
    assert table.loc["MoE"].tolist() == [61.4, 5.0, pytest.approx(np.sqrt(2)), 2]
    assert np.isnan(table.loc["mine"].iloc[0])
    assert errors_of(networks, "MoE") == [4.0, 6.0]
    assert errors_of(networks, "nobody") == []
