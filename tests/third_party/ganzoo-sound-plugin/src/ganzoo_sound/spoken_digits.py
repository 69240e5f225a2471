"""Spoken digits, "zero" to "nine", by the speech synthesiser eSpeak NG, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import wave
from itertools import product
from pathlib import Path

import numpy as np
import torch

from ganzoo import Dataset, GanzooError, Register, Split, cache_folder, hookimpl
from ganzoo_sound.sound import Sound

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES: dict[Split, tuple[str, ...]] = {"train": ("m1", "m2", "m3", "m4", "f1", "f2", "f3"), "test": ("m7", "f4")}
PITCHES, SPEEDS = (30, 45, 60, 75), (160, 200)
"""As eSpeak NG counts them: a pitch from 0 to 99, and words per minute."""
RATE, LENGTH = 8000, 8192


def spoken_digits(split: Split, folder: Path | None) -> Dataset:
    """560 sounds of seven voices for training, 160 of two others for testing; ``folder`` is not needed."""
    waves, labels = [], []
    for (label, digit), voice, pitch, speed in product(enumerate(DIGITS), VOICES[split], PITCHES, SPEEDS):
        waves.append(read(speak(digit, voice, pitch, speed)))
        labels.append(label)
    modality = Sound(1, LENGTH, rate=RATE)
    samples = modality.from_network(torch.from_numpy(np.stack(waves))[:, None])
    return Dataset("spoken-digits", split, samples, torch.tensor(labels), DIGITS, modality=modality)


def speak(word: str, voice: str, pitch: int, speed: int) -> Path:
    """A WAV file of a word in American English, in the user's cache, where it is spoken only once."""
    file = cache_folder("ganzoo-sound", "espeak-ng") / f"{word}-{voice}-{pitch}-{speed}.wav"
    if file.exists():
        return file
    program = shutil.which("espeak-ng")
    if program is None:
        raise GanzooError("Spoken digits need eSpeak NG, which is not installed.", "Run `apt install espeak-ng`.")
    unfinished = file.with_suffix(".part")
    settings = ["-v", f"en-us+{voice}", "-p", str(pitch), "-s", str(speed)]
    # -z leaves out the pause at the end, and -D makes its noise the same each time.
    subprocess.run([program, "-z", "-D", *settings, "-w", unfinished, word], check=True)
    return unfinished.replace(file)


def read(path: Path) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A mono WAV file of 16 bits as float32 (LENGTH,) in [-1, 1], cut or filled up with silence."""
    from scipy.signal import resample_poly  # slow to import, so only where it is needed

    with wave.open(str(path)) as file:
        rate, content = file.getframerate(), file.readframes(file.getnframes())
    spoken = resample_poly(np.frombuffer(content, "<i2") / 32768, RATE, rate)[:LENGTH]
    return np.pad(spoken, (0, LENGTH - len(spoken))).astype(np.float32)


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register("spoken-digits", spoken_digits, summary="Zero to nine, spoken by eSpeak NG, at 8 kHz")
