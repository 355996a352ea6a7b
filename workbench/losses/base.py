"""What all losses share: a module that compares predicted density maps with annotated points."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_positive
from workbench.models.base import ModelOutput
from workbench.tensor_checks import check_not_negative, check_points, check_tensor, tracing

Given = ParamSpec("Given")
Result = TypeVar("Result")

SOLVERS = ("auto", "screened", "batched")
"""How a batch is computed: image by image, as is fastest on a CPU, or all at once, in few launches for a GPU."""


def in_single(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Make a function compute float16 and bfloat16 tensors in float32, also inside ``torch.autocast``.

    The derivative of the cast returns the gradient in the input's own dtype. ``torch.compile`` leaves the function
    uncompiled. Transforms of ``torch.func`` raise ``RuntimeError``.
    """

    @functools.wraps(function)
    def run(*given: Given.args, **options: Given.kwargs) -> Result:
        wide = [_widened(value) for value in given]
        named = {name: _widened(value) for name, value in options.items()}
        values = [value.density if isinstance(value, ModelOutput) else value for value in (*given, *options.values())]
        tensors = [value for value in values if isinstance(value, Tensor)]
        if any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors):
            name = type(given[0]).__name__ if isinstance(given[0], nn.Module) else function.__name__
            raise RuntimeError(
                f"{name} runs inside a torch.func transform (vmap, grad), which crowd losses do not "
                "support: pass the whole batch in one call, and take gradients with torch.autograd"
            )
        kind = tensors[0].device.type if tensors else "cpu"
        casting = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        with torch.autocast(kind, enabled=False) if casting else nullcontext():
            return function(*wide, **named)  # type: ignore[arg-type]

    @functools.wraps(function)
    def entered(*given: Given.args, **options: Given.kwargs) -> Result:
        if torch.compiler.is_compiling():
            # the solvers are not torch code, so the compiler must leave the loss out
            return torch.compiler.disable(run)(*given, **options)
        return run(*given, **options)

    return entered


