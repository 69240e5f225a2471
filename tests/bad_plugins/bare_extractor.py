"""An extractor that declares nothing."""

from ganzoo import Extractor, hookimpl


class Bare(Extractor):
    """The pixels."""

    def forward(self, images):
        return images.flatten(1).float(), None


@hookimpl
def register_extractors(register):
    register("bare-extractor", Bare, summary="The pixels")
