"""Score sets of images under a stated protocol, beside the score of as many real images: real vs real."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part
from ganzoo.api.metric import Extractor, Features, MetricInputs, ModelMetric, TrainedModel
from ganzoo.api.objective import Objective
from ganzoo.data import load_part, part_of
from ganzoo.errors import GanzooError
from ganzoo.evaluation import intervals
from ganzoo.evaluation.features import RealImages, content_digest, extract, remembered
from ganzoo.evaluation.protocol import Score
from ganzoo.evaluation.requests import MetricRequest, code_of, find_extractor, fits, parse_metrics, unfit
from ganzoo.evaluation.sampling import WHOLE
from ganzoo.files import without_folders
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry
from ganzoo.reproducibility import canonical_order, preserved_global_state, seeded
from ganzoo.training.distributed import Processes

# Increase this whenever one of ganzoo's metrics changes its result for the same inputs: it voids cached numbers.
FORMULAS = 1
INTERVALS = 1  # the same for intervals, from which cached deviations may be computed
REAL_SEED = 0  # chooses the real images of real vs real
# The most and the fewest sets of real images whose scores give a standard deviation.
MAX_DRAWS = 6
MIN_DRAWS = 3
HALF, OTHER_HALF = "half", "other half"  # parts of the reference, compared if nothing else is known


class Evaluator:
    """The extractors and their features of real images; built once and used for many sets of images."""

    def __init__(
        self,
        metrics: Sequence[str],  # <metric>@<extractor>, or all@<extractor> for every metric that applies
        dataset: Entry[Dataset] | Dataset,  # registered, or the real images themselves
        options: Mapping[str, Any],  # the recipe's, for a registered dataset
        data_dir: Path | None,
        zoo: Zoo,
        device: torch.device,
        *,
        split: Part = "test",  # the reference; real vs real uses another part
        validation: int = 0,  # how many training images are held out
        count: int = 0,  # how many of the others were trained on; 0 means all
        anyway: bool = False,  # accept extractors fitted to another dataset; the protocol records it
        extractor_weights: Path | None = None,  # of a downloaded extractor; None means torch-fidelity's cache
        reference: bool = True,  # processes that only compute features for the main one need no real images
        objective: Objective | None = None,  # the trained one; metrics of the model itself need it
        extractors: Mapping[str, Extractor] | None = None,  # already loaded, by name, because they may be large
    ) -> None:
        self.requests = parse_metrics(metrics, zoo)  # in order
        self.device = device
        self.extractors = {
            name: ((extractors or {}).get(name) or find_extractor(name, zoo, extractor_weights)).to(device)
            for name in dict.fromkeys(request.extractor for request in self.requests if request.extractor)
        }
        if not reference:
            return
        if isinstance(dataset, Dataset):
            self._load, options, split = cache(partial(part_of, dataset)), {}, "validation"
        else:
            options = dataset.options.check(options)
            self._load = cache(partial(load_part, dataset, options, data_dir))
        self._options, self._validation, self._count = options, validation, count
        self._objective = objective
        # Whether nothing but the reference is known.
        self._alone = isinstance(dataset, Dataset) and not validation
        self.dataset = real = (
            dataset if isinstance(dataset, Dataset) and self._alone else self._load(split, validation, count)
        )
        for name, extractor in self.extractors.items():
            if (error := unfit(name, extractor, real, zoo, anyway=anyway)) is not None:
                raise error
        self._code = {name: code_of(name, zoo) for name in self.extractors}
        self._images, self._seen = cache(self._choose), cache(self._see)
        self.draw, self._real_vs_real = cache(self._draw), cache(self._score_real)
        self.requests = [request for request in self.requests if self._allows(request, self._obstacle(request))]

    def prepare(self) -> None:
        """Compute the real images' features and Gaussians now, but radii and real vs real only for the first score."""
        for name in dict.fromkeys(one.extractor for one in self.requests if one.extractor and not one.metric.alone):
            _ = self.real(name).features.statistics

    def features(self, images: Tensor, processes: Processes | None = None) -> dict[str, Features]:
        """Each extractor's features of images, in the images' order: the first half of ``score``.

        If several processes evaluate together, all of them call this with the same images at the same point; each
        computes its share of a single process's batches, so the result equals that of a single process.
        """
        order = canonical_order(images)
        ordered, back = images[order], order.argsort()
        part = WHOLE if processes is None else (processes.rank, processes.size)
        by_extractor = {}
        for name, extractor in self.extractors.items():
            features = extract(name, extractor, ordered, self.device, part=part)
            for tensor in (features.values, features.logits):
                if tensor is not None and processes is not None:
                    processes.all_reduce_sum(tensor)
            by_extractor[name] = features[back]
        return by_extractor

    def score(
        self,
        images: Tensor,  # in their modality's stored form (n, *shape), n at least 2
        *,
        features: Mapping[str, Features] | None = None,  # what `features` returned for them
        requests: Sequence[MetricRequest] | None = None,  # a subset of self.requests
        sample_seed: int | None = None,  # for the protocol, as are the weights
        weights: str | None = None,  # ema or raw
        labels: Tensor | None = None,  # int64 (n,), the requested classes
        interval: bool = True,  # takes minutes for a Fréchet distance in Inception's 2048 features
        model: TrainedModel | None = None,  # with these weights, for metrics of the model itself
    ) -> list[Score]:
        """Compute every metric of a set of images, in any order, and of the model that drew them."""
        modality, n = self.dataset.modality, len(images)
        if images.dtype != modality.stored or images.shape[1:] != self.dataset.shape:
            raise GanzooError(
                f"Images of type {images.dtype} and shape {tuple(images.shape)} cannot be scored.",
                f"Give {modality.stored} (n, {', '.join(map(str, self.dataset.shape))}), like the dataset's.",
            )
        chosen = [
            request
            for request in (self.requests if requests is None else requests)
            if self._allows(request, self._too_few(request, n) or self._lack_of_labels(request, n, labels))
        ]
        features = self.features(images) if features is None else features
        # A metric's random choices must not depend on the order of the samples.
        order = canonical_order(images)
        labels = None if labels is None else labels[order]
        samples = partial(images.__getitem__, order)
        by_extractor = {"": self._inputs(self.real(""), n, _no_samples, labels, model, samples)}
        for name, some in features.items():
            drawn = partial(some.__getitem__, order)
            by_extractor[name] = self._inputs(self.real(name), n, drawn, labels, model, samples)
        scores = []
        for request in chosen:
            inputs, metric = by_extractor[request.extractor], request.metric
            protocol = self.protocol(request, n, sample_seed, weights)
            # A metric must not shift the training run's random numbers.
            with seeded(0, self.device), preserved_global_state():
                value = finite(request, metric.compute(inputs))
                ends = metric.interval(inputs, value) if interval else None
                ends = None if ends is None else (finite(request, ends[0]), finite(request, ends[1]))
                if ends is not None and math.isclose(*ends, rel_tol=1e-12):
                    ends = None  # it would suggest certainty
                floor, sd = (None, None) if isinstance(metric, ModelMetric) else self._real_vs_real(request, n)
            scores.append(Score(request.name, value, floor, protocol, ends, sd))
        return scores

    def protocol(
        self, request: MetricRequest, n: int, sample_seed: int | None = None, weights: str | None = None
    ) -> dict[str, Any]:
        """The protocol that the score of ``n`` images by one of ``requests`` will have; the score is not computed."""
        real, extractor = self.real(request.extractor), self.extractors.get(request.extractor)
        of_model = isinstance(request.metric, ModelMetric)
        out_of_domain = extractor is not None and not fits(extractor, real.dataset.domain)
        return {
            "metric": request.entry.name,
            # A plugin's metric may change with the version of its package.
            **({} if request.is_ours else {"plugin": request.entry.distribution}),
            **({} if extractor is None else {"extractor": request.extractor, "extractor_digest": extractor.digest}),
            # Features of a plugin's extractor depend on its code too.
            **({"extractor_code": dict(real.code)} if real.code else {}),
            **({"anyway": True} if out_of_domain else {}),
            "dataset": real.key["dataset"],
            "dataset_options": without_folders(real.key["options"]),
            "split": real.key["split"],
            **({"validation": self._validation} if self._validation and real.key["split"] == "validation" else {}),
            **({"trained_on": self._count} if self._count and request.metric.sees_training else {}),
            "reference_digest": real.key["content"],
            "n_real": real.key["count"],
            **({} if extractor is None else {"resizing": extractor.resizing_of(self.dataset.shape)}),
            "quantised": real.dataset.modality.quantisation,
            **({} if extractor is None else {"torch_fidelity": version("torch-fidelity")}),
            **request.metric.settings(self._inputs(real, n, _no_samples, None)),
            **({} if of_model else {"n_fake": n, "n_floor": self._floor(request, n).n, "sample_seed": sample_seed}),
            "weights": weights,
        }

    def real(self, extractor: str) -> RealImages:
        """The reference, with one extractor's features; none if the name is empty."""
        return self._seen(extractor, self.dataset.split, 0, 0)

    def leave_out(self, n: int) -> list[str]:
        """Leave out metrics for which there are too few real images, and say so in sentences.

        Raises:
            GanzooError: ``n`` samples are too few for a metric in any features.
        """
        lacking: dict[str, list[MetricRequest]] = {}
        for request in self.requests:
            lack = self._lack_of_images(request, n)
            if lack and n < request.metric.least:
                raise _refusal(request, lack)
            lacking.setdefault(lack, []).append(request)
        self.requests = lacking.pop("", [])
        sentences = [f"Not scored by {_listed(some)}: {lack}." for lack, some in lacking.items()]
        if lacking and self.requests:
            sentences.append(f"Still measured: {_listed(self.requests)}.")
        return sentences

    def _allows(self, request: MetricRequest, error: GanzooError | None) -> bool:
        """Whether a metric can be computed; if it was requested by name and cannot, the error is raised."""
        if error is not None and request.by_name:
            raise error
        return error is None

    def _obstacle(self, request: MetricRequest) -> GanzooError | None:
        """Why a metric cannot be computed, whatever the samples are."""
        if request.metric.held_out and self._alone:
            obstacle: str | None = f"'{self.dataset.name}' has no other split"
        elif isinstance(request.metric, ModelMetric):
            obstacle = request.metric.obstacle_in_model(self._objective, self.dataset)
            if obstacle is None and request.extractor:
                obstacle = request.metric.obstacle(self.extractors[request.extractor], self.dataset)
        else:
            obstacle = request.metric.obstacle(self.extractors.get(request.extractor), self.dataset)
        return _refusal(request, obstacle) if obstacle else None

    def _least(self, request: MetricRequest) -> int:
        """The fewest samples, and the fewest real images, that a metric accepts."""
        extractor = self.extractors.get(request.extractor)
        if extractor is None or request.metric.sees_training:
            return request.metric.least
        return max(request.metric.least, extractor.least)

    def _lack_of_images(self, request: MetricRequest, n: int) -> str:
        """Why ``n`` samples, or the real images, are too few for a metric, or for its real vs real; or nothing."""
        least = self._least(request)
        few, what = min((n, "samples"), (len(self.dataset), "real images"))
        if few < least:
            return f"at least {least} {what} are needed, but there {'is' if few == 1 else 'are'} only {few}"
        if isinstance(request.metric, ModelMetric):
            return ""
        floor = self._floor(request, n)
        sides = floor.n, len(floor.real.dataset)
        if min(sides) >= least:
            return ""
        return f"real vs real needs at least {least} images on each side, but there are {sides[0]} and {sides[1]}"

    def _too_few(self, request: MetricRequest, n: int) -> GanzooError | None:
        lack = self._lack_of_images(request, n)
        return _refusal(request, lack) if lack else None

    def _lack_of_labels(self, request: MetricRequest, n: int, labels: Tensor | None) -> GanzooError | None:
        """Why a metric cannot be computed without labels; labels of the wrong number or range raise."""
        if not request.metric.needs_labels:
            return None
        if labels is None:
            return GanzooError(
                f"'{request.name}' needs to know which class each image was meant to be, but these have no labels.",
                "Score a conditional run or an .npz file with `labels`, or leave this metric out.",
            )
        extractor = self.extractors.get(request.extractor)
        classes = len(self.dataset.classes) if extractor is None else extractor.classes
        if labels.shape == (n,) and labels.min() >= 0 and labels.max() < classes:
            return None
        raise GanzooError(
            f"'{request.name}' needs one label from 0 to {classes - 1} for each of the {n} images, but got "
            f"{len(labels)} from {labels.min()} to {labels.max()}.",
            "Give the class that each image was meant to be.",
        )

    def _inputs(
        self,
        real: RealImages,
        n: int,
        features: Callable[[], Features],
        labels: Tensor | None,
        model: TrainedModel | None = None,
        samples: Callable[[], Tensor] | None = None,
    ) -> MetricInputs:
        return MetricInputs(
            n,
            features,
            labels,
            real,
            lambda: self._seen(real.name, "train", 0, 0),
            self.device,
            model,
            real.see if real.name else None,
            samples,
        )

    def _score_real(self, request: MetricRequest, n: int) -> tuple[float, float | None]:
        """The score of ``n`` real images instead of samples, or of all of them if there are fewer; and its deviation.

        The deviation is taken over disjoint sets of real images or, with fewer than ``MIN_DRAWS`` sets, from the first
        one's interval, if it has one.
        """
        metric = request.metric
        most = len(self._rows(self._floor_part(metric.held_out))) // n
        sets = [
            self.draw(request.extractor, metric.held_out, n, number) for number in range(max(1, min(most, MAX_DRAWS)))
        ]
        floors = [
            self._number("floor", request, *drawn, lambda inputs: finite(request, metric.compute(inputs)))
            for drawn in sets
        ]
        if len(floors) >= MIN_DRAWS:
            return floors[0], float(np.std(floors, ddof=1))

        def deviation(inputs: MetricInputs) -> float:
            ends = metric.interval(inputs, floors[0])
            return math.nan if ends is None else intervals.deviation(ends)

        sd = self._number("deviation", request, *sets[0], deviation)
        return floors[0], sd if math.isfinite(sd) else None

    def _number(
        self,
        kind: str,
        request: MetricRequest,
        inputs: MetricInputs,
        images: RealImages,
        compute: Callable[[MetricInputs], float],
    ) -> float:
        """A number about a set of real images, from the cache if the metric is one of ganzoo's."""
        if not request.is_ours:  # a plugin's code may change while its metric keeps its name
            return compute(inputs)
        labels = inputs.labels if request.metric.needs_labels else None
        key = {
            **images.key,
            "metric": request.entry.name,
            "formulas": FORMULAS,
            **({"intervals": INTERVALS} if kind == "deviation" else {}),
            **({} if labels is None else {"labels": content_digest(labels)}),
            "reference": dict(inputs.real.key),
            "torch_fidelity": version("torch-fidelity"),
            **request.metric.settings(inputs),
        }
        tensors = remembered(kind, key, lambda: {"value": torch.tensor([compute(inputs)], dtype=torch.float64)})
        return float(tensors["value"])

    def _draw(self, extractor: str, held_out: bool, n: int, number: int) -> tuple[MetricInputs, RealImages]:
        """A set of real images to score as samples. Sets are disjoint; only the first may have fewer than ``n``."""
        images = self._seen(extractor, self._floor_part(held_out), n, number)
        real = self._seen(extractor, OTHER_HALF, 0, 0) if self._alone else self.real(extractor)
        dataset = images.dataset
        inputs = self._inputs(
            real, len(dataset), lambda: images.features, dataset.labels, samples=lambda: dataset.images
        )
        return inputs, images

    def _floor(self, request: MetricRequest, n: int) -> MetricInputs:
        return self.draw(request.extractor, request.metric.held_out, n, 0)[0]

    def _floor_part(self, held_out: bool) -> str:
        """The part that real vs real draws from; ``held_out`` if nothing may have been trained on it."""
        own = self.dataset.split
        if self._alone:
            return HALF
        if held_out:
            return own if own == "validation" else "test"
        return {"test": "all", "validation": "rest", "train": "test"}[own]

    def _whole(self, part: str) -> Dataset:
        """A part of the dataset: ``all`` training images, or the ``rest`` that validation leaves, trained on or not."""
        if part in (self.dataset.split, HALF, OTHER_HALF):
            return self.dataset
        if self._alone:
            raise GanzooError(f"'{self.dataset.name}' has no training images.", "Leave out metrics that need them.")
        whole = {"all": ("train", 0, 0), "rest": ("train", self._validation, 0)}
        return self._load(*whole.get(part, (part, self._validation, self._count)))

    def _rows(self, part: str) -> Tensor:
        """The indices of a part's images, shuffled."""
        m = len(self._whole(part))
        order = torch.randperm(m, generator=torch.Generator().manual_seed(REAL_SEED))
        return {HALF: order[: m // 2], OTHER_HALF: order[m // 2 :]}.get(part, order)

    def _choose(self, part: str, n: int, number: int) -> tuple[Dataset, str, Tensor | None]:
        """Some images of a part, their digest and, if they are a subset of the reference, their rows in it."""
        dataset, rows = self._whole(part), None
        if n or part == OTHER_HALF:
            chosen = self._rows(part)[number * n : (number + 1) * n or None]
            rows = chosen if dataset is self.dataset else None
            dataset = dataset.rows(chosen)
        return dataset, content_digest(dataset.images), rows

    def _see(self, extractor: str, part: str, n: int, number: int) -> RealImages:
        """``n`` images of a part, or all for 0; they are loaded and hashed once for all extractors."""
        dataset, digest, rows = self._images(part, n, number)
        network, code = self.extractors.get(extractor), self._code.get(extractor, {})
        among = None if rows is None else (self.real(extractor), rows)
        return RealImages(dataset, self._options, extractor, network, self.device, code, digest, among)


def finite(request: MetricRequest, value: float) -> float:
    """A metric's result as a Python number, refused if NaN or infinite, which JSON cannot represent."""
    value = float(value)
    if not math.isfinite(value):
        remedy = "Its plugin must return a finite number."
        if request.is_ours:
            remedy = "There are too few images for it, or their features are too large; score more, or leave it out."
        raise GanzooError(f"The metric '{request.name}' gave {value}.", remedy)
    return value


def _refusal(request: MetricRequest, obstacle: str) -> GanzooError:
    return GanzooError(f"'{request.name}' cannot be computed: {obstacle}.", "Leave it out.")


def _listed(requests: Sequence[MetricRequest]) -> str:
    return ", ".join(request.name for request in requests)


def _no_samples() -> Features:
    raise GanzooError("The settings of a metric cannot depend on the samples.", "Use only n, real and training_set.")
