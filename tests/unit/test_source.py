"""The digest of the code that a result depends on: what changes it, and what does not."""

import pytest

from workbench.io import source

FILES = {
    "__init__.py": "",
    "training/__init__.py": "",
    "training/experiment.py": "from workbench.losses import build\ndef run():\n    from workbench.points import flip\n",
    "losses/__init__.py": 'TABLE = {"l2": "workbench.losses.l2:L2"}\n\ndef build():\n    return 1\n',
    "losses/l2.py": "class L2:\n    pass\n",
    "points.py": "def flip():\n    return 2\n",
    "commands/__init__.py": "",
    "commands/lab.py": "import workbench.training.experiment\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package of the same name, and a function that changes one of its files and gives the digest."""
    package = tmp_path / "workbench"
    for name, content in FILES.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    monkeypatch.setattr(source, "PACKAGE", package)

    def digest(name: str = "points.py", content: str | None = None) -> str:
        (package / name).write_text(FILES[name] if content is None else content)
        found = source.source_digest("workbench.training.experiment")
        (package / name).write_text(FILES[name])
        return found

    return digest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("commands/lab.py", "x = 1\n"),
        ("points.py", '"""What it is."""\n\n# why\ndef flip():\n    """Turn."""\n    return (2)\n'),
        ("losses/l2.py", 'class L2:\n    """A loss."""\n\n    pass\n'),
    ],
)
def test_what_training_cannot_reach_and_prose_leave_the_digest(package, name, content):
    assert package(name, content) == package()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("points.py", "def flip():\n    return 3\n"),  # imported inside a function
        ("losses/l2.py", "class L2:\n    weight = 2\n"),  # named by a registry
        ("losses/__init__.py", "def build():\n    return 1\n"),
        ("__init__.py", "x = 1\n"),  # imported with every module below it
        ("training/experiment.py", "import workbench.points\n"),
    ],
)
def test_what_training_can_reach_changes_the_digest(package, name, content):
    assert package(name, content) != package()


def test_the_packages_own_training_does_not_reach_commands_or_pages():
    reached = source._reached(["workbench.training.experiment"])
    assert {"workbench.losses.generalized", "workbench.models.csrnet", "workbench.sampling.partition"} <= set(reached)
    assert not {name.split(".")[1] for name in reached if "." in name} & {"commands", "reports", "sweeps", "explore"}


def test_imports_of_code_are_the_packages_alone():
    code = "import numpy\nfrom workbench.losses import build_loss\nfrom workbench import points\nname = 'workbench run'"
    assert source.imported(code) == {"workbench", "workbench.losses", "workbench.points"}


@pytest.mark.bad_input
def test_a_root_that_is_no_module_is_refused():
    for roots in ((), ("workbench.nowhere",), ("numpy",)):
        with pytest.raises(ValueError, match="expected modules of the package"):
            source.source_digest(*roots)
