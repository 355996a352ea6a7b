"""What every batch sampler shares: epochs planned in advance, shares of several processes, and what is learnt.

Each is a ``batch_sampler`` for any torch ``DataLoader``. A batch is a list of :class:`~workbench.data.sample.Draw`:
the sample's index, the seed of everything random that is done to it, and how far it is zoomed. So the loader's workers
need no random state of their own, and an epoch can be taken up again at any step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from workbench.checks import check_whole
from workbench.data.sample import Draw

STREAM = 6  # keeps these draws apart from those that are made elsewhere from the same (seed, epoch)


@dataclass(kw_only=True, eq=False, repr=False)
class EpochBatches(Sampler[list[Draw]]):
    """A batch sampler whose epochs follow from the seed, the epoch and what was learnt before.

    A subclass writes :meth:`shown`, and :meth:`judge` if it learns; an option of its own is a field of the dataclass.
    The batches are those of all processes together: after :meth:`divide` each process gets its share of every batch.

    Args:
        samples: number of samples.
        batch_size: samples per batch, of all processes together; the last batch of an epoch may be smaller.
        seed: what everything is drawn from.

    Attributes:
        unseen: what is known of a sample that was not seen yet; None for a sampler that does not learn.
        known: (samples,), what was noted of each before this epoch. An epoch's plan depends on earlier epochs alone, so
            it can be made at its start, and again after a resumed run.
        noted: (samples,), what the next epoch will know.
    """

    unseen: ClassVar[float | None] = None

    samples: int = field(kw_only=False)
    batch_size: int = field(kw_only=False)
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(self.samples, "samples")
        check_whole(self.batch_size, "batch_size")
        check_whole(self.seed, "seed", least=0)
        self.noted = np.full(self.samples, self.unseen or 0, dtype=np.float64)
        self.known, self._known_in = self.noted.copy(), 0
        self.rank, self.ranks = 0, 1
        self.start(0)

    def shown(self, epoch: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, "n"], ArrayLike]:
        """The samples of an epoch in their order, and the zoom of each or of all."""
        raise NotImplementedError

    def plan(self, epoch: int) -> list[list[Draw]]:
        """The batches of an epoch; the last one may be smaller."""
        rng = np.random.default_rng([self.seed, epoch, STREAM])
        indices, zooms = self.shown(epoch, rng)
        return self.cut(make_draws(indices, zooms, rng))

    @property
    def per_batch(self) -> int:
        """The number of samples in a batch."""
        return self.batch_size

    def cut(self, draws: list[Draw]) -> list[list[Draw]]:
        """Cut into batches."""
        return [draws[start : start + self.per_batch] for start in range(0, len(draws), self.per_batch)]

    def judge(
        self, truth: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"], zooms: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n"]:
        """What to remember of samples shown at these zooms, from their people and the people predicted."""
        raise NotImplementedError

    def start(self, epoch: int, step: int = 0) -> None:
        """Let the next iteration begin at ``step`` of ``epoch``."""
        self.epoch, self.step = epoch, step
        self._batches: list[list[Draw]] | None = None
        if epoch != self._known_in:
            self.known, self._known_in = self.noted.copy(), epoch

    def divide(self, rank: int, ranks: int) -> None:
        """Give this process its share of each batch: every ``ranks``-th sample from ``rank`` on.

        Shares differ by one sample at most; a batch smaller than ``ranks`` is repeated, so that no share is empty.
        """
        check_whole(rank, "rank", least=0)
        check_whole(ranks, "ranks", least=rank + 1)
        self.rank, self.ranks = rank, ranks

    @property
    def batches(self) -> list[list[Draw]]:
        """The batches of the epoch that was started, of all processes together."""
        if self._batches is None:
            self._batches = self.plan(self.epoch)
        return self._batches

    @property
    def learns(self) -> bool:
        """Whether :meth:`observe` wants to be told of each step."""
        return self.unseen is not None

    def observe(self, step: int, truth: ArrayLike, predicted: ArrayLike) -> None:
        """Take in how a batch was counted; later epochs depend on it.

        Args:
            step: of the epoch that was started.
            truth: people in each sample of the batch, of all processes together and in its order.
            predicted: people counted in each.
        """
        if not self.learns:
            return
        draws = self.batches[step]
        zooms = np.array([draw.zoom for draw in draws])
        values = self.judge(np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64), zooms)
        self.noted[[draw.index for draw in draws]] = values

    def summary(self) -> dict[str, float]:
        """What a record says of the sampler, as plain numbers."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing where all follows from the seed and the epoch."""
        if not self.learns:
            return {}
        known, noted = torch.from_numpy(self.known), torch.from_numpy(self.noted)
        return {"epoch": self._known_in, "known": known, "noted": noted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint; :meth:`start` comes next.

        Raises:
            ValueError: it is of another number of samples.
        """
        if not self.learns:
            return
        if len(state["known"]) != self.samples:
            raise ValueError(f"the sampler's state is of {len(state['known'])} samples, expected {self.samples}")
        self._known_in = state["epoch"]
        self.known, self.noted = (state[name].numpy().copy() for name in ("known", "noted"))

    def __len__(self) -> int:
        return -(-self.samples // self.per_batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        for batch in self.batches[self.step :]:
            whole = batch * -(-self.ranks // len(batch)) if len(batch) < self.ranks else batch
            yield whole[self.rank :: self.ranks][: max(1, -(-len(batch) // self.ranks))]


def make_draws(indices: Int[np.ndarray, "n"], zooms: ArrayLike, rng: np.random.Generator) -> list[Draw]:
    """A draw of each sample, its seed drawn from ``rng``."""
    seeds = rng.integers(2**62, size=len(indices))
    factors = np.broadcast_to(np.asarray(zooms, dtype=np.float64), len(indices))
    return [Draw(int(i), int(s), float(z)) for i, s, z in zip(indices, seeds, factors, strict=True)]
