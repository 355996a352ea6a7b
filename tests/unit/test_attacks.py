import copy
import warnings

import pytest
import torch
from small_classifiers import images, linear, network, own_labels
from torch import nn

from workbench.adversarial import counting, fgsm, pgd
from workbench.adversarial.attacks import input_gradient
from workbench.adversarial.tasks import CLASSIFICATION, MARGIN_LOSS, confidence_gap


def reached(moved, x):
    return (moved - x).flatten(1).abs().amax(dim=1)


def length(moved, x):
    return (moved - x).flatten(1).norm(dim=1)


def test_fgsm_on_a_linear_model_moves_along_the_sign_worked_out_by_hand():
    model, x = linear(classes=2), images(low=0.3, high=0.7)
    y = own_labels(model, x)
    weight = model[1].weight.detach()
    # d loss / d x = p_o (w_o - w_y) for two classes, whatever x is
    direction = (weight[1 - y] - weight[y]).sign().view_as(x)
    assert torch.equal(fgsm(model, x, y, 0.1), x + 0.1 * direction)
    assert torch.equal(fgsm(model, x, 1 - y, 0.1, targeted=True), x + 0.1 * direction)


def test_pgd_on_a_linear_model_ends_in_the_corner_and_stays_there():
    model, x = linear(classes=2), images(low=0.3, high=0.7)
    y = own_labels(model, x)
    moved = pgd(model, x, y, 0.1, 0.03, 10)
    torch.testing.assert_close(moved, fgsm(model, x, y, 0.1), rtol=0, atol=1e-12)
    # three steps of 0.03 do not reach the ball's border
    torch.testing.assert_close(reached(pgd(model, x, y, 0.1, 0.03, 3), x), torch.full((12,), 0.09, dtype=x.dtype))


def test_l2_steps_follow_the_gradient_to_the_sphere():
    model, x = linear(classes=2), images(low=0.4, high=0.6)
    y = own_labels(model, x)
    weight = model[1].weight.detach()
    direction = (weight[1 - y] - weight[y]).view_as(x)
    direction = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(pgd(model, x, y, 0.3, 0.2, 4, norm="l2"), x + 0.3 * direction)
    torch.testing.assert_close(fgsm(model, x, y, 0.3, norm="l2"), x + 0.3 * direction)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("options", [{}, {"random_start": True}, {"momentum": 0.9}, {"targeted": True}])
def test_nothing_leaves_the_ball_or_the_range(norm, options):
    model, x = network(), images()
    x[0], x[1] = 0.0, 1.0
    y = own_labels(model, x)
    epsilon = torch.linspace(0, 0.6, len(x), dtype=x.dtype)
    moved = pgd(model, x, y, epsilon, 0.2, 7, norm=norm, generator=torch.Generator().manual_seed(0), **options)
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    far = reached(moved, x) if norm == "linf" else length(moved, x)
    assert bool((far <= epsilon + 1e-12).all())
    assert torch.equal(moved[0], x[0])  # a radius of zero
    assert float(far[3:].min()) > 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_epsilon_a_sample_is_one_run_a_sample(norm):
    model, x = network(), images()
    y = own_labels(model, x)
    epsilon = torch.linspace(0.01, 0.4, len(x), dtype=x.dtype)
    together = pgd(model, x, y, epsilon, None, 6, norm=norm, momentum=0.5)
    alone = [
        pgd(model, x[i : i + 1], y[i : i + 1], float(epsilon[i]), None, 6, norm=norm, momentum=0.5) for i in range(12)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        fgsm(model, x, y, epsilon),
        torch.cat([fgsm(model, x[i : i + 1], y[i : i + 1], float(epsilon[i])) for i in range(12)]),
    )


def test_attacks_raise_the_loss_and_targeted_ones_reach_the_target():
    model, x = network(), images(64)
    y = own_labels(model, x)
    before = CLASSIFICATION.losses(model(x), y)
    assert bool((CLASSIFICATION.losses(model(pgd(model, x, y, 0.3)), y) > before).all())
    assert bool(
        (MARGIN_LOSS.losses(model(pgd(model, x, y, 0.3, task=MARGIN_LOSS)), y) > -confidence_gap(model(x), y)).any()
    )
    target = (y + 1) % 4
    hits = (own_labels(model, pgd(model, x, target, 0.4, steps=20, targeted=True)) == target).double().mean()
    assert float(hits) > 0.5


