"""Bounds of numeric options."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

INT64 = (-(2**63), 2**63 - 1)

Weight = Annotated[float, Field(ge=-1e9, le=1e9)]
"""The factor of a loss term."""
EverySteps = Annotated[int, Field(ge=1, le=1_000_000)]
"""An interval in steps; 1 is every step."""
ImageCount = Annotated[int, Field(ge=1, le=10**12)]
"""A number of real images shown, the unit of training length."""
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Units or channels of a layer, or numbers in a latent code."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction, or a probability."""
Shift = Annotated[int, Field(ge=0, le=4096)]
"""Pixels to move an image by; an image smaller than that leaves the frame."""
Scale = Annotated[float, Field(ge=0, le=1e6)]
"""A standard deviation, a margin or another length, in the units of the quantity it is compared with."""
