"""Feature matching: G matches the mean features that a layer of D computes on real images.

Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016, "Improved Techniques for Training GANs", arXiv:1606.03498,
section 3.1:

    ‖E_x f(x) - E_z f(G(z))‖²

with f(x) the activations of an intermediate layer of D; here the discriminator's ``features``, its last hidden layer.

Differences from the paper:

- The term is added to the recipe's generator loss. In the paper it replaces that loss, which a large ``weight``
  approximates.
- D and G see the same images in each step; in the authors' code, different ones.
- The norm is a mean over features, as in the authors' code, so that ``weight`` does not depend on their number.
"""

from __future__ import annotations

from torch import Tensor

from ganzoo import Register, Regularizer, RegularizerContext, beside, hookimpl

PAPER = "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498"


class FeatureMatching(Regularizer):
    """Squared distance between the mean features of real images and of fakes.

    Args:
        weight: Factor of the distance in the generator's loss.
        every_steps: Steps between applications.
    """

    side = "generator"
    reads_features = True

    def penalty(self, context: RegularizerContext) -> Tensor:
        """‖E f(x) - E f(G(z))‖², averaged over features."""
        real, fake = (context.features(images).float().mean(0) for images in (context.real, context.fake))
        return (real.detach() - fake).square().mean()


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "feature-matching", FeatureMatching, summary="D's mean features agree on real and fake images", paper=PAPER
    )


register_recipes = beside(__file__, "feature-matching-mnist")
