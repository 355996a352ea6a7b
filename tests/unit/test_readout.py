"""Models whose last layer gives the maps of a loss instead of a density."""

import pytest
import torch

from workbench.models import ModelOutput, build_model
from workbench.models.readout import READOUTS


@pytest.mark.parametrize("readout", sorted(READOUTS))
@pytest.mark.parametrize("name", ["compact", "csrnet", "hrnet", "mcnn", "vgg19", "vgg16_bn"])
def test_every_model_with_one_head_has_every_readout(name, readout):
    torch.manual_seed(0)
    options = {} if name in ("mcnn", "hrnet") else {"width": 0.125}
    model = build_model(name, readout=readout, **options).eval()
    with torch.no_grad():
        result = model(torch.rand(2, 3, 50, 70), named=True)
    height, width = -(-50 // model.stride), -(-70 // model.stride)
    assert result.density.shape == (2, 1, height, width)
    assert (result.density >= 0).all()
    wanted = {
        "logits": {"logits": (2, 1, height, width)},
        "zero_inflated": {"zero_logits": (2, 2, height, width), "bin_logits": (2, 4, height, width)},
        "points": {"point_logits": (2, 4 * height * width, 2), "point_offsets": (2, 4 * height * width, 2)},
    }[readout]
    given = {key: tuple(value.shape) for key, value in result._asdict().items() if isinstance(value, torch.Tensor)}
    assert given == {"density": (2, 1, height, width), **wanted}


def test_a_new_head_starts_at_the_mean():
    for readout, mean in (("logits", 0.02), ("zero_inflated", 0.02), ("points", 0.02)):
        model = build_model("compact", readout=readout, norm="none").eval()
        model.calibrate(mean)
        torch.nn.init.zeros_(model.head.weight)
        with torch.no_grad():
            result = model(torch.rand(1, 3, 32, 32), named=True)
        if readout == "logits":
            expected = torch.sigmoid(result.logits)
        elif readout == "points":
            expected = torch.softmax(result.point_logits, dim=-1)[..., 1].unflatten(1, (-1, 4)).sum(dim=-1)
        else:
            expected = result.density
        assert torch.allclose(expected, torch.tensor(mean), rtol=0.35), readout


def test_the_queries_of_a_cell_lie_together():
    maps = torch.zeros(1, 16, 2, 3)
    maps[0, 4 * 2 + 1, 1, 2] = 5.0  # the person's logit of the third query of the last cell
    maps[0, 4 * 2 + 2, 1, 2] = 0.01  # and its offset in x, a hundredth of 100 px
    fields = READOUTS["points"].output(maps)
    result = ModelOutput(**fields)
    query = 4 * (1 * 3 + 2) + 2
    assert result.point_logits[0, query].tolist() == [0.0, 5.0]
    assert result.point_offsets[0, query].tolist() == pytest.approx([1.0, 0.0])
    assert result.point_logits.count_nonzero() == result.point_offsets.count_nonzero() == 1
    assert result.density.flatten().tolist() == [0, 0, 0, 0, 0, 1]


@pytest.mark.bad_input
def test_what_cannot_be_read_so_is_named():
    with pytest.raises(ValueError, match="readout is 'hits', expected one of 'density', 'logits'"):
        build_model("compact", readout="hits")
    for name in ("hmode", "dilated_vgg16"):
        with pytest.raises(ValueError, match=r"readout is 'logits', expected 'density': \w+ has no single head"):
            build_model(name, readout="logits", width=0.125)
