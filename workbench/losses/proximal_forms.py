r"""The conquer stage of the proximal mapping loss, [PML p. 6]: one problem a patch, in every form of the slides.

.. math:: \tilde{\mathcal L} = \min_{p \in \xi} c^\top p + \tau D(p, a)

The patch has the density a (a_i people in entry i), the costs c, b people and n entries. The slides print
:math:`p^\top a` in the general form, but :math:`c^\top p` in the proximal mapping and in each special case. By the
envelope theorem the gradient of the minimum is that of tau D at the minimiser p*. The functions here are closed forms,
and autograd differentiates them.

Each ``*_terms`` returns the terms summed over all patches, each ``*_target`` the minimiser p*, entry by entry.
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
    r"""[PML p. 12]: squared L2 with :math:`\tau / |1^\top a - b|` for tau.

    .. math:: (c-\bar c)^\top a + \frac{\tau}{2n} |1^\top a - b|

    With tau = 2 this is the slides' L'_b. The count part of the gradient is that of this value,
    :math:`\pm \tau / 2n`. (The slides detach the fraction, which would double it, and print tau = 1 in their table
    and 2 here.)
    """
    count = tau / (2 * patches.cells) * (patches.sum(mass) - patches.people).abs()
    return {"background": background_term(mass, patches), "count": count.sum()}


def l1_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r""":math:`p^* = a - \frac{1}{\tau} |1^\top a - b| c + \eta`: the density itself if the count is right."""
    return _filled(mass, patches, (patches.sum(mass) - patches.people).abs() / tau)


def l2_terms(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Terms:
    r"""[PML p. 11]: squared L2, :math:`D = \frac12 \|p - a\|^2`, as a background and a count term.

    .. math:: (c - \bar c)^\top a + \frac{\tau}{2n} (1^\top a - b)^2

    The minimum has a constant besides, :math:`b \bar c - \|c - \bar c\|^2 / 2\tau`, which is left out. The gradient
    is :math:`c_i - \tau \eta`.
    """
    count = tau / (2 * patches.cells) * (patches.sum(mass) - patches.people).square()
    return {"background": background_term(mass, patches), "count": count.sum()}


def l2_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r"""[PML p. 8]: :math:`p^* = a - c / \tau + \eta`, where the filler eta makes p* sum to b people."""
    return _filled(mass, patches, 1 / tau)


def _filled(mass: Tensor, patches: Patches, step: Tensor) -> Tensor:
    """``mass - step c + eta``; eta makes each patch sum to its people."""
    missing = (patches.people - patches.sum(mass)) / patches.cells
    return mass - step[patches.patch] * patches.centred_cost + missing[patches.patch]


def simplex_terms(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Terms:
    r"""Squared L2 over p >= 0: :math:`c^\top p^* + \frac{\tau}{2} \|p^* - a\|^2`, of gradient tau (a - p*)."""
    target = simplex_target(mass, patches, tau).detach()
    squared = tau[patches.patch] / 2 * (target - mass).square()
    return {"transport": patches.cost @ target, "divergence": squared.sum()}


def simplex_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r"""The minimiser over :math:`p \ge 0, 1^\top p = b`: the projection of :math:`a - c / \tau` onto that simplex.

    As tau -> 0 all b people are on the nearest cell: the limit that the slides print for p*.
    """
    free = _filled(mass.double(), patches, 1 / tau.double())
    people = patches.people.double()
    # an entry that lies b or more below the largest one ends at zero: cut there, the sums stay exact at any tau
    value = torch.maximum(free + patches.least(-free)[patches.patch], -people[patches.patch])
    # sort by patch, largest entry first. The first r entries of a patch stay positive; r is the last rank whose entry
    # is positive after the filler of the first r
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
    r"""[PML p. 14], DM-Count: the Bregman divergence of x log x - x, which is KL.

    .. math:: c^\top p^* + \tau \Big(p^{*\top} \log\frac{p^*}{a} - b + 1^\top a\Big)

    The gradient is :math:`\tau (1 - p^*_i / a_i)`. The density has to be above zero.
    """
    target, total = _gibbs(mass, patches, tau)
    people = patches.people
    # p* log(p* / a) in closed form, without the logarithm of an entry that underflowed
    entropy = torch.xlogy(people, people) - people * total.log() - people + patches.sum(mass)
    return {
        "transport": patches.cost @ target,
        "divergence": (tau * entropy).sum() - _excess(patches) @ target,
    }


def kl_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r""":math:`p^*_i = b a_i \exp(-c_i / \tau) / \eta`; eta makes p* sum to b. As tau grows, p* goes to b a / sum(a)."""
    return _gibbs(mass, patches, tau)[0]


def _excess(patches: Patches) -> Tensor:
    """The cost minus the smallest cost of its patch, so that the nearest cell's exponential does not underflow."""
    return patches.cost - patches.least(patches.cost)[patches.patch]


def _gibbs(mass: Tensor, patches: Patches, tau: Tensor) -> tuple[Tensor, Tensor]:
    """The minimiser, and each patch's eta without a factor exp(min c / tau)."""
    shifted = mass * (-_excess(patches) / tau[patches.patch]).exp()
    total = patches.sum(shifted)
    return (patches.people / total)[patches.patch] * shifted, total


def p2p_terms(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Terms:
    r"""[PML p. 13], P2PNet: L1 divergence, :math:`c^\top p^* + \tau \|p^* - a\|_1`, where p* is one cell."""
    chosen = _matched(mass, patches, tau)
    at, people = mass[chosen], patches.people
    rest = patches.sum(mass) - at
    return {
        "transport": people @ patches.cost[chosen],
        "divergence": (tau * (rest + (people - at).abs())).sum(),
    }


def p2p_target(mass: Float[Tensor, "e"], patches: Patches, tau: Float[Tensor, "k"]) -> Float[Tensor, "e"]:
    r"""The slides' :math:`p^* = b\,\delta(\arg\min_i c_i - 2 \tau a_i)` if no a_i exceeds b."""
    return torch.zeros_like(mass).index_add(0, _matched(mass, patches, tau), patches.people)


def _matched(mass: Tensor, patches: Patches, tau: Tensor) -> Tensor:
    """The entry of each patch that takes all its people; of equally good ones the first in row-major order.

    The objective depends on the choice by b c_i - tau (a_i - |b - a_i|). Where a_i <= b this is
    b c_i - 2 tau a_i + tau b, as in the slides. The norm itself also bounds the loss where a_i > b.
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
    r"""[PML p. 9], the traditional L2 loss: :math:`\|a - p^*\|^2` with a fixed Gaussian p*.

    Here tau is 0 and p may be any Gaussian that is at least sigma wide. The cheapest one has the width sigma and its
    mean on the annotation. For a person alone in the image this is the L2 loss.
    """
    return {"pixel": (mass - gaussian_target(patches, sigma)).square().sum()}


def gaussian_target(patches: Patches, sigma: float) -> Float[Tensor, "e"]:
    """A Gaussian of each patch's people around its annotation, over the cells of the patch."""
    squared = patches.distance.square() / (2 * sigma**2)
    weight = (patches.least(squared)[patches.patch] - squared).exp()
    return (patches.people / patches.sum(weight))[patches.patch] * weight
