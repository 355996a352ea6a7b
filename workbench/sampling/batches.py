"""Batch samplers: which patches make up each step.

Each is a ``batch_sampler`` for any torch ``DataLoader``. A batch is a list of :class:`~workbench.data.sample.Draw`:
the sample's index, and the seed of everything random that is done to it. So the workers need no random state of their
own, and an epoch can be taken up again at any step.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

from workbench.checks import check_whole
from workbench.data.sample import Draw


class RandomBatches(Sampler[list[Draw]]):
    """Every sample once an epoch, in an order drawn from (seed, epoch).

    Args:
        samples: number of samples.
        batch_size: samples per batch; the last batch may be smaller.
        seed: what the order and the samples' own seeds are drawn from.
    """

    def __init__(self, samples: int, batch_size: int, *, seed: int = 0) -> None:
        check_whole(samples, "samples")
        check_whole(batch_size, "batch_size")
        check_whole(seed, "seed", least=0)
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.start(0)

    def start(self, epoch: int, step: int = 0) -> None:
        """Let the next iteration begin at ``step`` of ``epoch``."""
        self.epoch, self.step = epoch, step

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.samples, generator=generator).tolist()
        seeds = torch.randint(2**62, (self.samples,), generator=generator).tolist()
        draws = [Draw(index, seed) for index, seed in zip(order, seeds, strict=True)]
        for step in range(self.step, len(self)):
            yield draws[step * self.batch_size : (step + 1) * self.batch_size]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing, since the order follows from the seed and the epoch."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
