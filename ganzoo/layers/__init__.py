"""Building blocks that networks share: conditioning on labels, normalisation, residual blocks, resampling.

``from ganzoo import layers``, or ``from ganzoo.layers import Head, Width``.
"""

from ganzoo.layers.blocks import (
    MinibatchStd,
    Norm,
    ResidualDown,
    ResidualUp,
    SelfAttention,
    Trunk,
    UpConv2d,
    Width,
    as_trunk,
    image_norm,
    vector_norm,
    xavier_conv2d,
)
from ganzoo.layers.conditioning import (
    ConditionalBatchNorm,
    Conditioning,
    GeneratorConditioning,
    Head,
    LabelAware,
    LabelSequential,
    batch_norm,
    label_inputs,
    with_label,
)
from ganzoo.layers.images import (
    Blur,
    channel_pyramid,
    grid_padding,
    per_sample,
    random_shift,
    random_windows,
    smallest_grid,
    translate,
    upsample2x,
)

__all__ = [
    "Blur",
    "ConditionalBatchNorm",
    "Conditioning",
    "GeneratorConditioning",
    "Head",
    "LabelAware",
    "LabelSequential",
    "MinibatchStd",
    "Norm",
    "ResidualDown",
    "ResidualUp",
    "SelfAttention",
    "Trunk",
    "UpConv2d",
    "Width",
    "as_trunk",
    "batch_norm",
    "channel_pyramid",
    "grid_padding",
    "image_norm",
    "label_inputs",
    "per_sample",
    "random_shift",
    "random_windows",
    "smallest_grid",
    "translate",
    "upsample2x",
    "vector_norm",
    "with_label",
    "xavier_conv2d",
]
