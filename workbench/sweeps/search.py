"""A sweep whose cells are not listed: Optuna asks for one after another, and learns from how each ends.

The study lies in the sweep's folder as ``optuna.log``. A trial is a cell, so a search that was stopped goes on: what
had begun is taken up again from its checkpoint. The validation scores of every training are looked at epoch by epoch,
and one that is worse than the median of the earlier ones is stopped.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.checks import check_whole
from workbench.io.extras import need
from workbench.io.lock import own_folder
from workbench.runs.record import read_record
from workbench.runs.status import read_status
from workbench.sweeps.cell import Outcome, run_cell
from workbench.sweeps.engine import Engine, write_sweep
from workbench.sweeps.grid import Grid
from workbench.sweeps.history import Pruned, ask_to_stop, read_history
from workbench.sweeps.plan import Cell, plan

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import Trial

POLL_SECONDS = 0.5


class Searched(NamedTuple):
    """What a search has found so far.

    Attributes:
        trials: how many have ended, of all calls.
        pruned: how many of these were stopped early.
        failed: how many of these raised an error.
        value: the lowest objective, None where no trial is complete.
        parameters: those of that trial.
        cell: the folder of that trial's cell.
    """

    trials: int
    pruned: int
    failed: int
    value: float | None
    parameters: dict[str, Any]
    cell: str


def run_search(
    grid: Grid,
    out: Path,
    engine: Engine,
    *,
    trials: int,
    workers: int = 1,
    objective: str = "val_mae",
    beside: Path | None = None,
    on_end: Callable[[Outcome], None] = lambda _: None,
) -> Searched:
    """Run trials until ``trials`` have ended in all, those of earlier calls among them.

    Args:
        grid: ``search`` holds the ranges, ``grid`` lists of choices, ``fixed`` the rest.
        out: folder of the sweep.
        engine: what runs the cells.
        trials: in all.
        workers: trials at a time.
        objective: the metric of the record that shall be low; of a training also a column ``objective`` of its history.
        beside: as of :func:`~workbench.sweeps.plan.plan`.
        on_end: told each outcome.

    Raises:
        FolderInUseError: another search runs in the folder.
        ValueError: the grid has nothing to choose, lists cells or seeds, or sets something wrong.
    """
    check_whole(trials, "trials")
    space = search_space(grid)
    running: dict[Future[Outcome], tuple[Trial, Cell]] = {}
    cells: dict[str, Cell] = {}
    with own_folder(out / "search"), _quiet(), _study(grid.name, out) as study:
        while running or _ended(study) < trials:
            while len(running) < min(workers, trials - _ended(study)):
                trial = study.ask(space)
                cell = _cell(grid, trial.params, out, beside)
                trial.set_user_attr("cell", cell.name)
                cells[cell.name] = cell
                write_sweep(grid, _cells(study, out, cells), out)
                running[engine.submit(partial(run_cell, cell, False))] = trial, cell
            done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                trial, cell = running.pop(future)
                outcome = future.result()
                _report(trial, cell, objective)
                _tell(study, trial, cell, outcome, objective)
                on_end(outcome)
                if outcome.state in ("died", "refused", "busy"):
                    raise RuntimeError(
                        f"{cell.name}: {outcome.message or outcome.state}; call the search again to go on"
                    )
            for trial, cell in running.values():
                if _report(trial, cell, objective) and trial.should_prune():
                    for work in cell.folder.glob("work-*"):
                        ask_to_stop(work)
        return summary(study)


def search_space(grid: Grid) -> "dict[str, BaseDistribution]":
    """Optuna's distributions of a grid: a list is a choice, whole ends are whole numbers, ``log: true`` is in ratios.

    Raises:
        ValueError: nothing to choose, or cells or seeds, which a search does not take.
    """
    need("search")
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if grid.cells != [{}] or grid.seeds is not None:
        raise ValueError(f"grid {grid.name} has cells or seeds, expected fixed, grid and search alone for a search")
    space: dict[str, BaseDistribution] = {name: CategoricalDistribution(values) for name, values in grid.grid.items()}
    for name, span in grid.search.items():
        if name in space or name in grid.fixed:
            raise ValueError(f"grid {grid.name} sets {name} twice, expected once")
        whole = isinstance(span.low, int) and isinstance(span.high, int)
        low, high = (span.low, span.high) if whole else (float(span.low), float(span.high))
        space[name] = (IntDistribution if whole else FloatDistribution)(low, high, log=span.log)  # type: ignore[arg-type]
    if not space:
        raise ValueError(f"grid {grid.name} has nothing to choose, expected search or grid")
    return space


@contextmanager
def _study(name: str, out: Path) -> "Iterator[Study]":
    """The study of a folder; trials that were running when an earlier call ended are asked for again."""
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(out / "optuna.log")))
    study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials), constant_liar=True)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    yield study


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without a line for every trial."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def _cell(grid: Grid, parameters: Mapping[str, Any], out: Path, beside: Path | None) -> Cell:
    chosen = grid.model_copy(update={"fixed": {**grid.fixed, **parameters}, "grid": {}, "search": {}})
    (cell,) = plan(chosen, out, beside=beside)
    return cell


def _cells(study: "Study", out: Path, cells: Mapping[str, Cell]) -> list[str]:
    """The names of all cells that a search has asked for."""
    return list(dict.fromkeys([t.user_attrs["cell"] for t in study.trials if "cell" in t.user_attrs] + list(cells)))


def _report(trial: "Trial", cell: Cell, objective: str) -> bool:
    """Tell Optuna the epochs that it does not know yet; whether there were any."""
    known = trial.study.trials[trial.number].intermediate_values
    new = [row for row in read_history(cell.folder) if row["epoch"] not in known and objective in row]
    for row in new:
        trial.report(float(row[objective]), int(row["epoch"]))
    return bool(new)


def _tell(study: "Study", trial: "Trial", cell: Cell, outcome: Outcome, objective: str) -> None:
    from optuna.trial import TrialState

    if outcome.state == "done":
        metrics = read_record(cell.folder / "result" / "record.json").metrics
        if objective not in metrics:
            raise ValueError(f"the record of {cell.name} holds {', '.join(metrics)}, expected {objective} among them")
        study.tell(trial, metrics[objective])
    elif outcome.state == "failed":
        error = read_status(cell.folder / "failed").error
        pruned = error is not None and error.type == Pruned.__name__
        if not pruned:
            trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)


def _ended(study: "Study") -> int:
    return summary(study).trials


def summary(study: "Study") -> Searched:
    """What a study has found so far."""
    from optuna.trial import TrialState

    found = study.get_trials(deepcopy=False)
    complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
    pruned = sum(trial.state == TrialState.PRUNED for trial in found)
    failed = sum("error" in trial.user_attrs for trial in found)
    best = min(complete, key=lambda trial: trial.value or 0.0, default=None)
    value, parameters, cell = (None, {}, "") if best is None else (best.value, best.params, best.user_attrs["cell"])
    return Searched(len(complete) + pruned + failed, pruned, failed, value, parameters, cell)
