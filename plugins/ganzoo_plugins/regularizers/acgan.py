"""ACGAN: the discriminator also predicts the class of an image.

Odena, Olah & Shlens 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs", arXiv:1610.09585. In addition
to the usual real-or-fake loss, both players minimise the cross-entropy of a classifier C on D's features:

    D:  -E[log C(y | x)] - E[log C(y | G(z, y))]          G:  -E[log C(y | G(z, y))]

This is a regularizer for both players, so it works with any loss. C is one linear layer, as in the paper, on the same
features as D's own head. D itself must not get the label: give it ``conditioning: none``.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ganzoo import (
    EverySteps,
    GanzooError,
    Networks,
    Register,
    Regularizer,
    RegularizerContext,
    Spec,
    Weight,
    beside,
    hookimpl,
)

PAPER = "Odena, Olah & Shlens 2017, Conditional Image Synthesis with ACGANs, arXiv:1610.09585"


def refuse_unlabelled(regularizer: Regularizer, spec: Spec, discriminator: nn.Module) -> None:
    """Raise GanzooError if the recipe has no classes, or if D gets the label that its features should predict."""
    if not spec.classes:
        raise GanzooError(
            f"The regularizer '{regularizer.label}' needs classes, but the recipe is not conditional.",
            "Set conditional: true.",
        )
    if getattr(discriminator, "label_inputs", 0):
        raise GanzooError(
            f"The regularizer '{regularizer.label}' predicts the class from the discriminator's features, but this "
            "discriminator gets the class as an input.",
            "Set networks.discriminator.conditioning: none, or choose a discriminator that has this option.",
        )


class AuxiliaryClassifier(Regularizer):
    """Cross-entropy of a linear classifier on the discriminator's features.

    Args:
        weight: Factor of the cross-entropy, on both sides.
        every_steps: Steps between applications.
        on_fakes: Whether D's phase also classifies fakes, as in the paper. If not, C learns only from real images.
    """

    side = "both"
    reads_features = True

    def __init__(self, *, weight: Weight = 1.0, every_steps: EverySteps = 1, on_fakes: bool = True) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.on_fakes = on_fakes

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add C, which is trained in D's phase."""
        refuse_unlabelled(self, spec, networks["discriminator"])
        width: int = networks["discriminator"].feature_width  # type: ignore[assignment]
        return {"classifier": nn.Linear(width, spec.classes)}

    def penalty(self, context: RegularizerContext) -> Tensor:
        """-E[log C(y | x)]: in D's phase over real images and, with ``on_fakes``, fakes; in G's phase over fakes."""
        if context.player == "generator":
            return self.error(context, context.fake)
        error = self.error(context, context.real)
        return error + self.error(context, context.fake) if self.on_fakes else error

    def error(self, context: RegularizerContext, images: Tensor) -> Tensor:
        """Mean cross-entropy, in nats, of the batch's labels given images (n, c, h, w)."""
        logits: Tensor = context.networks["classifier"](context.features(images))
        return cross_entropy(logits.float(), context.batch.label)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "auxiliary-classifier",
        AuxiliaryClassifier,
        summary="Class cross-entropy on D's features, for both players",
        paper=PAPER,
        aliases=("ac", "acgan"),
    )


register_recipes = beside(__file__, "acgan-mnist")
