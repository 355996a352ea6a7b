"""Which equation of which paper lives where: read off the tags, such as [GL 6], in docstrings and notebooks."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAPERS = {
    "GL": ("Generalized loss (unbalanced optimal transport)", [str(number) for number in range(1, 16)]),
    "GL supp": ("Generalized loss, supplement", [str(number) for number in range(1, 13)]),
    "PML": ("Proximal mapping loss, slides", ["1", "2"]),
    "LA": (
        "Locality-aware crowd counting",
        [*(str(number) for number in range(1, 10)), "Alg. 1", "Alg. 2", "Def. 1", "Lemma 1", "Lemma 2"],
    ),
    "HMoDE": ("Hierarchical mixture of density experts, relative local counting", [str(n) for n in range(1, 8)]),
}
"""Of each paper its title, and every equation, algorithm, definition and lemma that it numbers."""

TAG = re.compile(r"\[(GL supp|GL|PML|LA|HMoDE) ((?:Alg\. |Lemma |Def\. |p\. )?\d+)\]")


class Home(NamedTuple):
    """A place that implements or shows what is tagged.

    Attributes:
        tag: for instance "GL 6".
        file: relative to the project.
        line: of the definition; 0 in a notebook.
        name: the function or class with its module, or the notebook's stem.
    """

    tag: str
    file: str
    line: int
    name: str


def tags(text: str) -> list[str]:
    """The tags in a text, each once, in their order."""
    return list(dict.fromkeys(" ".join(found) for found in TAG.findall(text)))


def in_package() -> Iterator[Home]:
    """The definitions of the package whose docstrings carry tags."""
    for path in sorted((ROOT / "workbench").rglob("*.py")):
        file = path.relative_to(ROOT)
        module = ".".join(file.with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = module if isinstance(node, ast.Module) else f"{module}.{node.name}"
                for tag in tags(ast.get_docstring(node) or ""):
                    yield Home(tag, str(file), getattr(node, "lineno", 1), name)


def in_notebooks() -> Iterator[Home]:
    """The notebooks whose text carries tags."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        for tag in tags(text):
            yield Home(tag, str(path.relative_to(ROOT)), 0, path.stem)


def page() -> str:
    """The index as a page in reStructuredText."""
    package, notebooks = list(in_package()), list(in_notebooks())
    lines = ["Equations", "=========", "", "Every equation, algorithm and lemma of the papers, and its home.", ""]
    for paper, (title, numbers) in PAPERS.items():
        lines += [title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", ""]
        lines += ["   * - tag", "     - home", "     - shown in"]
        for number in numbers:
            tag = f"{paper} {number}"
            homes = [
                f":obj:`{home.name.removeprefix('workbench.')} <{home.name}>`" for home in package if home.tag == tag
            ]
            shown = [home.name for home in notebooks if home.tag == tag]
            lines += [f"   * - [{tag}]", f"     - {', '.join(homes)}", f"     - {', '.join(shown)}"]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
