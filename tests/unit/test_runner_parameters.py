"""What a parameters cell declares, and values read as what it declares."""

import pytest
from small_notebooks import write_notebook

from workbench.runs.parameters import Parameter, read_parameters, typed_parameters

CELL = """\
preset: str = "smoke"  # smoke, default or paper
lr: float = 1e-3  # step = this times the gradient
n: int = 2
flip: bool = True
# a line of its own
losses: list[str] = [
    "l2",
    "bayesian",
]  # which ones
shares: list[float] = []
"""


@pytest.fixture
def known(tmp_path):
    return read_parameters(write_notebook(tmp_path / "a.ipynb", parameters=CELL))


def test_a_cell_is_read_with_types_and_defaults(known):
    assert list(known) == ["preset", "lr", "n", "flip", "losses", "shares"]
    assert known["lr"] == Parameter("float", 1e-3)
    assert known["losses"] == Parameter("list[str]", ["l2", "bayesian"])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "1e-4", 1e-4),
        ("lr", "2", 2.0),
        ("n", "-3", -3),
        ("flip", "false", False),
        ("preset", "paper", "paper"),
        ("losses", "l2, dm_count", ["l2", "dm_count"]),
        ("losses", '["a,b"]', ["a,b"]),
        ("losses", "", []),
        ("shares", "0.5,1", [0.5, 1.0]),
        ("lr", 1, 1.0),
        ("losses", ["l2"], ["l2"]),
    ],
)
def test_values_take_the_declared_type(known, name, text, value):
    typed = typed_parameters(known, {name: text})[name]
    assert typed == value
    assert type(typed) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "declared"),
    [
        ("n", "abc", "int"),
        ("n", "1.5", "int"),
        ("n", True, "int"),
        ("lr", "nan", "float"),
        ("lr", "1,5", "float"),
        ("flip", "maybe", "bool"),
        ("preset", 3, "str"),
        ("shares", "[0.5", r"list\[float\]"),
        ("shares", "a", r"list\[float\]"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(known, name, value, declared):
    with pytest.raises(ValueError, match=f"parameter {name} is {value!r}, expected {declared}".replace("[0", r"\[0")):
        typed_parameters(known, {name: value})


def test_unknown_names_and_presets_list_the_known(known):
    with pytest.raises(ValueError, match=r"unknown parameter 'learning_rate', expected one of preset, lr, n, "):
        typed_parameters(known, {"learning_rate": 1})
    with pytest.raises(ValueError, match="preset is 'large', expected one of 'smoke', 'default', 'paper'"):
        typed_parameters(known, {"preset": "large"})


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("n = 2", "expected 'name: type = default"),
        ("n: int", "expected 'name: type = default"),
        ("import os", "expected 'name: type = default"),
        ("n: int | None = None", "has the type int | None"),
        ("n: int = 'two'", "parameter n is 'two', expected int"),
        ("n: int = 1 +", "invalid syntax"),
        ("n: int = len('ab')", "malformed node"),
    ],
)
def test_a_cell_that_declares_no_plain_parameters_is_refused(tmp_path, cell, complaint):
    path = write_notebook(tmp_path / "a.ipynb", parameters=cell)
    with pytest.raises(ValueError, match=r"the parameters cell of .*a\.ipynb") as caught:
        read_parameters(path)
    assert complaint in str(caught.value)


def test_files_that_are_no_notebook_are_named(tmp_path):
    for name, content in (("text.ipynb", "hello"), ("list.ipynb", "[]"), ("dict.ipynb", "{}")):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"{name}"):
            read_parameters(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.ipynb does not exist"):
        read_parameters(tmp_path / "none.ipynb")
    with pytest.raises(ValueError, match="has 0 cells tagged 'parameters'"):
        read_parameters(write_notebook(tmp_path / "untagged.ipynb", "x = 1", parameters=None))
