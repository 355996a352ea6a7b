"""The robustness card of a counting model: how wrong its counts become, in people, on one page."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.adversarial.ablation import ablated_counts, cells_of, certify, patch_cells
from workbench.adversarial.active_tests import active_tests
from workbench.adversarial.attacks import Model, check_inputs, pgd
from workbench.adversarial.corruptions import CORRUPTIONS, corrupt
from workbench.adversarial.counters import attacked_counts, counted, people_against_epsilon
from workbench.adversarial.ensemble import square_search
from workbench.adversarial.margin_gaps import pgd_margins
from workbench.adversarial.margins import margins
from workbench.adversarial.patch_attack import patch_attack
from workbench.adversarial.robustness import Attack, with_budget
from workbench.adversarial.tasks import counting
from workbench.checks import check_whole

LINF = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
SEARCH_BUDGETS = LINF[2:]
L2 = (0.25, 0.5, 1.0, 2.0)
MISSING = (0.05, 0.1, 0.2)  # shares of the heads that an annotator overlooks
BLOCK, SHOWN = 8, 0.06  # of the ablation: side of a cell in pixels, share of the cells that a draw shows
PATCHES = (1, 8, 16)  # certified against, sides in pixels
SLACK = 0.02  # errors that differ by less than this share of the people are no contradiction
CardRow = dict[str, Any]


def robustness_card(
    model: Model,
    x: Float[Tensor, "b 3 h w"],
    points: Sequence[Tensor],
    *,
    steps: int = 10,
    queries: int = 100,
    samples: int = 101,
    tested: int = 4,
    seed: int = 0,
) -> dict[str, Any]:
    """Attack, corrupt and certify a counter on some images.

    Args:
        model: from images to densities.
        x: (B, 3, H, W), in [0, 1].
        points: B tensors (N_i, 2).
        steps: of PGD and of the patch's attack.
        queries: of the search without gradients.
        samples: draws of the ablation, odd.
        tested: number of images on which the attacks themselves are tested.
        seed: of everything that is drawn.

    Returns:
        Plain values for JSON, in people where no other unit is said:

        - "images", "size" (H, W), "people": what was measured on, the mean number of people;
        - "clean": mae and bias;
        - "linf", "l2", "search": for each budget what PGD or the search adds and takes away, and the error;
        - "patch": the same for squares of free pixels, by their side;
        - "corruptions": mae and bias for each kind and severity 1, 3 and 5;
        - "annotations": the mae that would be measured if a share of the heads were not annotated;
        - "margin": the L-infinity budget at which the count is wrong by a quarter of the people, by PGD and by
          Algorithm 2, as medians (at most "cap"); and the budget that moves the count by one person;
        - "certified": for patches of some sides, the mean error of the count under ablation, the largest error that
          any attack reaches at most (null where nothing is certain for an image), the share of the images with a bound;
        - "tests": share of the adversarial examples found in the active tests, by attack;
        - "warnings": what makes the figures doubtful.

    Raises:
        ValueError: x is not in [0, 1], shapes do not fit, or an option is out of range.
        ModuleNotFoundError: the extra ``data`` is not installed.
    """
    check_inputs(x, points)
    check_whole(tested, "tested")
    truth = x.new_tensor([len(image) for image in points])
    clean, people, side = counted(model, x), float(truth.mean()), min(x.shape[-2:])
    white = people_against_epsilon(model, x, points, LINF, steps=steps)
    search = [
        {"epsilon": epsilon, **_under(model, x, points, partial(square_search, epsilon=epsilon, queries=queries))}
        for epsilon in SEARCH_BUDGETS
    ]
    attacks = {
        "PGD": with_budget(pgd, LINF[2], steps=steps, task=counting("over")),
        "search": with_budget(square_search, LINF[2], queries=queries, task=counting("over")),
    }
    tests, faults = active_tests({"this model": model}, x[:tested], attacks, epsilon=LINF[2], counts=True, seed=seed)
    ellipsoid = people_against_epsilon(model, x, points, L2, steps=steps, norm="l2")
    patches = [
        {"side": edge, **_under(model, x, points, partial(patch_attack, side=edge, steps=steps, seed=seed))}
        for edge in (side // 8, side // 4)
    ]
    return {
        "images": len(x),
        "size": list(x.shape[-2:]),
        "people": people,
        "clean": _errors(clean, truth),
        "linf": white,
        "l2": ellipsoid,
        "search": search,
        "patch": patches,
        "corruptions": [
            {
                "kind": kind,
                "severity": severity,
                **_errors(counted(model, corrupt(x, kind, severity, seed=seed)), truth),
            }
            for kind in CORRUPTIONS
            for severity in (1, 3, 5)
        ],
        "annotations": [{"missing": share, "mae": _mae_with_missing(clean, truth, share, seed)} for share in MISSING],
        "margin": _margins(model, x, points, white[0]["per_epsilon"], steps=steps),
        "certified": _certified(model, x, truth, samples=samples, seed=seed),
        "tests": {attack: test.found for (_, attack), test in tests.items()},
        "warnings": [*faults, *doubts(white, search, people=people)],
    }


def doubts(white: Sequence[Mapping[str, float]], search: Sequence[Mapping[str, float]], *, people: float) -> list[str]:
    """What contradicts sound attacks: errors that fall with the budget, or a search that beats the gradient.

    Args:
        white: rows of PGD, by rising budget.
        search: rows of the search, of some of these budgets.
        people: the mean number of people; differences below 2 % of it do not count.
    """
    found, slack = [], SLACK * max(people, 1)
    for name, rows in (("PGD", white), ("the search", search)):
        for before, after in pairwise(rows):
            if after["error"] < before["error"] - slack:
                found.append(
                    f"the error under {name} falls from {before['error']:.3g} to {after['error']:.3g} where the budget "
                    f"rises to {after['epsilon']:.3g}"
                )
    at = {row["epsilon"]: row for row in white}
    for other in search:
        own = at[other["epsilon"]]
        if other["error"] > own["error"] + slack:
            found.append(
                f"at {own['epsilon']:.3g} the search without gradients reaches an error of {other['error']:.3g}, PGD "
                f"{own['error']:.3g}: the gradients are masked"
            )
    return found


def _under(model: Model, x: Tensor, points: Sequence[Tensor], attack: Attack | partial[Tensor]) -> CardRow:
    return dict(attacked_counts(model, x, points, attack)._asdict())


def _errors(counts: Tensor, truth: Tensor) -> CardRow:
    return {"mae": float((counts - truth).abs().mean()), "bias": float((counts - truth).mean())}


def _corrupted(model: Model, x: Tensor, truth: Tensor, kind: str, severity: int, seed: int) -> CardRow:
    return _errors(counted(model, corrupt(x, kind, severity, seed=seed)), truth)


def _mae_with_missing(counts: Tensor, truth: Tensor, share: float, seed: int) -> float:
    """The mean absolute error against annotations of which each head is missing with probability ``share``."""
    draw = torch.Generator().manual_seed(seed)
    left = torch.binomial(
        truth.cpu().double(), torch.full_like(truth, 1 - share, device="cpu").double(), generator=draw
    )
    return float((counts.cpu() - left).abs().mean())


def _margins(model: Model, x: Tensor, points: Sequence[Tensor], rate: float, *, steps: int) -> CardRow:
    options: dict[str, Any] = {"resolution": 1 / 1024, "cap": 32 / 255, "bracket": 4 / 255, "task": counting("error")}
    along = margins(model, x, points, clip=True, **options)
    found = torch.minimum(pgd_margins(model, x, points, steps=steps, **options), along)
    return {
        "pgd": float(found.median()),
        "algorithm": float(along.median()),
        "cap": options["cap"],
        "per_person": 1 / rate if rate > 0 else None,
    }


def _certified(model: Model, x: Tensor, truth: Tensor, *, samples: int, seed: int) -> list[CardRow]:
    cells, rows = cells_of((x.shape[-2], x.shape[-1]), BLOCK), []
    keep = max(1, round(SHOWN * cells))
    draw = torch.Generator(device=x.device).manual_seed(seed)
    options: dict[str, Any] = {"keep": keep, "block": BLOCK, "samples": samples, "generator": draw}
    counts = [ablated_counts(model, image, **options) for image in x.split(1)]
    for side in PATCHES:
        changed = min(patch_cells(side, BLOCK), cells)
        found = [certify(draws, cells=cells, changed=changed, keep=keep) for draws in counts]
        worst = [
            max(float(number) - row.low, row.high - float(number)) for row, number in zip(found, truth, strict=True)
        ]
        bounded = [error for error in worst if math.isfinite(error)]
        answers = truth.new_tensor([row.answer for row in found])
        rows.append(
            {
                "side": side,
                "mae": _errors(answers, truth)["mae"],
                "error": sum(bounded) / len(bounded) if len(bounded) == len(worst) else None,
                "bounded": len(bounded) / len(worst),
            }
        )
    return rows
