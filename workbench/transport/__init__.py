"""Optimal transport between a density map and annotated points."""

from workbench.transport.costs import COSTS, TransportCost, cost_matrix
from workbench.transport.plan import TransportPlan, column_plan, row_plan, shannon_entropy
from workbench.transport.sinkhorn import sinkhorn

__all__ = [
    "COSTS",
    "TransportCost",
    "TransportPlan",
    "column_plan",
    "cost_matrix",
    "row_plan",
    "shannon_entropy",
    "sinkhorn",
]
