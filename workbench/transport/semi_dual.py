"""The semi-dual of unbalanced transport with the Kullback-Leibler divergence on both sides, by Newton's method."""

import torch
from jaxtyping import Float
from torch import Tensor

MOST_POTENTIAL = 30.0
"""Largest potential in units of rho: exp(-30) = 1e-13. Without mass on the rows the optimum is at infinity."""


def row_potential(
    potential: Float[Tensor, "b m"], cost: Float[Tensor, "b n m"], log_people: Float[Tensor, "b m"], epsilon: float
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n m"]]:
    r"""The c-transform :math:`\alpha_i = -\varepsilon \log \sum_j b_j e^{(\beta_j - c_{ij}) / \varepsilon}`.

    Args:
        potential: (B, m), beta.
        cost: (B, n, m).
        log_people: (B, m), the logarithms of b; -inf where there is nobody.
        epsilon: entropic regularisation in the unit of the cost.

    Returns:
        alpha, and the share of each column in its sum, (B, n, m).
    """
    scores, total = _scores(potential, cost, log_people, epsilon)
    return -epsilon * total, (scores - total[..., None]).exp()


def _scores(potential: Tensor, cost: Tensor, log_people: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    scores = (potential[:, None] - cost) / epsilon + log_people[:, None]
    return scores, torch.logsumexp(scores, dim=2)


def semi_dual(
    cost: Float[Tensor, "b n m"],
    a: Float[Tensor, "b n"],
    b: Float[Tensor, "b m"],
    *,
    epsilon: float,
    rho: float,
    tolerance: float = 1e-12,
    max_iterations: int = 200,
) -> Float[Tensor, "b m"]:
    r"""The column potential that maximises the semi-dual objective.

    .. math:: \sum_i a_i \rho (1 - e^{-\alpha_i(\beta) / \rho}) + \sum_j b_j \rho (1 - e^{-\beta_j / \rho}),

    where alpha is :func:`row_potential`. It is concave. At its maximum the mass that column j receives,
    :math:`\sum_i a_i e^{-\alpha_i / \rho} s_{ij}` with the shares s, equals the mass :math:`b_j e^{-\beta_j / \rho}`
    that it keeps. Each Newton step solves one (m, m) system an image; a step that does not increase the objective is
    halved.

    Args:
        cost: (B, n, m).
        a: (B, n), mass of the rows, not below zero.
        b: (B, m), mass of the columns; each image has some. A column of none takes nothing.
        epsilon: entropic regularisation in the unit of the cost.
        rho: weight of both divergences in the unit of the cost.
        tolerance: largest difference of the two masses of a column, relative to what it keeps and b_j.
        max_iterations: the most Newton steps.

    Returns:
        (B, m), at most ``MOST_POTENTIAL`` rho. Zero for a column of no mass.
    """
    taken = b > 0
    people, logs = torch.where(taken, b, 1), b.log()
    total = (a.sum(dim=1) / b.sum(dim=1)).clamp(min=torch.finfo(a.dtype).tiny)
    # one row and one column at no cost have this solution
    beta = torch.where(taken, (-rho / 2 * total.log()).clamp(max=MOST_POTENTIAL * rho)[:, None], 0)
    identity = torch.eye(b.shape[1], dtype=a.dtype, device=a.device)
    for _ in range(max_iterations):
        value, kept, received, curvature = _state(beta, cost, a, b, logs, epsilon, rho)
        slope = torch.where(taken, kept - received, 0)
        ahead = (beta < MOST_POTENTIAL * rho) | (slope < 0)  # a potential at its bound that wants to rise further stays
        slope = torch.where(ahead, slope, 0)
        if bool((slope.abs() <= tolerance * (people + kept)).all()):
            break
        free = (taken & ahead)[:, :, None] & (taken & ahead)[:, None, :]
        matrix = torch.where(free, curvature, identity)
        # a diagonal of ones: potentials of very different curvature are solved for with the same accuracy
        scale = matrix.diagonal(dim1=1, dim2=2).rsqrt()
        step = scale * torch.linalg.solve(scale[:, :, None] * matrix * scale[:, None], scale * slope)
        # far below the optimum the kept mass is huge and falls by a factor e a step of rho
        size = torch.ones_like(value)
        for _ in range(40):
            trial = (beta + size[:, None] * step).clamp(max=MOST_POTENTIAL * rho)
            risen = _value(trial, cost, a, b, logs, epsilon, rho) >= value - 1e-14 * value.abs()
            if bool(risen.all()):
                break
            size = torch.where(risen, size, size / 2)
        beta = trial
    return beta


def _value(
    beta: Tensor, cost: Tensor, a: Tensor, b: Tensor, logs: Tensor, epsilon: float, rho: float
) -> Float[Tensor, "b"]:
    return _objective(-epsilon * _scores(beta, cost, logs, epsilon)[1], beta, a, b, rho)


def _objective(alpha: Tensor, beta: Tensor, a: Tensor, b: Tensor, rho: float) -> Float[Tensor, "b"]:
    return -rho * (torch.expm1(-alpha / rho) * a).sum(dim=1) - rho * (torch.expm1(-beta / rho) * b).sum(dim=1)


def _state(
    beta: Tensor, cost: Tensor, a: Tensor, b: Tensor, logs: Tensor, epsilon: float, rho: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The objective, the mass that each column keeps and receives, and minus the second derivative."""
    alpha, share = row_potential(beta, cost, logs, epsilon)
    value = _objective(alpha, beta, a, b, rho)
    sent = torch.exp(-alpha / rho) * a
    kept = torch.exp(-beta / rho) * b
    received = (sent[:, None] @ share)[:, 0]
    curvature = torch.diag_embed(kept / rho + received / epsilon)
    curvature = curvature - (1 / epsilon - 1 / rho) * (share.mT @ (sent[:, :, None] * share))
    return value, kept, received, curvature
