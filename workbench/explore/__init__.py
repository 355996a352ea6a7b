"""What one works with by hand inside the notebooks, each one call: ``explore.transport()``.

Every explorer is shown as widgets where a kernel runs, and as a picture in a notebook that was executed; ``figure()``
gives the same state to a report. An explorer is imported when it is first asked for, and nothing heavy before that.
"""

from typing import Any

from workbench.io.extras import need

need("lab")

from workbench.explore.base import Explorer  # noqa: E402
from workbench.registry import look_up  # noqa: E402

EXPLORERS = {
    "experts": "workbench.explore.experts_explorer:ExpertsExplorer",
    "locality": "workbench.explore.locality_explorer:LocalityExplorer",
    "losses": "workbench.explore.losses_explorer:LossesExplorer",
    "margins": "workbench.explore.margins_explorer:MarginsExplorer",
    "transport": "workbench.explore.transport_explorer:TransportExplorer",
}
__all__ = ["Explorer", *EXPLORERS]


def __getattr__(name: str) -> Any:
    """The class of the explorer ``name``."""
    if name in EXPLORERS:
        return look_up(EXPLORERS, name, "explorer")
    raise AttributeError(f"module 'workbench.explore' has no attribute {name!r}, expected {', '.join(EXPLORERS)}")
