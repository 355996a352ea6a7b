"""Exercises of the notebooks 200 (partition), 210 (augmentation) and 220 (LA-Batch)."""

from workbench.exercises.exercise import Exercise
from workbench.sampling.lsh import collision_probability
from workbench.sampling.partition import partition_samples
from workbench.sampling.zoom import scale_factors, zoom_rates


def _rate(truth: float, predicted: float) -> float:
    return float(zoom_rates(scale_factors([truth], [predicted]))[0])


EXERCISES = {
    "200.1": Exercise(
        "The fullest patch holds 100 people, there are 4 groups. In which group, counted from 0, is a patch of 60?",
        lambda: float(partition_samples([0, 60, 100], [0, 0, 0], groups=4, bins=1).group[1]),
        "A group is ceil(100 / 4) people wide.",
        "Groups are cut by count, of equal width: the last ones hold few patches, and yet one of each enters a batch.",
    ),
    "200.2": Exercise(
        "By Lemma 1, how probably do two patches share a bin whose width is their distance (r = c)?",
        lambda: collision_probability(1.0, 1.0),
        "p = erf(s / sqrt 2) - sqrt(2 / pi) (1 - exp(-s^2 / 2)) / s with s = r / c = 1.",
        "Near patches collide more often: that is what locality-sensitive means.",
    ),
    "200.3": Exercise(
        "Codes 0, 0.1, 0.2 and 10 are cut into 5 bins of equal width. How many bins hold anything?",
        lambda: float(partition_samples([1] * 4, [0, 0.1, 0.2, 10], groups=1, bins=5).filled),
        "Each bin is 2 wide.",
        "Far-out patches get a bin of their own, and with it as much weight as all the others together.",
    ),
    "210.1": Exercise(
        "A patch of 20 people is predicted to hold 30. Is it zoomed in, out, or left?",
        lambda: "in" if _rate(20, 30) < 1 else "out" if _rate(20, 30) > 1 else "left",
        "alpha = (30 - 20) / 20 is positive: what does eq. (6) make of it?",
        "Over-estimated, so fewer people are wanted: a smaller window is cut and enlarged.",
        choices=("in", "out", "left"),
    ),
    "210.2": Exercise(
        "With lambda = 2/3, which zoom rate does eq. (6) approach for a patch whose people are all missed, if gamma is"
        " large?",
        lambda: float(zoom_rates([-1.0], strength=2 / 3, steepness=1e3)[0]),
        "1 / (1 + exp(gamma alpha)) goes to 1 for a negative alpha.",
        "1 + lambda / 2: no patch grows or shrinks by more than a third in one step.",
    ),
    "220.1": Exercise(
        "There are 6 groups of 10 bins, 11 bins are empty. How many patches are in one LA-Batch?",
        lambda: 6 * 10 - 11,
        "One surrogate of each bin that holds anything.",
        "The composition of a batch follows from the partition; random batches hold what is frequent.",
    ),
}
