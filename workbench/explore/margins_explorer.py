"""The explorer of margins: a digit, the sign of its gradient, the bisection, and all margins by training epoch."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from workbench.adversarial import margins
from workbench.adversarial.attacks import input_gradient
from workbench.adversarial.training import Recipe, fit_by_recipe
from workbench.data.readers.pictures import Digits
from workbench.explore.base import Explorer, LivePicture, menu, play, slider
from workbench.models.classifiers import build_classifier
from workbench.plots.adversarial import show_margins
from workbench.plots.basic import BLUE, GREY, RED, show_image, show_map

CAP, FINE, COARSE = 0.5, 2**-12, 1 / 16
RADIUS = 0.1  # of the training attack
EPOCHS = 6


class MarginsExplorer(Explorer):
    """How far along the sign of its gradient a digit can go, and how training moves the margins of all.

    Args:
        stages: name of a training -> the network before the first epoch and after each; two short trainings, natural
            and adversarial, if None (some seconds).
        images: (N, 1, 8, 8) in [0, 1]; test digits if None.
        labels: (N,).
        seed: of the trainings.

    Attributes:
        controls: the sliders by name.
        asked: radii that the search asked for, in its order, with whether the answer was still right.
    """

    size = (10.4, 5.6)

    def __init__(
        self,
        stages: Mapping[str, list[nn.Module]] | None = None,
        images: Float[Tensor, "n 1 h w"] | None = None,
        labels: Int[Tensor, "n"] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        if (images is None) != (labels is None):
            raise ValueError("images and labels are given one without the other, expected both or neither")
        test = Digits("test")
        self.images: Tensor = test.images[:200] if images is None else images
        self.labels: Tensor = test.labels[:200] if labels is None else labels
        self.stages = stages or {"natural": train_stages(None, seed), "adversarial": train_stages(RADIUS, seed)}
        self._margins: dict[tuple[str, int], Tensor] = {}
        self.asked: list[tuple[float, bool]] = []
        last = max(len(networks) for networks in self.stages.values()) - 1
        epoch = slider(widgets.IntSlider, "epoch", value=last, min=0, max=last)
        self.controls = {
            "digit": slider(widgets.IntSlider, "digit", value=3, min=0, max=len(self.images) - 1),
            "epsilon": slider(widgets.FloatSlider, "epsilon", value=0.1, min=0, max=CAP, step=0.01),
            "training": menu("training", list(self.stages)),
            "play": play(epoch, "train", interval=700),
            "epoch": epoch,
        }
        self._picture = LivePicture(self.draw, size=self.size)
        rows = [self.row("digit", "epsilon", "training"), self.row("play", "epoch")]
        self.widget = widgets.VBox([*rows, self._picture.widget])
        self.widget.add_class("workbench-margins")
        self.listen(lambda _: self._picture.redraw())

    @property
    def model(self) -> nn.Module:
        """The network of the chosen training after the chosen epoch."""
        networks = self.stages[self.controls["training"].value]
        return networks[min(self.controls["epoch"].value, len(networks) - 1)]

    def all_margins(self, training: str, epoch: int) -> Float[Tensor, "n"]:
        """The margins of all images after an epoch of a training; computed once."""
        key = training, min(epoch, len(self.stages[training]) - 1)
        if key not in self._margins:
            model = self.stages[training][key[1]]
            self._margins[key] = margins(model, self.images, self.labels, cap=CAP, resolution=1 / 512, bracket=COARSE)
        return self._margins[key]

    def draw(self, figure: Figure) -> None:
        """A digit on its way along the sign of its gradient, the search for its margin, and the margins of all."""
        index, epoch, epsilon = (self.controls[name].value for name in ("digit", "epoch", "epsilon"))
        x, y = self.images[index : index + 1], self.labels[index : index + 1]
        model, label = self.model, int(y)
        direction = input_gradient(model, x, y)[0].sign()
        with torch.no_grad():
            moved = x + epsilon * direction
            answer = int(model(moved).argmax(1))
        places = {"left": 0.07, "right": 0.985, "bottom": 0.1, "top": 0.93, "hspace": 0.42, "wspace": 0.25}
        grid = figure.add_gridspec(2, 3, **places)
        image, sign, attacked = (figure.add_subplot(grid[0, column]) for column in range(3))
        show_image(image, x[0], f"a {label}")
        show_map(sign, direction[0, 0], cmap="PuOr", vmin=-1.4, vmax=1.4, title="gradient's sign (purple: up)")
        show_image(attacked, moved[0])
        verb = "taken for" if answer == label else "now taken for"
        color = "black" if answer == label else RED
        attacked.set_title(f"ε = {epsilon:.2f}: {verb} a {answer}", color=color)
        self._draw_search(figure.add_subplot(grid[1, 0:2]), model, x, y, direction)
        bars = figure.add_subplot(grid[1, 2])
        show_margins(bars, {name: self.all_margins(name, epoch).numpy() for name in self.stages}, bins=25)
        bars.set_title(f"margins of all digits, epoch {epoch}", fontsize=10)

    def _draw_search(self, ax: Any, model: nn.Module, x: Tensor, y: Tensor, direction: Tensor) -> None:
        """The probabilities along the ray, and below them what the search for the margin asks, in its order."""
        self.asked = []

        def watched(moved: Tensor) -> Tensor:
            """The model; what it is asked is written down."""
            logits = model(moved)
            for step, answer in zip((moved - x).detach(), logits.argmax(1), strict=True):
                self.asked.append((float(step.abs().max()), bool(answer == y[0])))
            return logits

        margin = float(margins(watched, x, y, cap=CAP, resolution=FINE, bracket=COARSE, no_crossing="inf"))
        del self.asked[0]  # of the gradient, not of the search
        label, radii = int(y), torch.linspace(0, CAP, 101)
        with torch.no_grad():
            rivals = model(x + radii[:, None, None, None] * direction).softmax(1)
        own = rivals[:, label].clone()
        rivals[:, label] = 0
        ax.plot(radii, own, color=BLUE, label=f"probability of {label}")
        ax.plot(radii, rivals.max(dim=1).values, color=GREY, linestyle="--", label="of the strongest rival")
        for rank, (radius, right) in enumerate(self.asked):
            height = -0.06 - 0.24 * rank / max(len(self.asked) - 1, 1)
            ax.plot(radius, height, "o" if right else "X", color=BLUE if right else RED, markersize=5, clip_on=False)
        ax.axvline(self.controls["epsilon"].value, color="black", linewidth=1, linestyle=":")
        if math.isfinite(margin):
            ax.axvline(margin, color=RED, linewidth=1.5, label=f"margin {margin:.4f}")
        else:
            ax.plot([], [], color=RED, label="no margin: the answer never changes")
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set(xlim=(0, CAP), ylim=(-0.34, 1.03), yticks=[0, 0.5, 1], ylabel="probability")
        ax.set_xlabel("ε (largest change of a pixel); below: what the search asks, from the top, ● right ✕ wrong")
        ax.legend(frameon=False, fontsize=8, loc="center right")


def train_stages(radius: float | None, seed: int, *, epochs: int = EPOCHS) -> list[nn.Module]:
    """A small network on the digits before training and after each epoch.

    ``radius`` is that of the training attack, None for natural training; ``seed`` of the weights and the samples'
    order.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_classifier("small_cnn", width=0.5)
    train = Digits("train")
    stages: list[nn.Module] = [copy.deepcopy(model).eval()]
    fit_by_recipe(
        model,
        train.images,
        train.labels,
        Recipe(epsilon=radius, steps=3),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
        epochs=epochs,
        seed=seed,
        on_epoch=lambda _: stages.append(copy.deepcopy(model).eval()),
    )
    return stages
