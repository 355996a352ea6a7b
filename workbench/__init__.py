"""A research workbench for crowd counting: losses, models, samplers and adversarial training.

Nothing heavy is imported here; every room is imported by its own name, for instance
``from workbench.losses import build_loss``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.exercises import check

__all__ = ["__version__", "check"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``workbench.check``, imported when it is first asked for."""
    if name == "check":
        from workbench.exercises import check

        return check
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")
