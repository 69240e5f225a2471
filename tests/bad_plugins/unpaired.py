"""A relativistic loss that does not ask for the real logits."""

from torch.nn.functional import softplus

from ganzoo import AdversarialLoss, hookimpl


class Unpaired(AdversarialLoss):
    """Real logits above fake ones, and the reverse."""

    def discriminator(self, real, fake):
        return softplus(fake - real).mean()

    def generator(self, real, fake):
        return softplus(real - fake).mean()


@hookimpl
def register_losses(register):
    register("unpaired", Unpaired, summary="Real logits above fake ones", paper="Nobody 2020")
