"""The optional parts of the installation: which extra brings which library."""

from importlib.util import find_spec

EXTRAS = {
    "data": ("PIL", "skimage", "sklearn", "torchvision", "matplotlib", "tqdm", "defusedxml"),
    "train": ("lightning_fabric", "timm", "pydantic", "yaml", "typer", "filelock"),
    "adversarial": ("torchattacks",),
    "sweeps": (
        *("papermill", "nbformat", "nbclient", "ipykernel"),
        *("psutil", "distributed", "pandas", "seaborn", "jinja2"),
    ),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "search": ("optuna",),
    "video": ("av",),
    "lab": ("jupyterlab", "ipywidgets", "anywidget", "voila"),
}
"""The modules of each extra of ``pyproject.toml``, without those of the extras that it contains."""


def need(extra: str) -> None:
    """Raise unless the libraries of ``extra`` are installed. A room that cannot work without them calls this first.

    Raises:
        ModuleNotFoundError: names the missing libraries and the extra that brings them.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"{', '.join(missing)} not installed, expected the extra {extra!r}: "
            f"pip install 'crowd-counting-workbench[{extra}]'",
            name=missing[0],
        )
