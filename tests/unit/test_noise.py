import pytest
import torch

from workbench.data.noise import NOISE_MODELS, gaussian_noise, uniform_noise

SIZE = (300.0, 400.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def centre(number):
    return torch.tensor([[200.0, 150.0]], dtype=torch.float64).expand(number, 2)


def test_uniform_noise_fills_its_square_evenly():
    shift = uniform_noise(centre(20000), SIZE, amount=0.02, generator=generator()) - centre(1)
    assert shift.abs().max() <= 6  # 2 % of the height
    assert shift.abs().max() > 5.99
    assert shift.mean().abs() < 0.05
    # a uniform variable on [-6, 6] has variance 12, and as many draws in each quarter
    torch.testing.assert_close(shift.var(dim=0), torch.full((2,), 12.0).double(), rtol=0.03, atol=0)
    quarters = torch.histc(shift[:, 0], bins=4, min=-6, max=6) / 20000
    torch.testing.assert_close(quarters, torch.full((4,), 0.25).double(), rtol=0.05, atol=0)


def test_gaussian_noise_has_its_deviation():
    shift = gaussian_noise(centre(20000), SIZE, amount=8.0, generator=generator()) - centre(1)
    torch.testing.assert_close(shift.std(dim=0), torch.full((2,), 8.0).double(), rtol=0.02, atol=0)
    within = (shift.abs() < 8).double().mean(dim=0)
    torch.testing.assert_close(within, torch.full((2,), 0.6827).double(), rtol=0.02, atol=0)
    assert torch.corrcoef(shift.T)[0, 1].abs() < 0.03


def test_units():
    points = torch.tensor([[100.0, 100.0], [104.0, 103.0], [300.0, 200.0], [300.0, 200.0]], dtype=torch.float64)

    def shift(amount, unit):
        return uniform_noise(points, SIZE, amount=amount, unit=unit, generator=generator()) - points

    torch.testing.assert_close(shift(0.01, "height"), shift(3.0, "pixels"))
    # the first two are 5 pixels apart, the others on one spot
    torch.testing.assert_close(shift(0.3, "spacing")[:2], shift(1.5, "pixels")[:2])
    torch.testing.assert_close(shift(0.3, "spacing")[2:], torch.zeros(2, 2).double())
    alone = uniform_noise(points[:1], SIZE, amount=0.01, unit="spacing", generator=generator())
    torch.testing.assert_close(alone, uniform_noise(points[:1], SIZE, amount=0.01, generator=generator()))


@pytest.mark.parametrize("model", NOISE_MODELS)
def test_points_are_reflected_at_the_border(model):
    # the same draw far from the border says where a point at the corner would have gone
    corner = torch.zeros(500, 2, dtype=torch.float64)
    noise = NOISE_MODELS[model]
    free = noise(centre(500), SIZE, amount=5.0, unit="pixels", generator=generator()) - centre(1)
    found = noise(corner, SIZE, amount=5.0, unit="pixels", generator=generator())
    torch.testing.assert_close(found, free.abs())
    assert (found > 0).all()  # nobody is left on the border itself


@pytest.mark.parametrize("model", NOISE_MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_seed_one_result_inside_the_image(model, dtype):
    points = torch.rand(50, 2, generator=generator(1), dtype=torch.float64) * torch.tensor([400.0, 300.0])
    noise = NOISE_MODELS[model]
    for amount in (1.0, 1e5):
        found = noise(points.to(dtype), SIZE, amount=amount, unit="pixels", generator=generator(7))
        assert found.dtype == dtype
        assert (found >= 0).all()
        assert (found <= torch.tensor([400.0, 300.0])).all()
        again = noise(points.to(dtype), SIZE, amount=amount, unit="pixels", generator=generator(7))
        assert torch.equal(found, again)
        other = noise(points.to(dtype), SIZE, amount=amount, unit="pixels", generator=generator(8))
        assert not torch.equal(found, other)
    double = noise(points, SIZE, amount=1.0, unit="pixels", generator=generator(7))
    single = noise(points.float(), SIZE, amount=1.0, unit="pixels", generator=generator(7))
    torch.testing.assert_close(double.float(), single)


@pytest.mark.parametrize("model", NOISE_MODELS)
def test_nothing_moves_without_noise_and_nobody_is_fine(model):
    points = torch.tensor([[0.0, 0.0], [400.0, 300.0], [0.1, 33.7], [1e-7, 299.99]])
    assert torch.equal(NOISE_MODELS[model](points, SIZE, amount=0.0, generator=generator()), points)
    assert NOISE_MODELS[model](points[:0], SIZE, amount=3.0, unit="spacing", generator=generator()).shape == (0, 2)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        ([[401.0, 10.0]], {}, "outside the image"),
        ([[float("nan"), 10.0]], {}, "NaN or infinite"),
        ([[1.0, 10.0]], {"amount": -1.0}, "amount is -1.0"),
        ([[1.0, 10.0]], {"unit": "heads"}, "unit is 'heads', expected one of 'height'"),
        ([[1.0, 10.0]], {"size": (0.0, 5.0)}, "height is 0.0"),
    ],
)
def test_bad_input(points, options, message):
    arguments = {"size": SIZE, "amount": 1.0, **options}
    with pytest.raises(ValueError, match=message):
        uniform_noise(torch.tensor(points), arguments.pop("size"), generator=generator(), **arguments)
