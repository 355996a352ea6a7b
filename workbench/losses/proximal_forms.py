r"""The conquer stage of the proximal mapping loss: one problem a patch, in every form of the slides.

.. math:: \tilde{\mathcal L} = \min_{p \in \xi} c^\top p + \tau D(p, a)

with the patch's density a (a_i people in entry i), its costs c, its people b and n entries. The slides print
:math:`p^\top a` in the general form; their special cases and the proximal mapping itself have :math:`c^\top p`.
Written as min_p, a form's gradient is that of tau D alone at the minimiser p* (envelope theorem): the functions here
are the closed forms, and autograd differentiates them.

Each ``*_terms`` returns the terms of all patches together, each ``*_target`` the minimiser p* of each entry.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.losses.proximal_patches import Patches

Terms = dict[str, Float[Tensor, ""]]


def background_term(mass: Float[Tensor, "e"], patches: Patches) -> Float[Tensor, ""]:
    r"""The background loss :math:`(c - \bar c)^\top a`, summed over the patches."""
    return patches.centred_cost @ mass


def l1_terms(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Terms:
    r"""Squared L2 with :math:`\tau / |1^\top a - b|` for tau.

    .. math:: (c-\bar c)^\top a + \frac{\tau}{2n} |1^\top a - b|

    With tau = 2 this is the slides' L'_b. Its gradient has the count part :math:`\pm \tau / 2n`: that of the value, as
    in the slides' table of losses (which has 1 where the later slide has 2 in its detached tau).
    """
    count = tau / (2 * patches.cells) * (patches.sum(mass) - patches.people).abs()
    return {"background": background_term(mass, patches), "count": count.sum()}


def l1_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r""":math:`p^* = a - \frac{1}{\tau} |1^\top a - b| c + \eta`; the density itself where the count is right."""
    return _filled(mass, patches, (patches.sum(mass) - patches.people).abs() / tau)


def l2_terms(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Terms:
    r"""Squared L2, :math:`D = \frac12 \|p - a\|^2`: :math:`(c - \bar c)^\top a + \frac{\tau}{2n} (1^\top a - b)^2`.

    The minimum is this and a constant, :math:`b \bar c - \|c - \bar c\|^2 / 2\tau`; the gradient is
    :math:`c_i - \tau \eta`.
    """
    count = tau / (2 * patches.cells) * (patches.sum(mass) - patches.people).square()
    return {"background": background_term(mass, patches), "count": count.sum()}


def l2_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r""":math:`p^* = a - c / \tau + \eta`, where eta fills p* up to b people."""
    return _filled(mass, patches, 1 / tau)


def _filled(mass: Tensor, patches: Patches, step: Tensor) -> Tensor:
    """``mass - step c + eta`` with the eta that makes each patch sum to its people."""
    missing = (patches.people - patches.sum(mass)) / patches.cells
    return mass - step[patches.patch] * patches.centred_cost + missing[patches.patch]


def simplex_terms(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Terms:
    r"""Squared L2 over p >= 0: :math:`c^\top p^* + \frac{\tau}{2} \|p^* - a\|^2`, of gradient tau (a - p*)."""
    target = simplex_target(mass, patches, tau).detach()
    squared = tau[patches.patch] / 2 * (target - mass).square()
    return {"transport": patches.cost @ target, "divergence": squared.sum()}


def simplex_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r"""The minimiser over :math:`p \ge 0, 1^\top p = b`: the projection of :math:`a - c / \tau` onto that simplex.

    All b people on the nearest cell as tau -> 0, the limit that the slides give for p*.
    """
    free = _filled(mass.double(), patches, 1 / tau.double())
    people = patches.people.double()
    # nothing b below the largest entry stays above zero: cutting there keeps the running sums exact at any tau
    value = torch.maximum(free + patches.least(-free)[patches.patch], -people[patches.patch])
    # entries by patch, largest first: the first r of a patch stay above zero, for the last r at which the r-th does
    order = torch.argsort(value, descending=True, stable=True)
    order = order[torch.argsort(patches.patch[order], stable=True)]
    label, ranked = patches.patch[order], value[order]
    end = torch.bincount(patches.patch, minlength=len(people)).cumsum(0)
    start = torch.cat([end.new_zeros(1), end[:-1]])
    rank = torch.arange(1, len(ranked) + 1, device=ranked.device) - start[label]
    running = torch.cat([ranked.new_zeros(1), ranked.cumsum(0)])
    filler = (people[label] - (running[1:] - running[start[label]])) / rank
    last = torch.ones_like(start).scatter_reduce(0, label, rank * (ranked + filler > 0), "amax")
    return (value + filler[start + last - 1][patches.patch]).clamp(min=0).to(mass)


def kl_terms(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Terms:
    r"""Bregman divergence of x log x - x, KL: :math:`c^\top p^* + \tau (p^{*\top} \log\frac{p^*}{a} - b + 1^\top a)`.

    The gradient is :math:`\tau (1 - p^*_i / a_i)`; the density has to be above zero.
    """
    target, total = _gibbs(mass, patches, tau)
    people = patches.people
    # p* log(p* / a) in closed form: no logarithm of an entry that has underflowed
    entropy = torch.xlogy(people, people) - people * total.log() - people + patches.sum(mass)
    return {
        "transport": patches.cost @ target,
        "divergence": (tau * entropy).sum() - _excess(patches) @ target,
    }


def kl_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r""":math:`p^*_i = b a_i \exp(-c_i / \tau) / \eta`, where eta makes it b people; b a / sum(a) as tau grows."""
    return _gibbs(mass, patches, tau)[0]


def _excess(patches: Patches) -> Tensor:
    """The cost less the least of its patch, so that no exponential underflows everywhere."""
    return patches.cost - patches.least(patches.cost)[patches.patch]


def _gibbs(mass: Tensor, patches: Patches, tau: Tensor) -> tuple[Tensor, Tensor]:
    """The minimiser, and each patch's eta but for a factor exp(min c / tau)."""
    shifted = mass * (-_excess(patches) / tau[patches.patch]).exp()
    total = patches.sum(shifted)
    return (patches.people / total)[patches.patch] * shifted, total


