"""A grid becomes cells, each with a key of its own, or is refused before anything runs."""

import pytest
from small_notebooks import write_notebook

from workbench.runs.settings import nested
from workbench.sweeps.grid import Grid, combinations, read_grid
from workbench.sweeps.plan import plan
from workbench.sweeps.progress import SweepProgress

# Nine anchors, each a list of nine of the one before: 3.5 billion values in a few lines.
BILLIONS = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True))
BILLIONS = f"a: &a [{', '.join('1' * 9)}]\n{BILLIONS}"


@pytest.fixture(autouse=True)
def code(monkeypatch):
    """Whoever edits the package while the tests run changes no key."""
    monkeypatch.setattr("workbench.sweeps.plan.source_digest", lambda *_: "code")


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "a.ipynb", "x = lr * n")  # parameters preset, run_dir, lr: float, n: int


def digest_of(cell):
    return cell.name.rpartition("-")[2]


def cells_of(tmp_path, **content):
    return plan(Grid(**{"name": "g", "run": "a.ipynb"} | content), tmp_path / "out", beside=tmp_path)


def test_cells_times_grid_times_seeds():
    grid = Grid(name="g", run="a", fixed={"z": 0}, cells=[{"a": 1}, {"a": 2}], grid={"b": [3, 4], "c": [5]}, seeds=2)
    found = list(combinations(grid))
    assert len(found) == 8
    assert found[0] == {"z": 0, "a": 1, "b": 3, "c": 5, "seed": 0}
    assert [(cell["a"], cell["b"], cell["seed"]) for cell in found] == [
        (a, b, seed) for a in (1, 2) for b in (3, 4) for seed in (0, 1)
    ]
    assert [
        cell["seed"] for cell in combinations(grid.model_copy(update={"seeds": [7], "cells": [{}], "grid": {}}))
    ] == [7]


def test_a_cell_has_the_same_key_as_long_as_nothing_that_matters_changes(tmp_path, notebook, monkeypatch):
    def digests(**content):
        return [digest_of(cell) for cell in cells_of(tmp_path, grid={"n": [2, 3]}, **content)]

    first = digests()
    assert len(set(first)) == 2
    assert digests() == first
    assert digests(fixed={"lr": 0.1}) == first  # the default, said aloud
    assert digests(preset="smoke") == first
    assert not set(digests(fixed={"lr": 0.2})) & set(first)
    assert not set(digests(preset="paper")) & set(first)
    write_notebook(notebook, "x = lr * n", title="Other prose")
    assert digests() == first
    write_notebook(notebook, "x = lr + n")
    assert not set(digests()) & set(first)
    write_notebook(notebook, "x = lr * n")
    monkeypatch.setattr("workbench.sweeps.plan.source_digest", lambda *_: "other code")
    assert not set(digests()) & set(first)


def test_folders_are_named_after_what_varies_and_fit_a_file_system(tmp_path, notebook):
    names = [cell.folder.name for cell in cells_of(tmp_path, grid={"lr": [1e-4, 0.2], "n": [10**70]})]
    assert names[0].startswith("a-0.0001-1000")
    assert len(set(names)) == 2
    assert max(map(len, names)) < 80
    assert all(cell.folder.parent == tmp_path / "out" / "cells" for cell in cells_of(tmp_path))


def test_cells_that_set_different_names_are_planned(tmp_path, notebook):
    cells = cells_of(tmp_path, cells=[{"lr": 0.2}, {"n": 3}])
    assert [(cell.parameters["lr"], cell.parameters["n"]) for cell in cells] == [(0.2, 2), (0.1, 3)]
    assert [cell.name.rpartition("-")[0] for cell in cells] == ["a-0.2-2", "a-0.1-3"]


def test_a_training_is_keyed_by_its_whole_configuration(tmp_path):
    grid = {"run": "train", "fixed": {"loss_options.sigma": 4}, "grid": {"model": ["mcnn", "csrnet"]}, "seeds": 2}
    cells = cells_of(tmp_path, **grid)
    assert [(cell.parameters["model"], cell.parameters["seed"]) for cell in cells] == [
        ("mcnn", 0),
        ("mcnn", 1),
        ("csrnet", 0),
        ("csrnet", 1),
    ]
    assert cells[0].parameters["loss_options"] == {"sigma": 4}
    assert cells[0].folder.name.startswith("mcnn-l2-random-0-")
    same = cells_of(tmp_path, **(grid | {"fixed": {"loss_options": {"sigma": 4}, "epochs": 20}}))
    assert [digest_of(cell) for cell in same] == [digest_of(cell) for cell in cells]


