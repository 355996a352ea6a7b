"""Classifiers and inputs small enough to work out by hand, for the adversarial tests."""

import torch
from torch import nn


def linear(classes=3, pixels=16, *, seed=0, scale=1.0, dtype=torch.float64):
    """A linear softmax model on images (1, 4, 4)."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(pixels, classes).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(scale * torch.randn(classes, pixels, generator=generator, dtype=dtype))
        layer.bias.copy_(0.1 * torch.randn(classes, generator=generator, dtype=dtype))
    return nn.Sequential(nn.Flatten(), layer).eval()


def network(*, seed=0, classes=4, dtype=torch.float64):
    """A small network with batch normalisation and dropout on images (1, 4, 4), with running statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(96, classes),
        ).to(dtype)
        model.train()
        model(torch.rand(64, 1, 4, 4, dtype=dtype))
    return model.eval()


def images(count=12, *, seed=1, low=0.0, high=1.0, dtype=torch.float64):
    """Images (count, 1, 4, 4) with pixels between ``low`` and ``high``."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, 1, 4, 4, generator=generator, dtype=dtype)


def own_labels(model, x):
    """The model's own answers."""
    with torch.no_grad():
        return model(x).argmax(dim=1)
