"""What numbers an option may be.

An author states a bound in the annotation of an option, ``Annotated[float, Field(gt=0, le=1)]``, or takes one of these
by name. Where none is stated, a number has to be one that tensors can hold: a whole one of 64 bits, another one of
single precision.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

INT64 = (-(2**63), 2**63 - 1)
FLOAT32 = (-3.4028234663852886e38, 3.4028234663852886e38)

Weight = Annotated[float, Field(ge=-1e9, le=1e9)]
"""A factor of a term of a loss."""

EverySteps = Annotated[int, Field(ge=1, le=1_000_000)]
"""Steps between two times that something is done."""

ImageCount = Annotated[int, Field(ge=1, le=10**12)]
"""Real images shown, as the length of a training is counted."""

Width = Annotated[int, Field(ge=1, le=65_536)]
"""Units or channels of a layer, or numbers in a latent code."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of a whole, or a probability."""

Shift = Annotated[int, Field(ge=0, le=4096)]
"""Pixels that an image is moved by; those of a smaller image leave the frame."""

Scale = Annotated[float, Field(ge=0, le=1e6)]
"""A standard deviation, a margin or another length, in units of what it is compared with."""