def test_dotted_names_lead_into_options_and_leave_what_is_shared_alone():
    shared = {"sigma": 4}
    assert nested({"loss_options": shared, "loss_options.beta": 1}) == {"loss_options": {"sigma": 4, "beta": 1}}
    assert shared == {"sigma": 4}
    with pytest.raises(ValueError, match=r"loss\.sigma: loss is 'l2', expected options"):
        nested({"loss": "l2", "loss.sigma": 4})


def test_two_thousand_cells_are_told_in_a_dozen_lines(tmp_path, notebook):
    cells = cells_of(tmp_path, grid={"lr": [0.1, 0.2, 0.3, 0.4], "n": list(range(500))})
    progress = SweepProgress(cells)
    (cells[0].folder / "result").mkdir(parents=True)
    (cells[0].folder / "result" / "record.json").write_text("{}")
    (cells[1].folder / "failed").mkdir(parents=True)
    (cells[1].folder / "failed" / "status.json").write_text("{}")
    progress = SweepProgress(cells)
    progress.start(cells[2].folder / "work-1")
    lines = progress.table().splitlines()
    assert [line.split() for line in lines] == [
        ["lr", "done", "running", "failed", "waiting"],
        ["0.1", "1", "1", "1", "497"],
        *(["0.2", "–", "–", "–", "500"], ["0.3", "–", "–", "–", "500"], ["0.4", "–", "–", "–", "500"]),
        ["all", "1", "1", "1", "1997"],
    ]
    assert progress.line() == "1/2000 done  1 running  1 failed  1997 waiting"
    many = SweepProgress(cells_of(tmp_path, grid={"n": list(range(500))})).table().splitlines()
    assert len(many) == 2  # five hundred rows would tell nobody anything


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"grid": {"n": [1, "x"], "m": [1]}}, "unknown parameter 'm', expected one of preset, run_dir, lr, n"),
        ({"grid": {"n": [1, "x", 2.5]}}, "parameter n is 'x', expected int; parameter n is 2.5, expected int"),
        ({"grid": {"n": []}}, "n has no values"),
        ({"seeds": 0}, "seed has no values"),
        ({"grid": {"n": [1]}, "fixed": {"n": 2}}, "sets n twice"),
        ({"seeds": -1}, "seed has no values"),
        ({"seeds": 10**30}, "seeds"),
        ({"seeds": 300_000_000}, r"300000000 cells \(1 of cells x 300000000 of seed\), expected at most 20000"),
        ({"grid": {letter: list(range(10)) for letter in "abcdefg"}}, "has 10000000 cells"),
        ({"grid": {"n": [1, 1]}}, "the same cell twice"),
        ({"fixed": {"run_dir": "here"}}, "run_dir is the sweep's own"),
        ({"run": "train", "grid": {"model": ["mcnn", "mcn"]}}, "unknown model 'mcn'"),
        ({"run": "train", "fixed": {"loss_options.sigm": 1}}, "loss 'l2' has no option 'sigm'"),
        ({"run": "train", "fixed": {"epochs": 0}}, "epochs is 0"),
        ({"run": "train", "preset": "smoke"}, "preset belongs to notebooks"),
    ],
)
def test_every_mistake_is_found_before_the_first_run(tmp_path, notebook, content, found):
    with pytest.raises(ValueError, match=found):
        cells_of(tmp_path, **content)
    assert not (tmp_path / "out").exists()


@pytest.mark.bad_input
def test_a_file_that_is_no_grid_is_named(tmp_path):
    file = tmp_path / "g.yaml"
    with pytest.raises(FileNotFoundError, match=r"there is no grid .*g\.yaml"):
        read_grid(file)
    for content, found in (
        ("run: a\nsedes: 3", "sedes: Extra inputs are not permitted; known keys: name, run"),
        ("[1]", "holds a list"),
        ("a: [", "is not YAML"),
        ("run: a\nname: ../b", "name: String should match"),
        ("run: a\n1: x", "has the key 1, expected text: write it in quotes"),
        ("run: a\ngrid: {1: [2]}", "has the key 1, expected text"),
        ("run: a\nfixed: {loss_options: {on: 2}}", "has the key True, expected text"),
        ("run: a\nfixed: {2020-13-45: 1}", "has the key|is not YAML"),
        ("run: a\nfixed: {day: 2020-13-45}", "is not YAML"),
        ("[" * 20_000, "nested too deeply"),
        ("a: &a [*a]", "more than 100000 values"),
        ("a: " + "x" * 1_000_001, "has 1000004 letters"),
        ("run: a\0", "holds zero bytes"),
        (BILLIONS, "more than 100000 values"),
        ("run: a\ntimeout: .nan", "timeout: Input should be"),
        ("run: a\nresources: {GPU: -1}", "resources.GPU: Input should be"),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=found):
            read_grid(file)
    file.write_text("run: nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere names no notebook"):
        plan(read_grid(file), tmp_path)
