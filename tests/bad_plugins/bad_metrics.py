"""Metrics that raise, draw, seed, print, give NaN, change features, or have an unknown scale; and no real Tracker."""

import math

import numpy as np
import torch

from ganzoo import Metric, hookimpl


class Raises(Metric):
    """Reads something that no image has."""

    better = "lower"
    range = "0 and up"

    def compute(self, inputs):
        return float(inputs.fake.captions.mean())


class NotANumber(Metric):
    """0 / 0."""

    better = "lower"
    range = "0 and up"
    scale = "logarithm"
    rejecting = "maybe"

    def compute(self, inputs):
        return math.nan


class Random(Metric):
    """Scores one sample."""

    better = "lower"
    range = "0 and up"
    share_of = "pixels"

    def compute(self, inputs):
        print("scored")
        return float(inputs.fake.values[torch.randint(inputs.n, ()), 0] + torch.rand(()))


class Centred(Metric):
    """Centres the samples in place."""

    better = "lower"
    range = "0 and up"

    def compute(self, inputs):
        values = inputs.fake.values.numpy()
        values -= values.mean(0)
        return float(values.std())


class Seeding(Metric):
    """Seeds numpy's global generator."""

    better = "lower"
    range = "0 and up"

    def compute(self, inputs):
        np.random.seed(0)
        return float(inputs.fake.values[np.random.randint(inputs.n), 0])


class Printer:
    """Prints."""

    def __init__(self, folder):
        self.folder = folder

    def log(self, record):
        print(record)


@hookimpl
def register_metrics(register):
    register("raises", Raises, summary="Of captions")
    register("not-a-number", NotANumber, summary="0 / 0")
    register("random", Random, summary="Of one sample")
    register("centred", Centred, summary="Spread of centred samples")
    register("seeding", Seeding, summary="Of one sample")


@hookimpl
def register_trackers(register):
    register("printer", Printer, summary="Prints")
