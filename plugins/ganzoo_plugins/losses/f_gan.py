"""f-GAN: an adversarial loss for each f-divergence.

Nowozin, Cseke & Tomioka 2016, "f-GAN: Training Generative Neural Samplers using Variational Divergence Minimization",
arXiv:1606.00709. For convex f with f(1) = 0, D_f(P‖Q) = ∫ q f(p/q) is bounded from below (equation 4) by F, which D
maximises and G minimises (equation 7):

    F = E_{x∼P}[g_f(V(x))] - E_{x∼Q}[f*(g_f(V(x)))]

V is the logit, P the distribution of the data, Q that of the fakes. The table gives the output activation g_f and the
conjugate f* of the paper's table 2 (for total variation, of its supplement); f*(g_f(v)), simplified so that no
intermediate result overflows; and the v at which the bound equals the divergence:

                      D_f(P‖Q)          g_f(v)                    f*(t)            f*(g_f(v))             best v
    kl                ∫ p log(p/q)      v                         e^(t - 1)        e^(v - 1)              1 + log(p/q)
    reverse-kl        ∫ q log(q/p)      -e^(-v)                   -1 - log(-t)     v - 1                  log(p/q)
    pearson           ∫ (p - q)²/q      v                         t²/4 + t         v²/4 + v               2 (p/q - 1)
    hellinger         ∫ (√p - √q)²      1 - e^(-v)                t/(1 - t)        e^v - 1                1/2 log(p/q)
    jensen-shannon    2 JS(P, Q)        log 2 - log(1 + e^(-v))   -log(2 - e^t)    log(1 + e^v) - log 2   log(p/q)
    total-variation   1/2 ∫ |p - q|     1/2 tanh(v)               t                1/2 tanh(v)            ±∞

g_f is increasing, as section 2.4 requires, so large logits mean real. The row "GAN" of the paper's table is this zoo's
``minimax``.

Differences from the paper:

- Beyond an exponent of 20, e^x continues along its tangent, because otherwise a single outlier could overflow a
  float32. The bound is unchanged unless a density ratio is above e^20 or below e^-20.
- The supplement's other divergences are not implemented.
"""

from __future__ import annotations

from abc import abstractmethod
from math import log

from torch import Tensor
from torch.nn.functional import relu, softplus

from ganzoo import AdversarialLoss, Register, beside, hookimpl

PAPER = "Nowozin, Cseke & Tomioka 2016, f-GAN, arXiv:1606.00709"
STEEPEST = 20.0


def bounded_exp(exponent: Tensor) -> Tensor:
    """e^x up to x = 20, and its tangent beyond."""
    return exponent.clamp(max=STEEPEST).exp() * (1 + relu(exponent - STEEPEST))


class FGan(AdversarialLoss):
    """The variational bound of one divergence.

    Args:
        non_saturating: G maximises E[g_f(V(G(z)))] instead, which has the same fixed point (section 3.2).
    """

    def __init__(self, *, non_saturating: bool = False) -> None:
        super().__init__()
        self.non_saturating = non_saturating

    @abstractmethod
    def activation(self, v: Tensor) -> Tensor:
        """g_f(v), elementwise."""

    @abstractmethod
    def conjugate(self, v: Tensor) -> Tensor:
        """f*(g_f(v)), elementwise."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-F."""
        return self.conjugate(fake).mean() - self.activation(real).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """-E[f*(g_f(V(G(z))))], the part of F that depends on G."""
        return -(self.activation(fake) if self.non_saturating else self.conjugate(fake)).mean()


class KL(FGan):
    """Kullback-Leibler, f(u) = u log u: covers every mode of the data."""

    def activation(self, v: Tensor) -> Tensor:
        """g_f(v) = v."""
        return v

    def conjugate(self, v: Tensor) -> Tensor:
        """f*(g_f(v)) = e^(v - 1)."""
        return bounded_exp(v - 1)


class ReverseKL(FGan):
    """Reverse Kullback-Leibler, f(u) = -log u: avoids fakes that the data doesn't contain."""

    def activation(self, v: Tensor) -> Tensor:
        """g_f(v) = -e^(-v)."""
        return -bounded_exp(-v)

    def conjugate(self, v: Tensor) -> Tensor:
        """f*(g_f(v)) = v - 1."""
        return v - 1


class Pearson(FGan):
    """Pearson χ², f(u) = (u - 1)²."""

    def activation(self, v: Tensor) -> Tensor:
        """g_f(v) = v."""
        return v

    def conjugate(self, v: Tensor) -> Tensor:
        """f*(g_f(v)) = v²/4 + v."""
        return v.square() / 4 + v


class Hellinger(FGan):
    """Squared Hellinger, f(u) = (√u - 1)²."""

    def activation(self, v: Tensor) -> Tensor:
        """g_f(v) = 1 - e^(-v)."""
        return 1 - bounded_exp(-v)

    def conjugate(self, v: Tensor) -> Tensor:
        """f*(g_f(v)) = e^v - 1."""
        return bounded_exp(v) - 1


class JensenShannon(FGan):
    """Jensen-Shannon, f(u) = u log u - (u + 1) log((u + 1)/2)."""

    def activation(self, v: Tensor) -> Tensor:
        """g_f(v) = log 2 - log(1 + e^(-v))."""
        return log(2) - softplus(-v)

    def conjugate(self, v: Tensor) -> Tensor:
        """f*(g_f(v)) = log(1 + e^v) - log 2."""
        return softplus(v) - log(2)


class TotalVariation(FGan):
    """Total variation, f(u) = 1/2 |u - 1|. g_f and f*(g_f) are equal, so ``non_saturating`` changes nothing."""

    def activation(self, v: Tensor) -> Tensor:
        """g_f(v) = 1/2 tanh(v)."""
        return v.tanh() / 2

    def conjugate(self, v: Tensor) -> Tensor:
        """f*(g_f(v)) = 1/2 tanh(v)."""
        return v.tanh() / 2


DIVERGENCES = {
    "kl": (KL, "Kullback-Leibler divergence"),
    "reverse-kl": (ReverseKL, "Reverse Kullback-Leibler divergence"),
    "pearson": (Pearson, "Pearson χ² divergence"),
    "hellinger": (Hellinger, "Squared Hellinger distance"),
    "jensen-shannon": (JensenShannon, "Jensen-Shannon divergence"),
    "total-variation": (TotalVariation, "Total variation distance"),
}


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    for name, (factory, divergence) in DIVERGENCES.items():
        register(f"f-gan-{name}", factory, summary=f"{divergence}, through its variational bound", paper=PAPER)


register_recipes = beside(__file__, *(f"f-gan-{name}-mnist" for name in DIVERGENCES))
