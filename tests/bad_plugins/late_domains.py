"""Sets an extractor's domains in its constructor; ganzoo reads them from the class."""

import hashlib

from ganzoo import Extractor, hookimpl


class Pixels(Extractor):
    """The pixels."""

    shape = (1, 28, 28)
    width = 784

    def __init__(self):
        super().__init__()
        self.domains = ("mnist",)

    @property
    def digest(self):
        return hashlib.sha256(b"pixels").hexdigest()

    def forward(self, images):
        return images.flatten(1).float(), None


class OfText(Pixels):
    """The pixels of one domain."""

    def __init__(self):
        super().__init__()
        self.domains = "mnist"


@hookimpl
def register_extractors(register):
    register("late-domains", Pixels, summary="The pixels")
    register("domains-as-text", lambda: OfText(), summary="The pixels of one domain")
