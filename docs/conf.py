"""Sphinx: the reference of the package and the index of equations, on pages that read without a network."""

import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.ext.apidoc import main as apidoc

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import equations  # noqa: E402

import workbench  # noqa: E402

project = "Crowd counting workbench"
author = "the workbench's authors"
version = release = workbench.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build", "reference/workbench.rst"]
html_static_path = ["static"]
html_css_files = ["style.css"]
html_theme = "furo"
html_title = project
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
napoleon_use_ivar = True
autodoc_typehints = "none"  # shapes and types stand in the docstrings
add_module_names = False
suppress_warnings = ["ref.python", "autodoc.import_object"]


def show_math(self, node):
    """An equation as MathML, which browsers draw themselves."""
    block = isinstance(node, nodes.math_block)
    self.body.append(convert(node.astext(), display="block" if block else "inline"))
    raise nodes.SkipNode


def write_pages(app):
    """The pages that are made of the code: one a module, and the index of equations."""
    options = ["--force", "--separate", "--no-toc", "--templatedir", str(HERE / "templates")]
    apidoc([*options, "-o", str(HERE / "reference"), str(Path(workbench.__file__).parent)])
    (HERE / "equations.rst").write_text(equations.page(), encoding="utf-8")


def setup(app):
    """Register the equations' renderer and the pages."""
    app.add_html_math_renderer("mathml", (show_math, None), (show_math, None))
    app.connect("builder-inited", write_pages)
