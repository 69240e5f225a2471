"""Mono sound: what networks see, pictures and WAV files of it."""

from __future__ import annotations

import wave
from io import BytesIO
from struct import pack

import torch
from torch import Tensor

from ganzoo import GanzooError, Images, Modality

LEVELS = 32767
"""A 16-bit sample's largest value."""
ROWS, COLUMNS, WAVEFORM = 48, 64, 18
"""Size of a spectrogram, and height of the waveform above it, in pixels."""
FLOOR = -6.0
"""The power, as a decimal logarithm, that counts as silence: 60 dB below 1."""
MADE = b"LIST" + pack("<I", 28) + b"INFOISFT" + pack("<I", 16) + b"made by ganzoo".ljust(16, b"\0")
"""The end of a WAV file, by which ganzoo knows that it may be overwritten."""


class Sound(Modality):
    """Mono sound: ``Sound(1, length, rate=8000)``.

    Stored as float32 in [-1, 1], in the steps of a 16-bit file, so that a WAV file loses nothing.

    Args:
        shape: (1, length).
        rate: Samples per second.

    Raises:
        GanzooError: It is another shape, or the rate is not positive.
    """

    name = "sound"
    stored = torch.float32
    quantisation = "int16"
    suffixes = (".wav", ".png", ".npz")
    playable = ".wav"

    def __init__(self, *shape: int, rate: int = 8000) -> None:
        if len(shape) != 2 or shape[0] != 1:
            raise GanzooError(f"Mono sound has the shape (1, length), not {shape}.", "Give 1 and the length.")
        if rate < 1:
            raise GanzooError(f"Sound has a positive number of samples per second, not {rate}.")
        super().__init__(*shape)
        self.rate = rate

    def __str__(self) -> str:
        return f"sounds of {self.shape[1] / self.rate:.3g} s at {self.rate:,} Hz"

    def options(self) -> dict[str, int]:
        """The sample rate."""
        return {"rate": self.rate}

    @classmethod
    def examples(cls) -> tuple[Sound, Sound]:
        """The lengths of this package's sounds."""
        return cls(1, 4096), cls(1, 8192)

    def to_network(self, samples: Tensor) -> Tensor:
        """The waves, unchanged."""
        return samples

    def from_network(self, outputs: Tensor) -> Tensor:
        """The waves, clamped to [-1, 1] and rounded to the nearest of 65,535 levels."""
        return (outputs.float().clamp(-1, 1) * LEVELS).round() / LEVELS

    def check(self, samples: Tensor) -> str | None:
        """Waves beyond [-1, 1], or NaN, are wrong."""
        return None if bool((samples.abs() <= 1).all()) else "sound outside of [-1, 1], or NaN"

    def picture(self, samples: Tensor, columns: int | None = None) -> Tensor:
        """Each sound's waveform above its spectrogram, side by side: time to the right, frequency upwards, in mel.

        Grey levels are decibels: black is 60 dB below full power.
        """
        waves = samples.flatten(1)
        power = log_mel(waves, self.rate, ROWS, COLUMNS).flip(1)
        spectrograms = (power - FLOOR) / -FLOOR
        tiles = torch.cat([waveforms(waves), spectrograms], 1).mul(255).round().to(torch.uint8)
        return Images(1, *tiles.shape[1:]).picture(tiles[:, None], columns)

    def encoded(self, suffix: str, samples: Tensor, labels: Tensor | None = None) -> bytes:
        """As ``Modality.encoded``; a WAV file has 16 bits, and holds the sounds one after another."""
        if suffix != ".wav":
            return super().encoded(suffix, samples, labels)
        buffer = BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setparams((1, 2, self.rate, 0, "NONE", "not compressed"))  # one channel of two bytes
            file.writeframes((samples.flatten() * LEVELS).round().numpy().astype("<i2").tobytes())
        content = buffer.getvalue() + MADE
        return content[:4] + pack("<I", len(content) - 8) + content[8:]  # the file's size is in its header


def waveforms(waves: Tensor) -> Tensor:
    """Pictures in [0, 1], (n, WAVEFORM, COLUMNS): each column spans the values of its stretch of time."""
    stretches = waves.unfold(1, waves.shape[1] // COLUMNS, waves.shape[1] // COLUMNS)[:, :COLUMNS]
    level = torch.linspace(1, -1, WAVEFORM)[:, None]
    low, high = stretches.amin(2)[:, None], stretches.amax(2)[:, None]
    return ((level >= low - 1 / WAVEFORM) & (level <= high + 1 / WAVEFORM)).float()


def log_mel(waves: Tensor, rate: int, bands: int, frames: int) -> Tensor:
    """The power of waves (n, length) as a decimal logarithm in [FLOOR, 0], (n, bands, frames), from low to high.

    Bands are triangles, equally spaced in mel from 0 to half the rate. A full-scale sine has a power of about 1.
    """
    window = 256
    spectrum = torch.stft(
        waves,
        window,
        hop_length=window // 4,
        window=torch.hann_window(window, device=waves.device),
        return_complex=True,
    )
    power = spectrum.abs().square() / (window / 4) ** 2
    mel = mel_filters(rate, bands, window // 2 + 1).to(waves.device) @ power
    mel = torch.nn.functional.adaptive_avg_pool1d(mel, frames)
    return mel.clamp(10**FLOOR, 1).log10()


def mel_filters(rate: int, bands: int, bins: int) -> Tensor:
    """Triangular filters (bands, bins), with mel = 2595 log10(1 + f / 700) for the frequency f in Hz."""
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700))
    corners = 700 * (10 ** (torch.linspace(0, float(top), bands + 2) / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, bins)
    width = corners.diff().clamp(min=rate / 2 / (bins - 1))  # at least one bin, or low bands would be empty
    rising = (frequencies - corners[:-2, None]) / width[:-1, None]
    falling = (corners[2:, None] - frequencies) / width[1:, None]
    return torch.minimum(rising, falling).clamp(0, 1)
