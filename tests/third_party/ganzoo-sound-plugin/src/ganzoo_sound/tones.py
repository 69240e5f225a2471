"""Tones and drums of half a second, synthesised by seed, and two metrics of tones: are they in tune, and all there?

Tones (sine, saw, square) have one of the twelve notes from C4 to B4 of equal temperament, the partials up to half the
sample rate, and fade out. A kick is a sine that falls from 120-200 Hz to 40-60 Hz, a snare a short tone with noise, a
hi-hat high noise that fades quickly. Loudness, decay and noise differ from sound to sound.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ganzoo import Dataset, Extractor, Metric, MetricInputs, Register, Split, hookimpl
from ganzoo_sound.sound import Sound

RATE, LENGTH = 8000, 4096
CLASSES = ("sine", "saw", "square", "kick", "snare", "hi-hat")
PITCHED = CLASSES[:3]
EACH: dict[Split, int] = {"train": 1000, "test": 400}
SEEDS: dict[Split, int] = {"train": 0, "test": 1}
C4 = 440 * 2 ** (-9 / 12)
"""Middle C, in Hz."""


def tones(split: Split, folder: Path | None) -> Dataset:
    """1,000 sounds of each class for training, 400 for testing, with other random numbers; ``folder`` is not needed."""
    generator, n = torch.Generator().manual_seed(SEEDS[split]), EACH[split]
    waves = torch.cat(
        [tone(name, n, generator) for name in PITCHED] + [kick(n, generator), snare(n, generator), hat(n, generator)]
    )
    modality = Sound(1, LENGTH, rate=RATE)
    labels = torch.arange(len(CLASSES)).repeat_interleave(n)
    return Dataset("tones", split, modality.from_network(waves[:, None]), labels, CLASSES, modality=modality)


def tone(name: str, n: int, generator: torch.Generator) -> Tensor:
    """Waves (n, LENGTH) of one of the twelve notes each."""
    hertz = C4 * 2 ** (torch.randint(12, (n, 1), generator=generator) / 12)
    phase = 2 * math.pi * hertz * TIME
    partials = {"sine": [1], "saw": range(1, 16), "square": range(1, 16, 2)}[name]
    # A partial above half the sample rate would sound as another, lower one.
    waves = sum(torch.sin(k * phase) / k * (k * hertz < RATE / 2) for k in partials)
    attack = (TIME / 0.005).clamp(max=1)
    return louder(waves * attack * fading(0.1, 0.5, n, generator), generator)


def kick(n: int, generator: torch.Generator) -> Tensor:
    """Waves (n, LENGTH): the frequency falls to its end with a time constant of 40 ms."""
    start, end = uniform(120, 200, n, generator), uniform(40, 60, n, generator)
    phase = 2 * math.pi * (end * TIME + (start - end) * 0.04 * (1 - torch.exp(-TIME / 0.04)))
    return louder(torch.sin(phase) * fading(0.08, 0.2, n, generator), generator)


def snare(n: int, generator: torch.Generator) -> Tensor:
    """Waves (n, LENGTH)."""
    body = torch.sin(2 * math.pi * uniform(170, 230, n, generator) * TIME) * fading(0.03, 0.06, n, generator)
    noise = torch.randn(n, LENGTH, generator=generator) * fading(0.05, 0.12, n, generator)
    return louder(body + 0.4 * noise, generator)


def hat(n: int, generator: torch.Generator) -> Tensor:
    """Waves (n, LENGTH): differences of differences of noise, which have little below 1 kHz."""
    noise = torch.randn(n, LENGTH + 2, generator=generator).diff(n=2)
    return louder(noise * fading(0.015, 0.06, n, generator), generator)


TIME = torch.arange(LENGTH) / RATE
"""In seconds, (LENGTH,)."""


def uniform(low: float, high: float, n: int, generator: torch.Generator) -> Tensor:
    """(n, 1), uniform between two values."""
    return low + (high - low) * torch.rand(n, 1, generator=generator)


def fading(low: float, high: float, n: int, generator: torch.Generator) -> Tensor:
    """Exponential decays (n, LENGTH) with time constants between two values, in seconds."""
    return torch.exp(-TIME / uniform(low, high, n, generator))


def louder(waves: Tensor, generator: torch.Generator) -> Tensor:
    """The waves with peaks between 0.5 and 0.9."""
    return waves / waves.abs().amax(1, keepdim=True) * uniform(0.5, 0.9, len(waves), generator)


class OfTones(Metric):
    """A metric of the classes that have a pitch, in a conditional recipe."""

    needs_labels = True
    needs_features = False
    alone = True

    def obstacle(self, extractor: Extractor | None, dataset: Dataset) -> str | None:
        if not isinstance(dataset.modality, Sound) or not set(PITCHED) & set(dataset.classes):
            return f"'{dataset.name}' has no classes called {', '.join(PITCHED)}"
        return super().obstacle(extractor, dataset)

    def heard(self, inputs: MetricInputs) -> tuple[Tensor, Tensor]:
        """Pitches (m,) in semitones above C4, and labels (m,), of the samples that should have a pitch."""
        assert inputs.samples is not None
        assert inputs.labels is not None
        modality, classes = inputs.real.dataset.modality, inputs.real.dataset.classes
        assert isinstance(modality, Sound)
        pitched = torch.tensor([name in PITCHED for name in classes])[inputs.labels]
        waves = inputs.samples()[pitched].flatten(1)
        return 12 * (pitches(waves, modality.rate) / C4).log2(), inputs.labels[pitched]


class Tuning(OfTones):
    """Mean distance of tones from the nearest note of equal temperament, in cents, a hundredth of a semitone.

    Pitches drawn at random are 25 cents away; a trained ear hears about 5. Tones that all have one note are in tune
    too: see ``notes``.
    """

    better = "lower"
    range = "0 to 50 cents"

    def compute(self, inputs: MetricInputs) -> float:
        semitones, _ = self.heard(inputs)
        return float(100 * (semitones - semitones.round()).abs().mean())


class Notes(OfTones):
    """How many of the 36 tones, 12 notes of 3 classes, at least one sample has, within 10 cents."""

    better = "higher"
    range = "0 to 36"
    scale = "count"

    def compute(self, inputs: MetricInputs) -> float:
        semitones, labels = self.heard(inputs)
        notes = semitones.round()
        is_note = ((semitones - notes).abs() < 0.1) & (notes >= 0) & (notes < 12)
        return float(len(set((12 * labels + notes)[is_note].tolist())))


def pitches(waves: Tensor, rate: int) -> Tensor:
    """The frequency of the strongest partial between B3 and C5, in Hz, (n,), from waves (n, length).

    It is found to a fraction of a cent, if the pitch is steady.
    """
    length = waves.shape[1]
    window = torch.hann_window(length, dtype=torch.float64)
    spectrum = torch.fft.rfft(waves.double() * window).abs().clamp(min=1e-12).log()
    first, last = (round(C4 * 2 ** (note / 12) * length / rate) for note in (-1, 12))
    peak = spectrum[:, first : last + 1].argmax(1) + first
    # A Hann window's peak is close to a parabola in decibels: its top lies between the bins.
    left, top, right = (spectrum.gather(1, (peak + step)[:, None])[:, 0] for step in (-1, 0, 1))
    offset = (left - right) / (2 * (left - 2 * top + right)).clamp(max=-1e-12)
    hertz: Tensor = (peak + offset.clamp(-1, 1)) * rate / length
    return hertz


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register("tones", tones, summary="Tones and drums of half a second at 8 kHz, 6 classes")


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    register("tuning", Tuning, summary="How far tones are from the nearest note, in cents")
    register("notes", Notes, summary="How many of the 36 tones are there")
