"""Tables of variants: each trained by small networks, one row a network, the published numbers beside the means."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.io.project import runs_folder
from workbench.reports.published import read_published
from workbench.study.comparison import network_config
from workbench.training.experiment import run_once

if TYPE_CHECKING:
    from pandas import DataFrame

Variant = Mapping[str, Any]
"""What makes a variant: keys of :func:`~workbench.study.comparison.network_config`, "loss" and the loss's "options"."""


def train_variants(
    variants: Mapping[str, Variant],
    seeds: Sequence[int],
    *,
    folder: str | Path | None = None,
    on_network: Callable[[str, int], None] | None = None,
    **common: Any,
) -> "DataFrame":
    """Train every variant with every seed, or take the records that lie there.

    Args:
        variants: label -> what it changes; the loss is "l2" where it says nothing.
        seeds: one network each.
        folder: where the runs go; reports/runs/experiments if None.
        on_network: told the label and the seed before each.
        common: keys of :func:`workbench.study.comparison.network_config` for all of them.

    Returns:
        A row a network: variant, seed, folder, and the scores.
    """
    import pandas as pd

    rows = []
    for label, variant in variants.items():
        for seed in seeds:
            if on_network:
                on_network(label, seed)
            settings: dict[str, Any] = {"loss": "l2", "options": {}} | common | dict(variant)
            record, where = run_once(network_config(seed=seed, **settings), folder or runs_folder() / "experiments")
            rows.append({"variant": label, "seed": seed, "folder": str(where), **record.metrics})
    return pd.DataFrame(rows)


def beside_published(
    networks: "DataFrame", names: Mapping[str, str], *, paper: str, table: str, dataset: str, metric: str = "MAE"
) -> "DataFrame":
    """Mean, spread and number of the networks of each variant, after what the paper prints for it.

    Args:
        networks: of :func:`train_variants`.
        names: variant -> the method as it is printed; variants that are not there have no printed number.
        paper: see :func:`workbench.reports.published.read_published`.
        table: number of the table.
        dataset: whose printed numbers.
        metric: which printed numbers; the measured ones are "MAE" always.
    """
    rows = read_published(paper, table)
    rows = rows[(rows["dataset"] == dataset) & (rows["metric"] == metric)]
    printed = dict(zip(rows["method"], rows["value"], strict=True))
    scores: Any = networks.groupby("variant", sort=False)["mae"].agg(MAE="mean", spread="std", networks="count")
    scores.insert(0, f"published {metric} ({dataset})", [printed.get(names.get(label, "")) for label in scores.index])
    return scores


def errors_of(networks: "DataFrame", variant: str) -> list[float]:
    """The MAE of each of a variant's networks; empty where there is none."""
    return networks.loc[networks["variant"] == variant, "mae"].tolist()
