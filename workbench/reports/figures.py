"""The figures of the report, each as PNG for the page and as SVG for a paper."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workbench.io.files import write_bytes
from workbench.plots.basic import new_figure
from workbench.reports.claims import Evidence
from workbench.reports.measured import Measurement, by_setting, describe, effort
from workbench.reports.paper_tables import PaperTable
from workbench.reports.plots import rank_table, show_claims, show_networks, show_ranking
from workbench.reports.sweep_figures import LEAST_CELLS, importance, show_curves, show_importance, show_parallel
from workbench.sweeps.history import read_history
from workbench.sweeps.summary import SweepSummary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_NETWORKS = 4
MOST_SETTINGS = 4
MOST_METHODS = 24


class Picture(NamedTuple):
    """A figure on the page: PNG and SVG of one name, and a sentence."""

    png: Path
    svg: Path
    title: str
    caption: str
    width: int
    height: int


def draw_figures(
    measurements: Sequence[Measurement],
    tables: Sequence[PaperTable],
    evidence: Sequence[Evidence],
    folder: Path,
    titles: Mapping[str, str],
) -> list[Picture]:
    """Draw what there is to draw into ``folder``: the claims, the networks by setting, and printed against measured.

    ``evidence`` has one or two entries for each claim; ``titles`` says what each paper is called.
    """
    pictures = []
    weighed = [one for one in evidence if one.verdict is not None]
    if weighed:
        figure = new_figure(9.2, 1.4 + 0.36 * len({one.claim.id for one in weighed}), layout="constrained")
        show_claims(figure.subplots(), weighed)
        caption = (
            "Right of zero the side that the claim calls better is better. Within the shaded band a difference counts "
            "as none. The more claims are judged together, the wider the intervals; a single pair has none."
        )
        pictures.append(_save(figure, folder, "claims", "The papers' claims", caption))
    for origin in ("reference", "own"):
        groups = by_setting(one for one in measurements if one.origin == origin and "mae" in one.metrics)
        order = sorted(groups, key=lambda setting: (effort(setting), len(groups[setting])), reverse=True)
        wide = [setting for setting in order if len(groups[setting]) >= LEAST_NETWORKS][:MOST_SETTINGS]
        for number, setting in enumerate(wide, 1):
            pictures.append(_networks(origin, setting, groups[setting], folder, f"networks_{origin}_{number}"))
    for table in tables:
        ranking = rank_table(table)
        if ranking is not None:
            figure = new_figure(9.2, 1.3 + 0.3 * len(ranking.values), layout="constrained")
            show_ranking(list(figure.subplots(1, 2, sharey=True)), ranking)
            caption = (
                "A dot a method, in the printed order; bars are standard deviations. Kendall's rank correlation of the "
                f"two orders is {ranking.agreement:+.2f}. On other data than the paper's the order counts alone."
            )
            title = f"{titles[table.paper].partition(' (')[0]}, Table {table.number}: printed and measured"
            pictures.append(_save(figure, folder, f"{table.name}", title, caption))
    return pictures


def draw_sweep(sweep: SweepSummary, folder: Path) -> list[Picture]:
    """Draw a sweep into ``folder``: its cells by their parameters, what matters, and the learning curves.

    A figure is left out where there are too few cells for it, or no history.
    """
    metric = next(iter(sweep.metrics), "")
    done = [cell for cell in sweep.cells if metric in cell.metrics]
    rows = [{name: cell.given.get(name, "") for name in sweep.varying} for cell in done]
    scores = [cell.metrics[metric] for cell in done]
    pictures = []
    if len(done) >= LEAST_CELLS and sweep.varying and min(scores) < max(scores):
        figure = new_figure(9.2, 4.0, layout="constrained")
        show_parallel(figure.subplots(), rows, scores, metric)
        caption = f"A line a cell, dark where {metric} is low."
        pictures.append(_save(figure, folder, f"sweep_{sweep.name}_cells", "Cells", caption))
        found = importance(rows, scores)
        if found is not None:
            figure = new_figure(9.2, 1.2 + 0.34 * len(found.shares), layout="constrained")
            show_importance(figure.subplots(), found)
            says = f"explains {100 * found.r2:.0f} % of the spread" if found.r2 > 0 else "explains nothing"
            caption = f"A random forest over {found.cells} cells; of cells that it was not shown it {says} of {metric}."
            pictures.append(_save(figure, folder, f"sweep_{sweep.name}_importance", "What matters", caption))
    histories = [(read_history(cell.folder), cell.metrics.get(metric)) for cell in sweep.cells]
    for column in ("val_mae", "loss"):
        shown = [(history, score) for history, score in histories if any(column in row for row in history)]
        if shown:
            figure = new_figure(9.2, 3.6, layout="constrained")
            show_curves(figure.subplots(), shown, column, metric or "score")
            caption = "A line a cell; dashed and grey where it has no score: it runs, failed or was stopped."
            pictures.append(_save(figure, folder, f"sweep_{sweep.name}_curves", "Learning curves", caption))
            break
    return pictures


def method_name(one: Measurement) -> str:
    """A network in a few words: model, loss or kind of adversarial training, and what is not as usual."""
    config = one.config
    if "recipe" in config:
        recipe = config["recipe"]
        kinds = ["natural" if recipe.get("epsilon") is None else f"adversarial, ε = {recipe['epsilon']:.3g}"]
        return ", ".join([config["model"], *kinds, *(name for name in ("lada", "ladp") if recipe.get(name))])
    options = {**config.get("loss_options", {}), **config.get("sampler_options", {})}
    fusion = config.get("model_options", {}).get("fusion")
    parts = [config["model"] + (f" ({fusion})" if fusion else ""), config["loss"]]
    parts += [config["sampler"]] if config["sampler"] != "random" else []
    parts += [f"relative {config['relative'].get('kind', 'hard')}"] if config.get("relative") else []
    plain = {key: value for key, value in options.items() if key not in ("sigma", "cost_offset", "groups", "bins")}
    parts += [f"{key}={value}" for key, value in plain.items()]
    return ", ".join(parts)


def _networks(origin: str, setting: str, group: Sequence[Measurement], folder: Path, name: str) -> Picture:
    import pandas as pd

    frame = pd.DataFrame([{"method": method_name(one), "MAE": one.metrics["mae"]} for one in group])
    best = frame.groupby("method")["MAE"].mean().sort_values().index[:MOST_METHODS]
    frame = frame[frame["method"].isin(best)]
    figure = new_figure(9.2, 1.1 + 0.36 * frame["method"].nunique(), layout="constrained")
    show_networks(figure.subplots(), frame)
    more = "" if len(best) < MOST_METHODS else f" The best {MOST_METHODS} of them."
    caption = f"A ring a network, a line the mean over its seeds.{more}"
    whose = {"reference": "Reference networks", "own": "Own networks"}[origin]
    return _save(figure, folder, name, f"{whose} on {describe(setting)}", caption)


def _save(figure: "Figure", folder: Path, name: str, title: str, caption: str) -> Picture:
    from matplotlib import rc_context

    paths = {}
    # Text stays text, and the same figure gives the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "workbench"}):
        for kind in ("png", "svg"):
            content = BytesIO()
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(content, format=kind, dpi=144, metadata=metadata)
            paths[kind] = folder / f"{name}.{kind}"
            write_bytes(paths[kind], content.getvalue())
    width, height = figure.get_size_inches() * 96
    return Picture(paths["png"], paths["svg"], title, caption, round(width), round(height))
