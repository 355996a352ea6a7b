"""A data set of crowd samples: what every reader gives and every sampler asks."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from workbench.data.sample import CrowdSample, Window
from workbench.data.transforms import crop_sample


class CrowdDataset(Dataset[CrowdSample]):
    """A data set of crowd samples, asked by index.

    Besides the samples it gives every image's name and, without decoding an image, its annotated points.
    """

    @property
    def names(self) -> list[str]:
        """The images' names, in the order of the data set."""
        raise NotImplementedError

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The annotated points of one image, read without decoding the image."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> CrowdSample:
        raise NotImplementedError

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of one image."""
        return self[index].size

    def window(self, index: int, choose: Callable[[tuple[int, int]], Window]) -> CrowdSample:
        """The part of one image that ``choose`` names when it is told (H, W); read alone where it can be."""
        sample = self[index]
        return crop_sample(sample, *choose(sample.size))

    def check(self) -> None:
        """Raise what is wrong with the annotations, so that it stops no training halfway; built-in sets are sound."""

    def counts(self) -> list[int]:
        """The number of people in every image, without decoding one."""
        return [len(self.points(index)) for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.names)

    def at(self, index: int) -> int:
        """``index`` counted from the start, from the end where it is negative.

        Raises:
            TypeError: not a whole number.
            IndexError: outside the data set.
        """
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"index is a {type(index).__name__}, expected a whole number")
        if not -len(self) <= index < len(self):
            raise IndexError(f"index is {index}, expected one within a data set of {len(self)} images")
        return index % len(self)
