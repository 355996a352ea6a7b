"""``workbench robustness``."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands.output import Json, assignments, parse, print_json, settings
from workbench.commands.predict import Resize


def robustness(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="The weights.pt that `workbench train` wrote.")],
    dataset: Annotated[
        str | None, typer.Option(help="The data set; the training's unless given. One of {data.DATASETS}.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Its folder.")] = None,
    split: Annotated[str, typer.Option(help="test, val, train or trainval.")] = "test",
    parameter: Annotated[list[str] | None, settings("An option of the data set.")] = None,
    resize: Resize = None,
    images: Annotated[
        int | None,
        typer.Option(help="How many images are attacked: the first 8, or as many as take five minutes.", min=1),
    ] = None,
    side: Annotated[int, typer.Option(help="Side in pixels of the window in the middle of each.", min=16)] = 128,
    steps: Annotated[int, typer.Option(help="Steps of the attacks by gradients.", min=1)] = 10,
    queries: Annotated[int, typer.Option(help="Queries of the search without gradients.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Say how wrong a trained model's counts become under attacks, patches, corruptions and wrong labels."""
    import torch

    from workbench.adversarial.card import robustness_card
    from workbench.commands.evaluate import open_scored

    model, data, _, name, options = open_scored(weights, dataset, root, split, assignments(parameter, parse), resize)
    wanted = affordable(model, side) if images is None else images
    samples = [window(data[index], side) for index in range(min(wanted, len(data)))]
    card = robustness_card(
        model,
        torch.stack([sample.image for sample in samples]),
        [sample.points for sample in samples],
        steps=steps,
        queries=queries,
        seed=seed,
    )
    card = {"dataset": name, "split": split, "resize": options.get("resize", "none"), **card}
    if json:
        print_json(card)
    else:
        typer.echo("\n".join(page(card)))


def affordable(model: Any, side: int, *, most: int = 8, seconds: float = 300.0) -> int:
    """How many images of ``side`` pixels the card takes about five CPU minutes for; two at least."""
    import torch

    from workbench.training.evaluation import inference

    image = torch.rand(1, 3, side, side)
    with inference(model):
        model(image)
        began = time.process_time()
        model(image)
    # An image costs about 1,500 passes: 100 queries at two budgets in two directions, 40 PGD attacks of ten steps and
    # three passes each, margins, patches and 101 ablations
    return max(2, min(most, int(seconds / (1500 * max(time.process_time() - began, 1e-6)))))


def window(sample: Any, side: int) -> Any:
    """The window of ``side`` pixels in the middle of a sample.

    Raises:
        ValueError: the image is smaller.
    """
    from workbench.data.transforms import crop_sample

    height, width = sample.size
    if side > min(height, width):
        raise ValueError(f"--side is {side}, expected at most {min(height, width)}, the shorter side of {sample.name}")
    return crop_sample(sample, (width - side) // 2, (height - side) // 2, side, side)


def page(card: dict[str, Any]) -> list[str]:
    """The card as lines of text."""
    lines = [
        f"{card['dataset']} {card['split']}, {card['images']} images of {card['size'][0]} x {card['size'][1]} pixels, "
        f"{card['people']:.1f} people on average",
        f"clean: mean error {card['clean']['mae']:.2f} people, bias {card['clean']['bias']:+.2f}",
        "",
        f"{'under attack':26}{'budget':>10}{'more':>9}{'fewer':>9}{'error':>9}   (people)",
    ]
    for title, key, budget in (
        ("PGD, L-infinity", "linf", "epsilon"),
        ("search without gradients", "search", "epsilon"),
        ("PGD, L2", "l2", "epsilon"),
        ("patch, side in pixels", "patch", "side"),
    ):
        for row in card[key]:
            figures = "".join(f"{row[name]:9.2f}" for name in ("more", "fewer", "error"))
            lines.append(f"{title:26}{row[budget]:10.4g}{figures}")
    lines += ["", f"{'corruption, severity':26}" + "".join(f"{severity:>10}" for severity in (1, 3, 5))]
    for kind in dict.fromkeys(row["kind"] for row in card["corruptions"]):
        errors = "".join(f"{row['mae']:10.2f}" for row in card["corruptions"] if row["kind"] == kind)
        lines.append(f"{'  ' + kind:26}{errors}")
    missing = ", ".join(f"{row['mae']:.2f} at {row['missing']:.0%}" for row in card["annotations"])
    margin = card["margin"]
    budget = margin["per_person"]
    lines += [
        "",
        f"error measured with heads left out of the annotation: {missing}",
        f"L-infinity margin (a quarter of the people): {margin['pgd']:.4f} by PGD, "
        f"{margin['algorithm']:.4f} by Algorithm 2",
        "no budget moves the count"
        if budget is None
        else f"L-infinity budget that moves the count by one: {budget:.2g}",
    ]
    for row in card["certified"]:
        bound = "no bound for all images" if row["error"] is None else f"certified to stay below {row['error']:.1f}"
        lines.append(
            f"under ablation: error {row['mae']:.2f}; with a patch of {row['side']} px {bound} "
            f"({row['bounded']:.0%} of the images have a bound)"
        )
    found = ", ".join(f"{name} {share:.0%}" for name, share in card["tests"].items())
    lines += [f"adversarial examples found in the active tests: {found}"]
    return lines + [f"warning: {text}" for text in card["warnings"]]