def p2p_terms(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Terms:
    r"""P2PNet: L1 divergence over the points of the patch: :math:`c^\top p^* + \tau \|p^* - a\|_1`, p* a Dirac."""
    chosen = _matched(mass, patches, tau)
    at, people = mass[chosen], patches.people
    rest = patches.sum(mass) - at
    return {
        "transport": people @ patches.cost[chosen],
        "divergence": (tau * (rest + (people - at).abs())).sum(),
    }


def p2p_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r""":math:`p^* = b\,\delta(\arg\min_i c_i - 2 \tau a_i)`, the slides' argmin, wherever no a_i exceeds b."""
    return torch.zeros_like(mass).index_add(0, _matched(mass, patches, tau), patches.people)


def _matched(mass: Tensor, patches: Patches, tau: Tensor) -> Tensor:
    """The entry of each patch that takes its people; the first in row-major order of equally good ones.

    The terms of the objective that depend on the choice are b c_i - tau (a_i - |b - a_i|), which is
    b c_i - 2 tau a_i + tau b where a_i <= b: the norm itself, so that the loss is bounded where a_i > b, too.
    """
    with torch.no_grad():
        people, weight = patches.people[patches.patch], tau[patches.patch]
        score = people * patches.cost - weight * (mass - (people - mass).abs())
        best = score == patches.least(score)[patches.patch]
        entry = torch.where(best, patches.cell, patches.cell.max() + 1)
        first = torch.zeros_like(patches.people, dtype=torch.long)
        first = first.scatter_reduce(0, patches.patch, entry, "amin", include_self=False)
        chosen = torch.nonzero(patches.cell == first[patches.patch])[:, 0]
        return chosen[torch.argsort(patches.patch[chosen])]


def gaussian_terms(mass: Float[Tensor, "e"], patches: Patches, sigma: float) -> Terms:
    r"""The L2 loss's row of the slides' table, :math:`\|a - p^*\|^2` with p* a fixed Gaussian.

    There tau is 0 and p may be any Gaussian no narrower than sigma, of which the narrowest around the annotation is
    the cheapest. Of somebody alone this is the traditional L2 loss.
    """
    return {"pixel": (mass - gaussian_target(patches, sigma)).square().sum()}


def gaussian_target(patches: Patches, sigma: float) -> Float[Tensor, "e"]:
    """A Gaussian of each patch's people around its annotation, over the cells of the patch."""
    squared = patches.distance.square() / (2 * sigma**2)
    weight = (patches.least(squared)[patches.patch] - squared).exp()
    return (patches.people / patches.sum(weight))[patches.patch] * weight
