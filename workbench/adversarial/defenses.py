"""Defences around a trained model: Pixel Deflection, and Random Padding and Resizing.

Both are differentiable apart from their random choices, so an attack can go through them end to end (LA Tables 9 and
10). They draw at every call, in eval mode, too. A single gradient follows one draw only and makes the attack weak; give
:func:`workbench.adversarial.pgd` an ``average`` above 1 to attack the mean.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_positive, check_whole
from workbench.tensor_checks import check_tensor


def deflect_pixels(
    images: Float[Tensor, "b c h w"], *, deflections: int, window: int, generator: torch.Generator | None = None
) -> Float[Tensor, "b c h w"]:
    """Replace some pixels by a pixel nearby, all channels together.

    Each place is drawn from the whole image. The pixel that goes there is drawn from the square of side 2 window + 1
    around it; a draw outside the image is moved to the border. Pixels are read from the unchanged image.

    Args:
        images: (B, C, H, W).
        deflections: number of places in each image; a place may be drawn twice.
        window: the largest distance of the other pixel, in pixels, along each axis.
        generator: of the draws, on the images' device; torch's own if None.

    Reference:
        Prakash et al., "Deflecting Adversarial Attacks with Pixel Deflection", CVPR 2018, sec. 4, without the
        class activation map.
    """
    check_tensor(images, "images", shape=(None, None, None, None))
    check_whole(deflections, "deflections", least=0)
    check_whole(window, "window")
    count, channels, height, width = images.shape

    def draw(most: int) -> Tensor:
        return torch.randint(most, (count, deflections), generator=generator, device=images.device)

    row, column = draw(height), draw(width)
    from_row = (row + draw(2 * window + 1) - window).clamp(0, height - 1)
    from_column = (column + draw(2 * window + 1) - window).clamp(0, width - 1)
    flat = images.flatten(2)
    source = torch.arange(height * width, device=images.device).repeat(count, 1)
    source = source.scatter(1, row * width + column, from_row * width + from_column)
    return flat.gather(2, source[:, None].expand(-1, channels, -1)).view_as(images)


def haar(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 4 hh ww"]:
    """One level of the orthonormal Haar transform of images with even sides: mean and three details."""
    a, b = images[..., ::2, ::2], images[..., ::2, 1::2]
    c, d = images[..., 1::2, ::2], images[..., 1::2, 1::2]
    return torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=2) / 2


def inverse_haar(bands: Float[Tensor, "b c 4 hh ww"]) -> Float[Tensor, "b c h w"]:
    """The inverse of :func:`haar`."""
    low, across, down, both = bands.unbind(2)
    top = torch.stack([low + across + down + both, low - across + down - both], dim=-1).flatten(-2)
    bottom = torch.stack([low + across - down - both, low - across - down + both], dim=-1).flatten(-2)
    return torch.stack([top, bottom], dim=-2).flatten(-3, -2) / 2


def soften(images: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    r"""Soft thresholding of wavelet details by BayesShrink's threshold :math:`\sigma^2 / \sigma_x` of each band.

    There is one level of Haar's wavelet, and :math:`\sigma_x^2 = \max(\mathrm{mean}(d^2) - \sigma^2, 0)` for a band d.
    An odd side is extended by its last row or column.

    Args:
        images: (B, C, H, W).
        sigma: the noise's standard deviation; 0 leaves the images as they are.

    Reference:
        Chang, Yu and Vetterli, "Adaptive Wavelet Thresholding for Image Denoising and Compression", IEEE TIP 2000.
    """
    check_positive(sigma, "sigma", zero=True)
    if sigma == 0:
        return images
    height, width = images.shape[-2:]
    bands = haar(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"))
    low, details = bands[:, :, :1], bands[:, :, 1:]
    signal = (details.square().mean(dim=(-2, -1), keepdim=True) - sigma**2).clamp(min=0).sqrt()
    # A band without signal is set to zero as a whole
    most = details.abs().amax(dim=(-2, -1), keepdim=True)
    threshold = torch.where(signal > 0, sigma**2 / signal.clamp(min=1e-12), most).detach()
    shrunk = details.sign() * (details.abs() - threshold).clamp(min=0)
    return inverse_haar(torch.cat([low, shrunk], dim=2))[..., :height, :width]


class PixelDeflection(nn.Module):
    """A model behind pixel deflection and wavelet denoising.

    The published setting is 200 deflections in images of 224 x 224 pixels, window 10, sigma 0.04. Here the deflections
    are a share of the pixels; 0.004 is that setting.

    Args:
        model: the model that is defended.
        share: deflections as a share of the image's pixels.
        window: the largest distance of the other pixel, in pixels, along each axis.
        sigma: standard deviation of the noise for :func:`soften`; 0 for no denoising.
        generator: of the draws, on the images' device; torch's own if None.

    Reference:
        Prakash et al., CVPR 2018; rows "Pixel Deflection" of LA Tables 9 and 10.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        share: float = 0.004,
        window: int = 10,
        sigma: float = 0.04,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_positive(share, "share", zero=True)
        check_whole(window, "window")
        check_positive(sigma, "sigma", zero=True)
        self.model = model
        self.share = share
        self.window = window
        self.sigma = sigma
        self.generator = generator

    def forward(self, images: Float[Tensor, "b c h w"]) -> Tensor:
        """The model's answer to the deflected, denoised images."""
        count = round(self.share * images.shape[-2] * images.shape[-1])
        moved = deflect_pixels(images, deflections=count, window=self.window, generator=self.generator)
        return self.model(soften(moved, self.sigma).clamp(0, 1))


class RandomPaddingResizing(nn.Module):
    """A model behind a random resizing and a random zero padding to a larger square.

    Published: 299 pixels are resized to a side drawn from [299, 331) by nearest neighbour, then padded to 331. The
    model must accept the larger size, unless ``restore`` shrinks the images back to their own.

    Args:
        model: the model that is defended.
        size: side of the padded image; the longer side and an eighth of it if None (published: a ninth).
        mode: "nearest" (published) or "bilinear".
        restore: shrink the padded image to the images' own size, bilinearly, for models of one size.
        generator: of the draws, on the CPU; torch's own if None.

    Reference:
        Xie et al., "Mitigating Adversarial Effects through Randomization", ICLR 2018; rows "Random Padding Resizing" of
        LA Tables 9 and 10.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        size: int | None = None,
        mode: str = "nearest",
        restore: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if size is not None:
            check_whole(size, "size")
        check_choice(mode, ("nearest", "bilinear"), "mode")
        self.model = model
        self.size = size
        self.mode = mode
        self.restore = restore
        self.generator = generator

    def forward(self, images: Float[Tensor, "b c h w"]) -> Tensor:
        """The model's answer to the resized and padded images; all images of a call share one draw, as published."""
        check_tensor(images, "images", shape=(None, None, None, None))
        height, width = images.shape[-2:]
        longer = max(height, width)
        size = self.size or longer + -(-longer // 8)
        if size < longer:
            raise ValueError(f"size is {size}, expected at least {longer}, the longer side of the images")

        def draw(most: int) -> int:
            return int(torch.randint(most, (), generator=self.generator))

        side = longer + draw(max(size - longer, 1))
        new = (max(1, side * height // longer), max(1, side * width // longer))
        resized = F.interpolate(images, size=new, mode=self.mode)
        top, left = draw(size - new[0] + 1), draw(size - new[1] + 1)
        padded = F.pad(resized, (left, size - new[1] - left, top, size - new[0] - top))
        if self.restore:
            padded = F.interpolate(padded, size=(height, width), mode="bilinear", antialias=True)
        return self.model(padded)
