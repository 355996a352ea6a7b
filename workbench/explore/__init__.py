"""What one works with by hand inside the notebooks, each one call: ``explore.transport()``.

Every explorer is shown as widgets where a kernel runs, and as a picture in a notebook that was executed; ``figure()``
gives the same state to a report. Nothing heavy is imported before the call.
"""

from typing import Any

from workbench.io.extras import need

need("lab")

from workbench.explore.base import Explorer  # noqa: E402

__all__ = ["Explorer", "experts", "locality", "losses", "margins", "transport"]


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


def locality(*arguments: Any, **options: Any) -> Explorer:
    """Patches in groups and bins of LADP, and the zoom of one of them.

    See :class:`workbench.explore.locality_explorer.LocalityExplorer` for the arguments; there need be none.
    """
    from workbench.explore.locality_explorer import LocalityExplorer

    return LocalityExplorer(*arguments, **options)


def margins(*arguments: Any, **options: Any) -> Explorer:
    """A digit, the sign of its gradient, the margin found by bisection, and all margins by training epoch.

    See :class:`workbench.explore.margins_explorer.MarginsExplorer` for the arguments; there need be none.
    """
    from workbench.explore.margins_explorer import MarginsExplorer

    return MarginsExplorer(*arguments, **options)


def experts(*arguments: Any, **options: Any) -> Explorer:
    """HMoDE's gate maps on a picture, with the weights at the pixel under the pointer.

    See :class:`workbench.explore.experts_explorer.ExpertsExplorer` for the arguments; there need be none.
    """
    from workbench.explore.experts_explorer import ExpertsExplorer

    return ExpertsExplorer(*arguments, **options)
