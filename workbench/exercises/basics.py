"""Exercises of the notebooks 000 (quickstart), 010 (data) and 140 (localization)."""

import torch

from workbench.density import density_map, resize_density
from workbench.exercises.exercise import Exercise
from workbench.localization import ot_m
from workbench.localization.scores import detection
from workbench.metrics import mae
from workbench.points import cell_of


def _averaged() -> float:
    density = torch.full((1, 1, 64, 64), 40 / 64**2)
    averaged = torch.nn.functional.avg_pool2d(density, 2)
    return float(resize_density(density, (32, 32)).sum() / averaged.sum())


def _people_in_one_cell() -> float:
    density = torch.zeros(1, 1, 4, 4)
    density[0, 0, 1, 2] = 3.0
    return float(len(torch.unique(ot_m(density[0, 0], stride=8), dim=0)))


EXERCISES = {
    "000.1": Exercise(
        "One head lies exactly in the corner of a picture of 64 x 64 px, sigma is 12 px. What does the density map sum"
        " to?",
        lambda: float(density_map(torch.tensor([[0.0, 0.0]]), (8, 8), sigma=12.0, stride=8).sum()),
        "Three quarters of the Gaussian lie outside. But what should a density map sum to?",
        "The kernel is divided by what of it lies inside the picture, so nobody is lost at the border.",
    ),
    "000.2": Exercise(
        "Three pictures hold 10, 20 and 60 people. What is the MAE of predicting their mean for each?",
        lambda: mae([10, 20, 60], [30, 30, 30]),
        "The mean is 30; average how far each picture is from it.",
        "This is the line that any trained network has to beat.",
    ),
    "000.3": Exercise(
        "Which constant has the smallest MAE on those three pictures?",
        lambda: min(range(61), key=lambda constant: mae([10, 20, 60], [constant] * 3)),
        "Move the constant a little: how many errors grow, how many shrink?",
        "The median: the mean is best for the squared error only.",
    ),
    "010.1": Exercise(
        "Ten patches hold 1, 2, ... 10 people. Which share of all people does the fullest tenth of the patches hold?",
        lambda: 10 / sum(range(1, 11)),
        "One patch of the ten, divided by everybody.",
        "The built-in scenes and the papers' data sets are far more unequal than that.",
    ),
    "010.2": Exercise(
        "A density map of 64 x 64 cells is averaged over blocks of 2 x 2. By what must the result be multiplied for the"
        " count to stay?",
        _averaged,
        "How many cells became one?",
        "Whatever resizes a density multiplies it by the ratio of the areas; `resize_density` does.",
    ),
    "010.3": Exercise(
        "At stride 8, in which row of cells is the point (12.0, 30.5)?",
        lambda: int(cell_of(torch.tensor([[12.0, 30.5]]), (8, 8), 8)[0, 0]),
        "Points are (x, y), cells are (row, column), counted from 0.",
        "The row comes from y. Exchanging the axes is the most frequent fault of converted annotations.",
    ),
    "140.1": Exercise(
        "Three points are predicted, two people are there, both are matched. What is F1?",
        lambda: detection(2, 3, 2).f1,
        "Precision is 2/3, recall is 1; F1 is their harmonic mean.",
        "An invented person costs precision only.",
    ),
    "140.2": Exercise(
        "One cell of a map holds 3 people, all others none. How many different points does `ot_m` return?",
        _people_in_one_cell,
        "As many people as the map counts; may two of them be in one place?",
        "People whom the map shows in one cell are spread over it; the published code returns one point thrice.",
    ),
}
