"""What one works with by hand inside the notebooks, each one call: ``explore.transport()``.

Every explorer is shown as widgets where a kernel runs, and as a picture in a notebook that was executed; ``figure()``
gives the same state to a report. Nothing heavy is imported before the call.
"""

from typing import Any

from workbench.explore.base import Explorer

__all__ = ["Explorer", "losses", "transport"]


def transport(*arguments: Any, **options: Any) -> Explorer:
    """A map of density and heads with the transport plan between them: click, drag, paint, move the sliders.

    See :class:`workbench.explore.transport_explorer.TransportExplorer` for the arguments; there need be none.
    """
    from workbench.explore.transport_explorer import TransportExplorer

    return TransportExplorer(*arguments, **options)


def losses(*arguments: Any, **options: Any) -> Explorer:
    """The same density and heads under any losses: value, terms, gradient, and descent on the density itself.

    See :class:`workbench.explore.losses_explorer.LossesExplorer` for the arguments: ``losses(["l2", "generalized"])``.
    """
    from workbench.explore.losses_explorer import LossesExplorer

    return LossesExplorer(*arguments, **options)
