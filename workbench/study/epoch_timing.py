"""What a way of making batches costs: epochs of training with each of several samplers, taking turns."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from workbench.checks import check_whole
from workbench.data.sample import CrowdSample, collate
from workbench.losses.base import CrowdLoss
from workbench.training.evaluation import count_people


def epoch_seconds(
    samplers: Mapping[str, Any],
    model: nn.Module,
    loss: CrowdLoss,
    patches: Dataset[CrowdSample],
    *,
    rounds: int = 5,
    learning_rate: float = 1e-5,
) -> dict[str, float]:
    """Median seconds of an epoch with each sampler, after one that does not count.

    The samplers take turns, so that whatever else the machine does hits all alike, and an epoch's time is divided by
    the samples that it showed and multiplied by the number of patches: epochs of LADP differ in length by less than a
    batch. Time is this process's own, all its threads together.

    Args:
        samplers: name -> sampler.
        model: trained on, with all of them.
        loss: its stride must be the model's.
        patches: what the samplers draw from.
        rounds: epochs of each that count.
        learning_rate: small, so that the model stays much as it is.
    """
    check_whole(rounds, "rounds")
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    samples = len(patches)  # type: ignore[arg-type]
    for turn in range(rounds + 1):
        for name, sampler in samplers.items():
            begun, shown = time.process_time(), 0
            sampler.start(turn)
            for step, batch in enumerate(DataLoader(patches, batch_sampler=sampler, collate_fn=collate)):
                density = model(batch.images.contiguous(memory_format=torch.channels_last))
                loss(density, batch.points).backward()
                optimizer.step()
                optimizer.zero_grad()
                if sampler.learns:
                    sampler.observe(step, batch.counts.numpy(), count_people(density.detach()).numpy())
                shown += len(batch)
            if turn:
                seconds[name].append((time.process_time() - begun) / shown * samples)
    return {name: statistics.median(values) for name, values in seconds.items()}
