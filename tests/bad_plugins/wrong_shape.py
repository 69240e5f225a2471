"""Returns logits of shape (n, 1) instead of (n,)."""

from torch import nn

from ganzoo import hookimpl


class Column(nn.Module):
    """Forgets to drop the last dimension."""

    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.pixels, 1))

    def forward(self, images):
        return self.layers(images)


@hookimpl
def register_discriminators(register):
    register("wrong-shape", Column, summary="Logits in a column")
