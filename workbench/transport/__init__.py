"""Optimal transport between a density map and annotated points: every solver, and the plan that they return."""

from workbench.transport.batched import batched_sinkhorn
from workbench.transport.costs import COSTS, TransportCost, cost_matrix
from workbench.transport.dense import sinkhorn, sinkhorn_iterations
from workbench.transport.plan import TransportPlan, column_plan, row_plan, shannon_entropy

__all__ = [
    "COSTS",
    "TransportCost",
    "TransportPlan",
    "batched_sinkhorn",
    "column_plan",
    "cost_matrix",
    "row_plan",
    "shannon_entropy",
    "sinkhorn",
    "sinkhorn_iterations",
]
