"""Locality-sensitive hashing of image patches: near patches get near codes.

A code is one number for each patch, so the codes of a data set are kept and its images are not. The paper's lemmas are
about bins of one width, ``floor((h + b) / r)``; its algorithm divides the range of codes of each group instead
(:mod:`workbench.sampling.partition`).
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.tensor_checks import check_tensor


def draw_projection(size: tuple[int, int], *, channels: int = 3, seed: int = 0) -> Float[Tensor, "c h w"]:
    """The vectors w_c of :func:`hash_codes`, one for each channel, each element standard normal.

    The normal distribution is 2-stable [LA Def. 1]: the difference of the codes of two patches is normal, too, with a
    standard deviation proportional to their Euclidean distance. So near patches get near codes.

    The vectors follow from (size, channels, seed), so these alone need to be kept.

    Args:
        size: (H, W) of a patch.
        channels: 3, or 1 for grey patches.
        seed: what they are drawn from.
    """
    for value, name in ((size[0], "height"), (size[1], "width"), (channels, "channels")):
        check_whole(value, name)
    check_whole(seed, "seed", least=0)
    return torch.randn(channels, *size, generator=torch.Generator().manual_seed(seed))


def hash_codes(images: Float[Tensor, "n c h w"], projection: Float[Tensor, "c h w"]) -> Float[Tensor, "n"]:
    r"""Hash codes [LA 1], :math:`h(i) = \frac{1}{C} \sum_{c=1}^C w_c^\top \mathrm{vec}(x_i(:, :, c))`.

    C is 3, or 1 for grey images (the paper's footnote).

    Args:
        images: (N, C, H, W).
        projection: (C, H, W), see :func:`draw_projection`.

    Raises:
        TypeError: not floating-point tensors.
        ValueError: shapes that do not fit, NaN or infinite values.
    """
    check_tensor(projection, "projection", shape=(None, None, None))
    check_tensor(images, "images", shape=(None, *projection.shape))
    return images.flatten(1) @ projection.to(images).flatten() / len(projection)


def hash_stream(images: Iterable[Tensor], projection: Float[Tensor, "c h w"]) -> Tensor:
    """:func:`hash_codes` of images that come one by one, each held in memory alone.

    Args:
        images: (C, H, W) each, in [0, 1] or of eight bits (then divided by 255).
        projection: (C, H, W); its dtype is what is computed in.

    Returns:
        (N,) codes.

    Raises:
        ValueError: no image, or one of another shape or with NaN or infinite values.
    """
    check_tensor(projection, "projection", shape=(None, None, None))
    vectors = projection.flatten() / len(projection)
    codes: list[float] = []
    for number, image in enumerate(images):
        if image.shape != projection.shape:
            raise ValueError(
                f"image {number} has shape {tuple(image.shape)}, the projection {tuple(projection.shape)}; "
                "expected the same"
            )
        code = float(image.to(vectors).flatten() @ vectors) / (255 if image.dtype == torch.uint8 else 1)
        if not math.isfinite(code):  # the sum of all pixels tells what a look at each would
            raise ValueError(f"image {number} holds values that are NaN or infinite, expected finite values")
        codes.append(code)
    if not codes:
        raise ValueError("images is empty, expected at least one")
    return projection.new_tensor(codes)


def collision_probability(distance: float, width: float) -> float:
    r"""Probability that two points fall into one bin [LA Lemma 1] [LA 2] [LA 3], in closed form for the Gaussian.

    With :math:`s = r / c` it is :math:`\operatorname{erf}(s / \sqrt 2) - \sqrt{2 / \pi}\, (1 - e^{-s^2 / 2}) / s`. The
    second line of the paper's equation 3 prints the last term's factor as :math:`1 / (\sqrt 2 c r)`; it is
    :math:`\sqrt{2 / \pi} / (c r)`.

    Args:
        distance: c, the standard deviation of the difference of the two codes: the Euclidean distance of the points
            under one projection; for images of C channels under :func:`hash_codes` that of the images divided by C.
        width: r, of a bin.
    """
    check_positive(distance, "distance", zero=True)
    check_positive(width, "width")
    if distance == 0:
        return 1.0
    s = width / distance
    if s < 1e-3:  # the two terms nearly cancel: their series instead
        return s / math.sqrt(2 * math.pi) * (1 - s * s / 12)
    return math.erf(s / math.sqrt(2)) + math.sqrt(2 / math.pi) * math.expm1(-s * s / 2) / s


def collision_bound(distance: float, width: float) -> float:
    r"""The bound of :func:`collision_probability` [LA Lemma 2], with its arguments.

    :math:`\frac{2}{\sqrt\pi} \int_0^{r / (\sqrt 2 c)} e^{-x^2} dx`. The second term of the probability is dropped: for
    c >= r the bound is about twice the probability.
    """
    check_positive(distance, "distance", zero=True)
    check_positive(width, "width")
    return math.erf(width / (math.sqrt(2) * distance)) if distance else 1.0
