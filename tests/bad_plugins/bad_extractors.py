"""Extractors that give other features later, elsewhere or in other batches, or that ganzoo itself would refuse."""

import torch
from torch import nn

from ganzoo import Extractor, hookimpl


class ForgetsWeights(Extractor):
    """Never loads its weights."""

    shape = (1, 8, 8)
    width = 4
    digest = "0123456789abcdef"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 4)

    def forward(self, images):
        return self.layer(images.flatten(1).float()), None


class PlainTensor(Extractor):
    """Keeps a tensor that `.to()` does not move."""

    shape = (1, 8, 8)
    width = 64
    digest = "0123456789abcdef"

    def __init__(self):
        super().__init__()
        self.mean = torch.tensor(127.5)

    def forward(self, images):
        return images.flatten(1) - self.mean, None


class WholeLogits(Extractor):
    """Counts instead of logits."""

    shape = (1, 8, 8)
    width = classes = 64
    digest = "0123456789abcdef"

    def forward(self, images):
        return images.flatten(1).float(), images.flatten(1).long()


class NotANumber(WholeLogits):
    """0 / 0 as logits."""

    def forward(self, images):
        features = images.flatten(1).float()
        return features, features - torch.inf + torch.inf


class InPlace(Extractor):
    """Scales the points it is given."""

    shape = (1, 1, 2)
    width = 2
    digest = "0123456789abcdef"

    def forward(self, images):
        return images.mul_(2).flatten(1), None


class Centred(Extractor):
    """The pixels, less the batch's mean."""

    shape = (1, 8, 8)
    width = 64
    digest = "0123456789abcdef"

    def forward(self, images):
        pixels = images.flatten(1).float()
        return pixels - pixels.mean(0), None


@hookimpl
def register_extractors(register):
    register("forgets-weights", ForgetsWeights, summary="Four features")
    register("plain-tensor", PlainTensor, summary="The pixels")
    register("whole-logits", WholeLogits, summary="The pixels")
    register("nan-logits", NotANumber, summary="The pixels")
    register("in-place", InPlace, summary="The coordinates")
    register("centred", Centred, summary="The pixels, less their mean")
