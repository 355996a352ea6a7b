"""The explorer of margins: a digit, the sign of its gradient, the bisection, and all margins by training epoch."""

import copy
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from workbench.adversarial import margins
from workbench.adversarial.attacks import input_gradient
from workbench.adversarial.training import Recipe, fit
from workbench.data.readers.digits import Digits
from workbench.explore.base import Explorer, Picture, menu, slider
from workbench.explore.margins_figure import draw_margins
from workbench.models.classifiers import build_classifier

CAP, RESOLUTION, BRACKET = 0.5, 2**-12, 1 / 16
RADIUS = 0.1
EPOCHS = 6


class MarginsExplorer(Explorer):
    """How far along the sign of its gradient a digit can go, and how training moves the margins of all.

    Args:
        stages: name of a training -> the network after each epoch, from before the first on; two short ones, natural
            and adversarial, if None (some seconds).
        images: (N, 1, 8, 8) in [0, 1]; test digits if None.
        labels: (N,).
        seed: of the trainings.

    Attributes:
        controls: the sliders by name.
        asked: radii that the search asked for, in its order, with whether the answer was still right.
    """

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
        self.controls = self._controls()
        self._picture = Picture(self._draw, size=(10.4, 5.6))
        rows = [("digit", "epsilon", "training"), ("play", "epoch")]
        boxes = [widgets.HBox([self.controls[name] for name in names]) for names in rows]
        self.widget = widgets.VBox([*boxes, self._picture.widget])
        self.widget.add_class("workbench-margins")
        for name, control in self.controls.items():
            control.add_class(f"explore-{name}")
            if name != "play":
                control.observe(lambda _: self._picture.redraw(), names="value")

    @property
    def model(self) -> nn.Module:
        """The network of the chosen training after the chosen epoch."""
        stages = self.stages[self.controls["training"].value]
        return stages[min(self.controls["epoch"].value, len(stages) - 1)]

    def all_margins(self, training: str, epoch: int) -> Float[Tensor, "n"]:
        """The margins of all images after an epoch of a training; computed once."""
        key = training, min(epoch, len(self.stages[training]) - 1)
        if key not in self._margins:
            model = self.stages[training][key[1]]
            self._margins[key] = margins(model, self.images, self.labels, cap=CAP, resolution=1 / 512, bracket=BRACKET)
        return self._margins[key]

    def figure(self) -> Figure:
        """The present state as a figure of matplotlib."""
        return self._picture.figure()

    def _draw(self, figure: Figure) -> None:
        index, epoch = self.controls["digit"].value, self.controls["epoch"].value
        x, y = self.images[index : index + 1], self.labels[index : index + 1]
        model = self.model
        direction = input_gradient(model, x, y)[0].sign()
        self.asked = []

        def watched(moved: Tensor) -> Tensor:
            """The model, and what the search asks it."""
            logits = model(moved)
            for step, answer in zip((moved - x).detach(), logits.argmax(1), strict=True):
                self.asked.append((float(step.abs().max()), bool(answer == y[0])))
            return logits

        margin = float(margins(watched, x, y, cap=CAP, resolution=RESOLUTION, bracket=BRACKET, no_crossing="inf"))
        radii = torch.linspace(0, CAP, 101)
        with torch.no_grad():
            chances = model(x + radii[:, None, None, None] * direction).softmax(1)
            moved = x + self.controls["epsilon"].value * direction
            answer = int(model(moved).argmax(1))
        draw_margins(
            figure,
            digit=(x[0], int(y[0])),
            direction=direction[0],
            moved=(moved[0], self.controls["epsilon"].value, answer),
            ray=(radii, chances),
            margin=margin,
            asked=self.asked[1:],
            histogram={name: self.all_margins(name, epoch).numpy() for name in self.stages},
            epoch=epoch,
        )

    def _controls(self) -> dict[str, Any]:
        last = max(len(stages) for stages in self.stages.values()) - 1
        play = widgets.Play(min=0, max=last, interval=700, description="train", show_repeat=False)
        made = {
            "digit": slider(widgets.IntSlider, "digit", value=3, min=0, max=len(self.images) - 1),
            "epsilon": slider(widgets.FloatSlider, "epsilon", value=0.1, min=0, max=CAP, step=0.01),
            "training": menu("training", list(self.stages)),
            "play": play,
            "epoch": slider(widgets.IntSlider, "epoch", value=last, min=0, max=last),
        }
        play.value = last
        widgets.jslink((play, "value"), (made["epoch"], "value"))
        return made


def train_stages(radius: float | None, seed: int, *, epochs: int = EPOCHS) -> list[nn.Module]:
    """A small network on the digits before training and after each epoch.

    Args:
        radius: of the training attack; None for natural training.
        seed: of the weights and of the order of the samples.
        epochs: how many.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_classifier("small_cnn", width=0.5)
    train = Digits("train")
    stages: list[nn.Module] = [copy.deepcopy(model).eval()]
    fit(
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
