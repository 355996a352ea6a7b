"""Active tests: a problem that certainly has an adversarial example, which an attack must find.

An attack that finds nothing has proved nothing. So each image gets a twin of the model: the same network with a new
linear readout of its output, chosen so that a known point of the budget's ball is answered wrongly. An attack that
misses such points on a model is too weak for that model, and its figures there are no evidence of robustness.

Reference:
    Zimmermann, Brendel, Tramer and Carlini, "Increasing Confidence in Adversarial Robustness Evaluations", NeurIPS
    2022.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.adversarial.attacks import Model, attacked, check_inputs, flat, into_cube
from workbench.adversarial.robustness import Attack
from workbench.adversarial.tasks import Targets, gap
from workbench.checks import check_positive, check_whole

PASSED = 0.95
"""Share of the adversarial examples that an attack must find."""
TWIN_TOLERANCE = 0.25  # of a counter's twin, as in workbench.adversarial.tasks.counting


class Twin(nn.Module):
    """A model with a new readout for one image; see :func:`build_twin`.

    The readout is :math:`r(z) = w^T (f(z) - f(x)) / s` of the model's flat output f. It is 0 at the image x, and from
    1 on the answer is wrong.

    Args:
        model: the model f.
        clean: f(x), flat.
        direction: w / s.
        gap: how far the first class lies above the second at x, for a classifier; None for a counter.
        classes: of a classifier; the third and later classes follow the second at a distance.
    """

    clean: Tensor
    direction: Tensor

    def __init__(self, model: Model, clean: Tensor, direction: Tensor, *, gap: float | None, classes: int = 2) -> None:
        super().__init__()
        self.model = model
        self.gap = gap
        self.classes = classes
        self.register_buffer("clean", clean)
        self.register_buffer("direction", direction)

    def readout(self, x: Tensor) -> Float[Tensor, "b"]:
        """How far each input is on the way to a wrong answer: 0 at the image, wrong from 1 on."""
        return (flat(self.model(x)) - self.clean) @ self.direction

    def forward(self, x: Float[Tensor, "b *shape"]) -> Tensor:
        """Logits (B, K), right while the first is largest; or densities (B, 1, 1, 1), right for about one person."""
        value = self.readout(x)
        if self.gap is None:  # an error of a tenth of the tolerance at the image, since at none the slope is zero
            return (1 + TWIN_TOLERANCE * (0.1 + 0.9 * value)).reshape(-1, 1, 1, 1)
        second = self.gap * (value - 1)
        lower = self.gap * 0.1 * torch.arange(self.classes - 1, device=x.device, dtype=value.dtype)
        return torch.cat([torch.zeros_like(second)[:, None], second[:, None] - lower], dim=1)

    @property
    def right(self) -> Targets:
        """The right answer to one image: class 0, or one person."""
        return [self.clean.new_zeros(1, 2)] if self.gap is None else torch.zeros(1, dtype=torch.long)


def build_twin(
    model: Model,
    x: Float[Tensor, "1 *shape"],
    epsilon: float,
    *,
    counts: bool = False,
    inner: int = 64,
    reach: float = 0.5,
    hardness: float = 0.9,
    generator: torch.Generator | None = None,
) -> Twin | None:
    r"""The twin of a model at one image, with an adversarial example in the L-infinity ball of radius epsilon.

    Random points within ``reach`` epsilon of the image must stay right, and one random corner of the ball is answered
    wrongly. The readout's direction is Fisher's discriminant between the two,
    :math:`w = (\Sigma + \lambda I)^{-1} (f(b) - \bar f)`. The answer changes at ``hardness`` of the way from the
    farthest inner point to the corner. A classifier's twin is as sure of the image as the model is of its own answer
    there, so that a loss that is flat on the model is flat on the twin, too.

    Args:
        model: any model whose output is one tensor.
        x: one image, in [0, 1].
        epsilon: the radius.
        counts: the model is a counter, and the attack one that raises a count.
        inner: number of inner points.
        reach: their largest distance, as a share of epsilon.
        hardness: where the answer changes.
        generator: of the points, on x's device; torch's own if None.

    Returns:
        The twin, or None where the corner is no farther along the readout than the inner points.
    """
    check_inputs(x, x)
    check_positive(epsilon, "epsilon")
    check_whole(inner, "inner", least=2)
    for name, share in (("reach", reach), ("hardness", hardness)):
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share!r}, expected a number between 0 and 1")
    if len(x) != 1:
        raise ValueError(f"x has {len(x)} images, expected one")
    draw = torch.empty(inner + 1, *x.shape[1:], dtype=x.dtype, device=x.device).uniform_(-1, 1, generator=generator)
    offsets = torch.cat([draw[:1].sign(), reach * draw[1:]])
    with attacked(model), torch.no_grad():
        outputs = model(torch.cat([x, (x + epsilon * offsets).clamp(0, 1)]))
        values = flat(outputs).double()
    clean, corner, others = values[0], values[1], values[2:]
    spread = others - others.mean(dim=0)
    # (S^T S / n + ridge)^-1 by Woodbury's identity: a density has far more cells than there are inner points
    ridge = inner * (1e-6 * spread.square().sum() / (inner * spread.shape[1]) + torch.finfo(torch.double).tiny)
    way = corner - others.mean(dim=0)
    inside = torch.linalg.solve(spread @ spread.T + ridge * torch.eye(inner).to(spread), spread @ way)
    direction = (way - spread.T @ inside) / way.norm().clamp(min=torch.finfo(torch.double).tiny)
    farthest, reached = float(((others - clean) @ direction).max()), float((corner - clean) @ direction)
    threshold = max(farthest, 0.0) + hardness * (reached - max(farthest, 0.0))
    if not (reached > farthest and threshold > 0):
        return None
    sure = None if counts else float(gap(outputs[:1], outputs[:1].argmax(dim=1)).clamp(min=1e-3))
    classes = 2 if counts else outputs.shape[1]
    twin = Twin(model, clean.to(x), (direction / threshold).to(x), gap=sure, classes=classes).eval()
    with torch.no_grad():  # in the precision of x, too
        known = twin.readout((x + epsilon * offsets[:1]).clamp(0, 1))
        return twin if float(known) > 1 and float(twin.readout(x)) < 1 else None


class ActiveTest(NamedTuple):
    """How an attack did on the twins of a model.

    Attributes:
        found: share of the twins on which the attack found an adversarial example.
        random: share on which a random corner of the ball is one; near 1 the test is too easy to say anything.
        twins: number of twins.
        images: number of images; the others have no twin.
    """

    found: float
    random: float
    twins: int
    images: int

    @property
    def passed(self) -> bool:
        """Whether the attack may be believed on this model."""
        return self.twins > 0 and self.found >= PASSED


def active_test(
    model: Model,
    x: Float[Tensor, "b *shape"],
    attack: Callable[[Model, Tensor, Targets], Tensor],
    *,
    epsilon: float,
    counts: bool = False,
    seed: int = 0,
    **options: float,
) -> ActiveTest:
    """Let an attack look for the adversarial examples that twins of the model have.

    Args:
        model: the model whose robustness the attack is to measure.
        x: (B, ...), in [0, 1]; one twin an image.
        attack: from model, inputs and targets to inputs; see :mod:`workbench.adversarial.robustness`. It is called with
            one image at a time. For a counter, one that raises the count or its error.
        epsilon: its budget, in the L-infinity norm.
        counts: the model is a counter.
        seed: of the twins.
        options: of :func:`build_twin`.

    Raises:
        ValueError: x is not in [0, 1], the attack leaves the ball, or an option is out of range.
    """
    check_inputs(x, x)
    draw = torch.Generator(device=x.device).manual_seed(seed)
    found = lucky = twins = 0
    for image in x.split(1):
        twin = build_twin(model, image, epsilon, counts=counts, generator=draw, **options)  # type: ignore[arg-type]
        corner = torch.empty_like(image).uniform_(-1, 1, generator=draw).sign()
        if twin is None:
            continue
        targets = twin.right if counts else twin.right.to(x.device)  # type: ignore[union-attr]
        moved = attack(twin, image, targets).detach()
        far = float((moved - image).abs().max())
        if far > epsilon + 1e-5:  # room for rounding
            raise ValueError(f"the attack goes {far:g} far, expected at most {epsilon:g}")
        with torch.no_grad():
            tried = torch.cat([moved, into_cube(image + epsilon * corner, image, image.new_tensor(epsilon))])
            hit, luck = (twin.readout(tried) > 1).tolist()
        found, lucky, twins = found + hit, lucky + luck, twins + 1
    return ActiveTest(found / max(twins, 1), lucky / max(twins, 1), twins, len(x))


def active_tests(
    models: Mapping[str, Model], x: Float[Tensor, "b *shape"], attacks: Mapping[str, Attack], **options: float
) -> tuple[dict[tuple[str, str], ActiveTest], list[str]]:
    """Test every attack on every model.

    Args:
        models: by name.
        x: (B, ...), in [0, 1].
        attacks: by name.
        options: of :func:`active_test`, ``epsilon`` among them.

    Returns:
        The tests by the names of model and attack, and a sentence for each that is not passed. Such a model's figures
        under that attack must not be shown as robustness.
    """
    tests = {
        (model, attack): active_test(models[model], x, attacks[attack], **options)  # type: ignore[arg-type]
        for model in models
        for attack in attacks
    }
    faults = []
    for (model, attack), test in tests.items():
        if not test.twins:
            faults.append(
                f"model {model!r} has no twin at any of {test.images} images: attack {attack!r} is not tested"
            )
        elif not test.passed:
            faults.append(
                f"attack {attack!r} finds {round(test.found * test.twins)} of the {test.twins} adversarial examples "
                f"that twins of model {model!r} have: its figures there are no evidence of robustness"
            )
    return tests, faults