def _widened(value: Any) -> Any:
    """A half-precision tensor in float32, also inside a list or tuple; anything else unchanged."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, ModelOutput):
        return ModelOutput(*(_widened(one) for one in value))
    if isinstance(value, list | tuple):
        return [_widened(one) for one in value]
    return value


class CrowdLoss(nn.Module):
    """A loss of density maps against points; the mean over the batch.

    A subclass defines :meth:`image_terms` for one image, or :meth:`batch_terms` for all of them at once, and keeps its
    options as attributes. All coordinates are image pixels; the cell (r, c) of a density at stride s has its centre at
    ((c + 0.5) s, (r + 0.5) s).

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper", or "official" for what the published implementation does where it differs.

    Attributes:
        validate: whether the values of the arguments are checked at each call. The checks wait for the device.
        readout: what the model's last layer has to give for this loss, see :data:`workbench.models.readout.READOUTS`.
        maps: the fields of the model's named result that the loss reads where they are given. They may be signed.
        whole: whether the loss needs whole numbers of people as weights.
        solver: one of ``SOLVERS``, for losses that know both ways.
    """

    validate = True
    readout = "density"
    maps: tuple[str, ...] = ()
    whole = False
    solver = "auto"
    _given: dict[str, Any]

    def __new__(cls, *_: Any, **options: Any) -> "CrowdLoss":
        """Keep the options as they were given, for ``repr``."""
        loss = super().__new__(cls)
        object.__setattr__(loss, "_given", options)
        return loss

    def __init__(self, *, stride: int = 8, convention: str = "paper") -> None:
        super().__init__()
        check_positive(stride, "stride")
        check_choice(convention, ("paper", "official"), "convention")
        self.stride = stride
        self.convention = convention

    def extra_repr(self) -> str:
        """All options and their values, without those that are None."""
        values = {}
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            values[name] = getattr(self, name, self._given.get(name, parameter.default))
        if not self.validate:
            values["validate"] = False
        return ", ".join(f"{name}={value!r}" for name, value in values.items() if value is not None)

    def together(self, density: Tensor) -> bool:
        """Whether all images are computed at once: asked for, or by itself on any device but a CPU."""
        return self.solver == "batched" or (self.solver == "auto" and density.device.type != "cpu")

    def image_terms(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The named terms of one image; their sum is its loss."""
        raise NotImplementedError

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """The named terms of a batch, each the mean over its images; here image by image."""
        images = [
            self.image_terms(image[0], image_points, image_weights)
            for image, image_points, image_weights in zip(result.density, points, weights, strict=True)
        ]
        return {name: torch.stack([terms[name] for terms in images]).mean() for name in images[0]}

    @in_single
    def terms(
        self,
        density: Float[Tensor, "b 1 h w"] | ModelOutput,
        points: Sequence[Float[Tensor, "_ 2"]],
        weights: Sequence[Float[Tensor, "_"]] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The named terms of the loss, each the mean over the batch; they add up to the loss.

        float16 and bfloat16 are computed in float32, also inside ``torch.autocast``: the terms are float32, and the
        gradient has the density's dtype. In float16 a gradient above 65504 is infinite, as ``GradScaler`` expects.

        Args:
            density: (B, 1, H, W), people per cell, not below zero; or a model's named result, from which the loss
                reads its own maps. Those may be signed or have several channels.
            points: B tensors (N_i, 2), x then y, image pixels; N_i may be 0.
            weights: B tensors (N_i,), people per annotation; ones if None.

        Raises:
            TypeError: density, points or weights are not floating-point tensors.
            ValueError: wrong shapes or lengths, NaN or infinite values, negative values, points outside the image,
                more people in an image than :func:`most_people`.
            RuntimeError: inside ``torch.func.vmap`` or another transform of ``torch.func``.
        """
        result = density if isinstance(density, ModelOutput) else ModelOutput(density)
        maps = {name: getattr(result, name) for name in self.maps}
        points, weights = check_batch(
            result.density,
            points,
            weights,
            self.stride,
            values=self.validate,
            maps={name: values for name, values in maps.items() if values is not None},
            whole=self.whole,
        )
        return self.batch_terms(result, points, weights)

    def forward(
        self,
        density: Float[Tensor, "b 1 h w"] | ModelOutput,
        points: Sequence[Float[Tensor, "_ 2"]],
        weights: Sequence[Float[Tensor, "_"]] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; arguments and errors as in :meth:`terms`."""
        return torch.stack(list(self.terms(density, points, weights).values())).sum()


def most_people(dtype: torch.dtype) -> float:
    """The most people in an image whose square stays far from overflow: 1.8e15 in float32, 1.3e150 in float64."""
    return torch.finfo(dtype).max ** 0.5 / 1e4


def check_batch(
    density: Float[Tensor, "b 1 h w"],
    points: Sequence[Float[Tensor, "_ 2"]],
    weights: Sequence[Float[Tensor, "_"]] | None,
    stride: int,
    *,
    values: bool = True,
    maps: Mapping[str, Tensor] | None = None,
    whole: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Check a batch as :meth:`CrowdLoss.terms` says, and return points and weights in the density's device and dtype.

    The values are read from the device once. Without ``values`` only types and shapes are checked; this does not wait.

    Args:
        density: (B, 1, H, W).
        points: B tensors (N_i, 2).
        weights: B tensors (N_i,) or None.
        stride: side of a cell in image pixels.
        values: whether values are checked.
        maps: other maps of the same batch by their names, which have to be finite.
        whole: whether the weights have to be whole numbers.
    """
    maps = maps or {}
    check_tensor(density, "density", shape=(None, 1, None, None), values=False)
    if 0 in density.shape:
        raise ValueError(f"density has shape {tuple(density.shape)}, expected at least one image and one cell")
    for given, name in ((points, "points"), (weights, "weights")):
        if given is not None and (isinstance(given, Tensor) or len(given) != len(density)):
            found = "one tensor" if isinstance(given, Tensor) else f"{len(given)} entries"
            raise ValueError(f"{name} holds {found}, expected a list of {len(density)} tensors, one an image")
    for index, image_points in enumerate(points):
        check_points(image_points, f"points[{index}]", values=False)
    counts = [len(image_points) for image_points in points]
    spots = torch.cat(list(points)).to(density.device)
    if weights is None:
        people = density.new_ones(len(spots))
    else:
        for index, image_weights in enumerate(weights):
            check_tensor(image_weights, f"weights[{index}]", shape=(counts[index],), values=False)
        people = torch.cat(list(weights)).to(density.device)
    if values:
        height, width = density.shape[-2:]
        extent = (height * stride, width * stride)
        if not tracing() and not _sound(density, spots, people, extent, maps, whole=whole):
            _name_the_fault(density, points, people.split(counts), extent, maps, whole=whole)
    return list(spots.to(density).split(counts)), list(people.to(density).split(counts))


def _sound(
    density: Tensor,
    spots: Tensor,
    people: Tensor,
    extent: tuple[float, float],
    maps: Mapping[str, Tensor],
    *,
    whole: bool,
) -> bool:
    """Whether all values are as they should be; False also for NaN, and where only a closer look can tell."""
    height, width = extent
    within = (spots >= 0) & (spots <= spots.new_tensor([width, height]))
    most = density.detach().double().flatten(1).sum(dim=1).max() <= most_people(density.dtype)
    few = people.double().sum() <= most_people(people.dtype)
    good = (density >= 0).all() & most & within.all() & (people >= 0).all() & few
    for values in maps.values():
        good = good & values.isfinite().all()
    if whole:
        good = good & (people == people.round()).all()
    return bool(good)


def _name_the_fault(
    density: Tensor,
    points: Sequence[Tensor],
    weights: Sequence[Tensor],
    extent: tuple[float, float],
    maps: Mapping[str, Tensor],
    *,
    whole: bool,
) -> None:
    """Raise ``ValueError`` for the first value that is not as it should be."""
    check_tensor(density, "density", shape=(None, 1, None, None))
    check_people(density, "density")
    for index, (image_points, image_weights) in enumerate(zip(points, weights, strict=True)):
        check_points(image_points, f"points[{index}]", size=extent)
        check_tensor(image_weights, f"weights[{index}]", shape=(len(image_points),))
        check_people(image_weights[None], f"weights[{index}]")
        if whole and bool((image_weights != image_weights.round()).any()):
            found = float(image_weights[image_weights != image_weights.round()][0])
            raise ValueError(f"weights[{index}] holds {found:g}, expected whole numbers of people")
    for name, map_values in maps.items():
        check_tensor(map_values, name, shape=(None,) * map_values.dim())


def batched(
    points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
) -> tuple[Float[Tensor, "b n 2"], Float[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """The points and weights of a batch as one tensor each, and which entries are real; the others are zero."""
    spots = F.pad(torch.cat(list(points)), (0, 0, 0, 1))  # a last row of zeros stands for what is not there
    people = F.pad(torch.cat(list(weights)), (0, 1))
    counts = np.array([len(image_points) for image_points in points])
    rank = np.arange(counts.max())
    index = np.where(rank < counts[:, None], rank + (counts.cumsum() - counts)[:, None], counts.sum())
    place = torch.from_numpy(index).to(spots.device, non_blocking=True)
    return spots[place], people[place], place < len(spots) - 1


def check_people(people: Float[Tensor, "b *shape"], name: str) -> None:
    """Raise ``ValueError`` if any value is below zero, or an image holds more people than :func:`most_people`."""
    check_not_negative(people, name)
    limit = most_people(people.dtype)
    most = float(people.detach().double().flatten(1).sum(dim=1).max())
    if most > limit:
        raise ValueError(
            f"{name} sums to {most:g} people in an image, expected at most {limit:.2g}: its square would overflow in "
            f"{str(people.dtype).removeprefix('torch.')}"
        )
