"""Features of sounds: the energy in 32 mel bands at 8 moments, in decibels.

Not a network. A classifier of these sounds would be right every time, and so need not see whether a tone is in tune,
fades too soon or hisses; the logarithm of each band's energy sees all three, for sounds of any kind, and needs no
weights.
"""

from __future__ import annotations

from hashlib import sha256

from torch import Tensor

from ganzoo import Extractor, Register, hookimpl
from ganzoo_sound.sound import FLOOR, log_mel

BANDS, MOMENTS = 32, 8


class LogMel(Extractor):
    """The energy in 32 mel bands at 8 moments, in units of 10 dB."""

    shape = (1, 4096)
    width = BANDS * MOMENTS

    @property
    def digest(self) -> str:
        """Of its settings, as there are no weights."""
        return sha256(f"log-mel {BANDS} {MOMENTS} {FLOOR}".encode()).hexdigest()

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Mono sound of any length."""
        return len(shape) == 2 and shape[0] == 1

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Features (n, 256) of sounds (n, 1, length) in [-1, 1]."""
        # Bands as at 8 kHz, whatever the rate: an extractor sees the samples, and not their modality.
        return log_mel(images.float().flatten(1), 8000, BANDS, MOMENTS).flatten(1), None


@hookimpl
def register_extractors(register: Register[Extractor]) -> None:
    register("log-mel", LogMel, summary="Energy in 32 mel bands at 8 moments, in decibels")
