"""Points from a density map."""

from workbench.localization.batch import METHODS, Localized, find_points
from workbench.localization.maxima import local_maxima
from workbench.localization.ot_m import OT_M_EPSILONS, ot_m
from workbench.localization.start import bisection_start

__all__ = [
    "METHODS",
    "OT_M_EPSILONS",
    "Localized",
    "bisection_start",
    "find_points",
    "local_maxima",
    "ot_m",
]