def test_the_start_is_drawn_from_the_generator_alone():
    model, x = network(), images()
    y = own_labels(model, x)

    def attack(seed):
        return pgd(model, x, y, 0.2, 0.05, 2, random_start=True, generator=torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    assert torch.equal(attack(3), attack(3))
    assert not torch.equal(attack(3), attack(4))
    assert torch.equal(state, torch.get_rng_state())


def test_a_model_in_train_mode_is_attacked_in_eval_mode_with_a_warning_and_put_back():
    model, x = network(), images()
    y = own_labels(model, x)
    expected = pgd(model, x, y, 0.2)
    model.train()
    model[1].eval()  # a frozen layer stays frozen
    before = copy.deepcopy(model.state_dict())
    with pytest.warns(UserWarning, match="attacked in train mode"):
        assert torch.equal(pgd(model, x, y, 0.2), expected)
    assert [module.training for module in model] == [True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.warns(UserWarning, match="train mode"), pytest.raises(ValueError, match="classes"):
        fgsm(model, x, y + 9, 0.2)
    assert model.training
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pgd(model.eval(), x, y, 0.2)


def test_neither_the_input_nor_the_parameters_get_a_gradient():
    model, x = network(), images().requires_grad_()
    y = own_labels(model, x)
    kept = x.detach().clone()
    moved = pgd(model, x, y, 0.2)
    assert not moved.requires_grad
    assert torch.equal(x, kept)
    assert x.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_attacks_work_where_gradients_are_off():
    model, x = network(), images()
    y = own_labels(model, x)
    expected = pgd(model, x, y, 0.2)
    with torch.no_grad():
        assert torch.equal(pgd(model, x, y, 0.2), expected)
    with torch.inference_mode():
        assert torch.equal(pgd(model, x, y, 0.2), expected)


def test_a_flat_loss_moves_nothing_and_gives_no_nan():
    model, x = linear(scale=0.0), images()
    y = torch.zeros(12, dtype=torch.long)
    for options in ({}, {"norm": "l2"}, {"momentum": 0.9}, {"norm": "l2", "momentum": 0.9}):
        assert torch.equal(pgd(model, x, y, 0.2, **options), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_follows_the_input(dtype):
    model, x = network(dtype=dtype), images(dtype=dtype)
    assert pgd(model, x, own_labels(model, x), 0.1, norm="l2").dtype == dtype


def test_an_average_over_random_passes_is_the_gradients_mean():
    x, y = images(low=0.3, high=0.7), torch.zeros(12, dtype=torch.long)
    base = linear()
    factors = iter([1.0, 3.0])

    def noisy(inputs):
        return next(factors) * base(inputs)

    gradient, _ = input_gradient(noisy, x, y, average=2)
    single = [input_gradient(lambda inputs, by=by: by * base(inputs), x, y)[0] for by in (1.0, 3.0)]
    torch.testing.assert_close(gradient, (single[0] + single[1]) / 2)


def test_a_counter_is_attacked_through_its_count():
    class Brightness(nn.Module):
        def forward(self, x):
            return 2 * x.mean(dim=1, keepdim=True)

    x, points = images(2, low=0.4, high=0.6), [torch.zeros(3, 2), torch.zeros(90, 2)]
    model = Brightness().eval()
    truth = torch.tensor([3.0, 90.0], dtype=x.dtype)
    counts = model(x).sum(dim=(1, 2, 3))
    assert float(counts[0]) > 3  # over-counted: the error grows upwards, and downwards for the other one
    moved = fgsm(model, x, points, 0.1, task=counting("error"))
    shift = model(moved).sum(dim=(1, 2, 3)) - counts
    torch.testing.assert_close(shift, torch.tensor([3.2, -3.2], dtype=x.dtype))
    up = model(fgsm(model, x, points, 0.1, task=counting("over"))).sum(dim=(1, 2, 3)) - counts
    torch.testing.assert_close(up, torch.full((2,), 3.2, dtype=x.dtype))
    through_loss = counting(lambda density, one: (density.sum() - len(one[0])) ** 2)
    assert torch.equal(fgsm(model, x, points, 0.1, task=through_loss), moved)
    score = counting().score(model(x), points)
    torch.testing.assert_close(score, 1 - (counts - truth).abs() / truth)


@pytest.mark.bad_input
def test_bad_input_is_named():
    model, x = network(), images()
    y = own_labels(model, x)
    nan = x.clone()
    nan[0] = torch.nan
    for bad, message in [
        (nan, "x holds 16 values that are NaN"),
        (x + 0.5, r"x lies in .*, expected \[0, 1\]: normalisation belongs to the model"),
        (x - 0.5, r"expected \[0, 1\]"),
        (x.flatten(), r"x has shape \(192,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            fgsm(model, bad, y, 0.1)
    with pytest.raises(TypeError, match="x has dtype"):
        fgsm(model, (x > 0.5).long(), y, 0.1)
    with pytest.raises(TypeError, match=r"y is torch\.float64"):
        fgsm(model, x, y.double(), 0.1)
    with pytest.raises(ValueError, match="y has 3 entries, expected 12"):
        fgsm(model, x, y[:3], 0.1)
    with pytest.raises(ValueError, match="y holds classes 7 to 7, expected 0 to 3"):
        fgsm(model, x, torch.full((12,), 7), 0.1)
    for options, message in [
        ({"epsilon": -0.1}, "epsilon is -0.1"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
        ({"epsilon": torch.full((12,), -0.1)}, "epsilon holds values down to -0.1"),
        ({"epsilon": torch.ones(5)}, r"epsilon has shape \(5,\), expected \(12\)"),
        ({"epsilon": 0.1, "step_size": -1.0}, "step_size is -1.0"),
        ({"epsilon": 0.1, "steps": 0}, "steps is 0"),
        ({"epsilon": 0.1, "norm": "l1"}, "norm is 'l1'"),
        ({"epsilon": 0.1, "momentum": -1.0}, "momentum is -1.0"),
        ({"epsilon": 0.1, "average": 0}, "average is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            pgd(model, x, y, **options)
    with pytest.raises(ValueError, match="gradient by its input holds NaN"):
        fgsm(lambda inputs: model(inputs) * torch.nan, x, y, 0.1)
    with pytest.raises(ValueError, match=r"output has shape \(12, 1, 4, 4\)"):
        fgsm(lambda inputs: inputs, x, y, 0.1)
    with pytest.raises(ValueError, match="objective is 'more'"):
        counting("more")
    with pytest.raises(ValueError, match="tolerance is 0"):
        counting(tolerance=0)
    with pytest.raises(ValueError, match="expected a list of 12 tensors of points"):
        fgsm(lambda inputs: inputs, x, y, 0.1, task=counting())
