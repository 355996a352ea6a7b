"""Exercises of the notebooks 100 to 130: transport, convergence, special cases, generalized and proximal loss."""

import math

import torch
from torch import Tensor

from workbench.exercises.exercise import Exercise
from workbench.losses.generalized_terms import divergence
from workbench.transport import TransportCost, column_plan, row_plan, sinkhorn


def _line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _cost(name: str, eta: tuple[float, float], distance: float) -> float:
    """The cost of a way along x, half way down the picture."""
    return float(TransportCost(name, eta=eta)(torch.tensor([[0, 0.5]]), torch.tensor([[distance, 0.5]])))


def _balanced() -> float:
    cost = (_line(0, 1)[:, None] - _line(0.1, 0.9)).square()
    return float((sinkhorn(cost, _line(1, 1), _line(1, 1), epsilon=1e-3).matrix * cost).sum())


def _spread() -> float:
    cells = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    plan = column_plan(cells.square()[:, None], _line(1), epsilon=0.02)[:, 0]
    return float((plan * cells.square()).sum().sqrt())


EXERCISES = {
    "100.1": Exercise(
        "Cells at 0 and 1 hold one person each, annotations are at 0.1 and 0.9. What does the balanced plan cost with"
        " the squared distance, as the entropy's weight goes to 0?",
        _balanced,
        "Each cell sends its person to the annotation beside it, 0.1 away.",
        "On a line the optimal plan of a convex cost never crosses.",
        tolerance=0.02,
    ),
    "100.2": Exercise(
        "One cell of mass 1, one annotation of mass 1, the cost between them is 0.5; tau = 0.5, epsilon = 0.005. How"
        " much mass does the unbalanced plan move?",
        lambda: float(sinkhorn(_line(0.5)[:, None], _line(1), _line(1), epsilon=0.005, tau=0.5).matrix.sum()),
        "Set the derivative of P C - eps H(P) + 2 tau KL(P | 1) to zero: C + (eps + 2 tau) log P = 0.",
        "exp(-C / (epsilon + 2 tau)): the dearer the way, the less is moved, and both sides pay for the rest.",
    ),
    "105.1": Exercise(
        "One Sinkhorn iteration shrinks the error by (tau / (tau + epsilon)) squared. How many iterations does a factor"
        " of 1000 take with tau = 0.5 and epsilon = 0.005?",
        lambda: math.log(1e-3) / (2 * math.log(0.5 / (0.5 + 0.005))),
        "log(1/1000) divided by the logarithm of what one iteration leaves.",
        'Hundreds, not "less than 20": this is why Newton\'s method is worth its price here.',
        tolerance=0.02,
    ),
    "110.1": Exercise(
        "With the squared distance and epsilon = 0.02, what is the standard deviation of the Gaussian that the column"
        " half-iteration spreads each person over?",
        _spread,
        "exp(-d^2 / eps) = exp(-d^2 / (2 sigma^2)).",
        "sigma^2 = epsilon / 2: the L2 loss with a Gaussian kernel is half an iteration of transport.",
    ),
    "110.2": Exercise(
        "A cell holding 1 person is as far from each of three annotations. What does the row half-iteration send to the"
        " first?",
        lambda: float(row_plan(torch.ones(1, 3), torch.ones(1), epsilon=0.1)[0, 0]),
        "Equal costs, equal shares, and the cell's mass is all handed out.",
        "This is the posterior of the Bayesian loss.",
    ),
    "120.1": Exercise(
        "With eq. (4) as printed, a person exactly on the annotation costs exp(0) = 1. Below which tau does the empty"
        " map beat the right one in transport and point (L1) terms together?",
        lambda: _cost("exponential", (0.8, 0.8), 0),
        "Right map: transport 1, point term 0. Empty map: transport 0, point term tau |0 - 1|.",
        "So the notebook trains with `cost_offset=1`, as the published implementation does.",
    ),
    "120.2": Exercise(
        "A cell holds 1 person, the plan moves 0.8 of it; tau = 0.5 and the pixel term is the squared L2. What is it?",
        lambda: 0.5 * float(divergence("l2", _line(0.8), _line(1.0))),
        "tau times the square of what stays behind.",
        "Small shortfalls are nearly free under the square, which is why the paper prefers L1 for the points.",
    ),
    "120.3": Exercise(
        "eta runs from 0.6 (top) to 0.8 (bottom). What is it between a cell and an annotation that are both half way"
        " down?",
        lambda: 0.3 / math.log(_cost("perspective", (0.6, 0.8), 0.3)),
        "Linear in the mean height of the two.",
        "A larger eta makes the same distance cheaper: near heads are large, and moving density a little matters less.",
    ),
    "130.1": Exercise(
        "In a patch the count is 0 with probability 0.9 and 10 otherwise. Which prediction has the least expected"
        " squared error?",
        lambda: 0.9 * 0 + 0.1 * 10,
        "The squared error is least at the mean.",
        "The median is 0: an L1-like loss forgets the rare crowd, the squared one remembers it on average.",
    ),
    "130.2": Exercise(
        "The L1 form is stationary where P(over) = (1 + mean cost) / 2. How often does it over-count at a mean cost of"
        " 0.2?",
        lambda: (1 + 0.2) / 2,
        "Put 0.2 into the formula.",
        "More often than half the time: under uncertainty the L1 form counts too many people.",
    ),
}
