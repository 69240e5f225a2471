"""Scores sets of images under a stated protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part
from ganzoo.api.metric import MetricInputs, ModelMetric, TrainedModel
from ganzoo.config.checking import how_to_score
from ganzoo.data import load_part, part_of
from ganzoo.errors import GanzooError
from ganzoo.evaluation import torch_fidelity
from ganzoo.evaluation.features import extract_together
from ganzoo.evaluation.protocol import Score
from ganzoo.evaluation.reference import ReferenceData, finite
from ganzoo.evaluation.requests import (
    MetricRequest,
    code_of,
    find_extractor,
    fits,
    parse_metrics,
    refuse_other_shape,
)
from ganzoo.reproducibility import canonical_order, preserved_global_state, seeded

if TYPE_CHECKING:
    from pathlib import Path

    from ganzoo.api.metric import Extractor, Features
    from ganzoo.api.objective import Objective
    from ganzoo.evaluation.features import Processes
    from ganzoo.registry.loading import Zoo
    from ganzoo.registry.registry import Entry


class Evaluator:
    """Holds the extractors and what real images look like to them; built once, used for many sets of images.

    Args:
        metrics: ``<metric>@<extractor>`` each; ``all@<extractor>`` is every metric that applies.
        dataset: Where real images come from: a registered dataset, or the reference itself.
        options: The recipe's options for a registered one.
        data_dir: Where the user keeps dataset files, or None.
        zoo: Where metrics and extractors are looked up.
        device: Where features are computed.
        split: The reference; another part of the dataset makes real vs real.
        validation: How many training images are set apart for validation.
        count: How many of the others were trained on; 0 is all.
        anyway: Score in extractors that were fitted to another dataset too; the protocol says so for good.
        extractor_weights: The file of a downloaded extractor's weights; None is where torch-fidelity keeps it.
        reference: Whether real images are loaded. A process that only computes features for the main one needs none.
        objective: What is trained, with its ``spec``, where metrics of the trained model itself are asked for.
        extractors: Those that were found before, which may be large, by name; others are found on first use.

    Attributes:
        requests: What is measured, in order.
        extractors: By name, on ``device``, in evaluation mode; found on first use.

    Raises:
        GanzooError: A name is unknown, an extractor takes other images than the dataset has, was fitted to another
            dataset, or cannot give what a metric needs.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        dataset: Entry[Dataset] | Dataset,
        options: Mapping[str, Any],
        data_dir: Path | None,
        zoo: Zoo,
        device: torch.device,
        *,
        split: Part = "test",
        validation: int = 0,
        count: int = 0,
        anyway: bool = False,
        extractor_weights: Path | None = None,
        reference: bool = True,
        objective: Objective | None = None,
        extractors: Mapping[str, Extractor] | None = None,
    ) -> None:
        self.requests = parse_metrics(metrics, zoo)
        self.device = device
        self._zoo = zoo
        self._extractor_weights = extractor_weights
        self._names = tuple(dict.fromkeys(request.extractor for request in self.requests if request.extractor))
        self._objective = objective
        self.extractors = {name: one.to(device) for name, one in (extractors or {}).items()}
        self._reference: ReferenceData | None = None
        self._out_of_domain: frozenset[str] = frozenset()
        self._validation = 0
        self._count = count
        if reference:
            real: Dataset
            part: Callable[[str], Dataset] | None
            if isinstance(dataset, Dataset):
                options = {}
                part = _parts(partial(_part_in_memory, dataset), validation, count) if validation else None
                real = dataset if part is None else part("validation")
            else:
                options = dataset.check(options)
                part = _parts(partial(load_part, dataset, options, data_dir), validation, count)
                real = part(split)
            extractors = self._extractors_for(real.shape)
            self._out_of_domain = frozenset(name for name in self._names if not fits(extractors[name], real.domain))
            if self._out_of_domain and not anyway:
                name = min(self._out_of_domain)
                raise GanzooError(
                    f"The extractor '{name}' was fitted to {' and '.join(extractors[name].domains)}, not to "
                    f"'{real.domain}': what it says of such images means little.",
                    f"{how_to_score(real.domain, zoo)} To score all the same, give --anyway (in Python anyway=True, in "
                    "a recipe evaluate.anyway: true), which marks the scores for good.",
                )
            self._validation = validation if real.split == "validation" else 0
            code = {name: code_of(name, zoo) for name in self._names}
            if len(real) < 2:
                sentence = (
                    f"'{real.name}' ({real.split}) has {len(real)} image to compare with; scores take at least two."
                )
                raise GanzooError(sentence, "Give more real images.")
            self._reference = ReferenceData(real, options, part, extractors, device, code)
            self.requests = [request for request in self.requests if self._applies(request)]

    def prepare(self) -> None:
        """Compute real images' features and their Gaussians now. Radii and real vs real wait for the first score."""
        for name in dict.fromkeys(one.extractor for one in self.requests if one.extractor and not one.metric.alone):
            _ = self.reference.real(name).features.statistics

    @property
    def reference(self) -> ReferenceData:
        """Real images, which a process that only computes features does not have."""
        assert self._reference is not None, "this evaluator was built with reference=False"
        return self._reference

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the images it scores, (channels, height, width)."""
        return self.reference.dataset.shape

    def features(self, images: Tensor, processes: Processes | None = None) -> dict[str, Features]:
        """What each extractor sees in a set of images: the first half of ``score``.

        Where several processes evaluate together, all of them call it with the same images at the same point; each
        computes its share, and the result is equal to that of a single process.

        Args:
            images: In their modality's stored form (n, *shape), on the CPU.
            processes: Who takes part; this process alone where None.

        Returns:
            By the extractors' names, in the order of the images, in every process.
        """
        order = canonical_order(images)
        extractors = self._extractors_for(tuple(images.shape[1:]))
        found = extract_together(extractors, images[order], self.device, processes)
        back = order.argsort()
        return {name: seen[back] for name, seen in found.items()}

    def score(
        self,
        images: Tensor,
        *,
        features: Mapping[str, Features] | None = None,
        requests: Sequence[MetricRequest] | None = None,
        sample_seed: int | None = None,
        weights: str | None = None,
        labels: Tensor | None = None,
        interval: bool = True,
        model: TrainedModel | None = None,
    ) -> list[Score]:
        """Every metric of a set of images, and of the model that drew them. The images' order does not matter.

        Args:
            images: In their modality's stored form (n, *shape), n at least 2.
            features: What ``features`` gave for them; computed here where None.
            requests: Some of ``requests``; all where None.
            sample_seed: What they were drawn with, for the protocol; None where that is unknown.
            weights: ``ema`` or ``raw``, for the protocol; None where that is unknown.
            labels: int64 (n,), the classes that were asked for; None where none were.
            interval: Whether metrics that have an interval compute it, which takes a second or two for a Fréchet
                distance in our extractors, and minutes in the 2048 features of Inception.
            model: What was trained, with ``weights``, for the metrics of the model itself.

        Raises:
            GanzooError: The images are too few or of the wrong type or shape, or lack the labels that a metric needs.
        """
        chosen = self.requests if requests is None else requests
        self._refuse_unfit(images, labels, chosen)
        seen = self.features(images) if features is None else features
        # What is drawn at random inside a metric must not depend on the order of the samples.
        order = canonical_order(images)
        labels = None if labels is None else labels[order]
        inputs = {name: self._inputs(name, len(images), seen[name][order], labels, model) for name in self._names}
        inputs[""] = self._inputs("", len(images), None, labels, model)
        scores = []
        for request in chosen:
            # One of `all`, or it would have been refused.
            if (request.metric.needs_labels and labels is None) or self._too_few(request, len(images)):
                continue
            given = inputs[request.extractor]
            protocol = self.protocol(request, given.n, sample_seed, weights)
            with _isolated(request, given):
                value = finite(request, request.metric.compute(given))
                ends = request.metric.interval(given, value) if interval else None
                ends = None if ends is None else (finite(request, ends[0]), finite(request, ends[1]))
                if ends is not None and math.isclose(*ends, rel_tol=1e-12):
                    ends = None  # it would promise certainty
                floor = sd = None
                if not isinstance(request.metric, ModelMetric):
                    floor = self.reference.real_vs_real(request, given.n)
                    sd = self.reference.deviation(request, given.n)
            scores.append(Score(request.name, value, floor, protocol, ends, sd))
        return scores

    def protocol(
        self, request: MetricRequest, n: int, sample_seed: int | None = None, weights: str | None = None
    ) -> dict[str, Any]:
        """The protocol that the score of ``n`` images will have, without computing it.

        Args:
            request: One of ``requests``.
            n: Number of images.
            sample_seed: As for ``score``.
            weights: As for ``score``.
        """
        real, extractor = self.reference.real(request.extractor), self.extractors.get(request.extractor)
        of_model, code = isinstance(request.metric, ModelMetric), self.reference.code.get(request.extractor, {})
        return {
            "metric": request.entry.name,
            # A plugin's metric is another one in another version of its package.
            **({} if request.is_ours else {"plugin": request.entry.distribution}),
            **({} if extractor is None else {"extractor": request.extractor, "extractor_digest": extractor.digest}),
            # Features of a plugin's extractor depend on its code too.
            **({"extractor_code": dict(code)} if "source" in code else {}),
            **({"anyway": True} if request.extractor in self._out_of_domain else {}),
            "dataset": real.key["dataset"],
            "dataset_options": real.key["options"],
            "split": real.key["split"],
            **({"validation": self._validation} if self._validation else {}),
            **({"trained_on": self._count} if self._count and request.metric.sees_training else {}),
            "reference_digest": real.key["content"],
            "n_real": real.key["count"],
            **({} if extractor is None else {"resizing": extractor.resizing}),
            "quantised": real.dataset.modality.quantisation,
            **({} if extractor is None else {"torch_fidelity": torch_fidelity.version()}),
            **request.metric.settings(self._inputs(request.extractor, n, None, None)),
            **({} if of_model else {"n_fake": n, "n_floor": self.reference.first_draw(request, n).n}),
            **({} if of_model else {"sample_seed": sample_seed}),
            "weights": weights,
        }

    def _inputs(
        self,
        extractor: str,
        n: int,
        seen: Features | None,
        labels: Tensor | None,
        model: TrainedModel | None = None,
    ) -> MetricInputs:
        def given() -> Features:
            if seen is None:
                raise GanzooError(
                    "The settings of a metric cannot depend on the samples.", "Use n, real, training_set."
                )
            return seen

        real, train = self.reference.real(extractor), partial(self.reference.train, extractor)
        return MetricInputs(n, given, labels, real, train, self.device, model, real.see if extractor else None)

    def _extractors_for(self, shape: tuple[int, ...]) -> dict[str, Extractor]:
        """Every extractor, found on first use."""
        for name in self._names:
            if name in self.extractors:
                refuse_other_shape(name, self.extractors[name], shape)
                continue
            extractor = find_extractor(name, self._zoo, shape, self._extractor_weights).to(self.device)
            self.extractors[name] = extractor
        return self.extractors

    def _applies(self, request: MetricRequest) -> bool:
        """Whether a metric can be computed; one that was asked for by name has to be."""
        if isinstance(request.metric, ModelMetric):
            obstacle = request.metric.obstacle_in_model(self._objective, self.reference.dataset)
        else:
            obstacle = request.metric.obstacle(self.extractors[request.extractor], self.reference.dataset)
        if request.metric.held_out and self.reference.part is None:
            obstacle = f"'{self.reference.dataset.name}' has no other split"
        if obstacle and request.by_name:
            raise GanzooError(f"'{request.name}' cannot be computed: {obstacle}.", "Leave it out.")
        return obstacle is None

    def _refuse_unfit(self, images: Tensor, labels: Tensor | None, requests: Sequence[MetricRequest]) -> None:
        modality = self.reference.dataset.modality
        if images.dtype != modality.stored or images.dim() != 1 + len(modality.shape):
            raise GanzooError(
                f"Images of type {_plain(images.dtype)} and shape {tuple(images.shape)} cannot be scored.",
                f"Give {_plain(modality.stored)} (n, {', '.join(map(str, modality.shape))}), as the dataset's are.",
            )
        n = len(images)
        if n < 2:
            raise GanzooError(f"Too few images to score: {n}.", "A distribution takes at least two.")
        self._extractors_for(tuple(images.shape[1:]))
        self.refuse_too_few(n, requests)
        for request in requests:
            if not request.metric.needs_labels or (labels is None and not request.by_name):
                continue
            if labels is None:
                raise GanzooError(
                    f"'{request.name}' needs to know which class each image was meant to be, and these have no labels.",
                    "Score a conditional run or an .npz with `labels`, or leave it out.",
                )
            classes = self.extractors[request.extractor].classes
            if labels.shape != (n,) or labels.min() < 0 or labels.max() >= classes:
                raise GanzooError(
                    f"'{request.name}' takes one label from 0 to {classes - 1} for each of the {n} images, and these "
                    f"are {len(labels)} from {labels.min()} to {labels.max()}.",
                    "Give the class that each image was meant to be.",
                )

    def refuse_too_few(self, n: int, requests: Sequence[MetricRequest] | None = None) -> None:
        """Check that ``n`` samples, and the real images, are enough for every metric that was asked for by name.

        Raises:
            GanzooError: They are too few for one.
        """
        for request in self.requests if requests is None else requests:
            if request.by_name and (error := self._too_few(request, n)) is not None:
                raise error

    def _too_few(self, request: MetricRequest, n: int) -> GanzooError | None:
        """Why ``n`` samples, or the real images, are too few for a metric; None if they are enough.

        Real vs real takes as many images as the score itself, of which a reference alone has half on each side.
        """
        name, least, real = request.name, request.metric.least, len(self.reference.dataset)
        if n < least:
            sentence = f"'{name}' takes at least {least} images, and there are {n}."
            return GanzooError(sentence, "Score more samples, or leave it out.")
        if real < least:
            sentence = f"'{name}' takes at least {least} real images, and there are {real}."
            return GanzooError(sentence, "Give more real images, or leave it out.")
        if isinstance(request.metric, ModelMetric):
            return None
        inputs = self.reference.first_draw(request, n)
        if min(inputs.n, len(inputs.real.dataset)) >= least:
            return None
        return GanzooError(
            f"Real vs real of '{name}' takes at least {least} images on each side, and there are {inputs.n} and "
            f"{len(inputs.real.dataset)}.",
            "Give more real images, or leave it out.",
        )


@contextmanager
def _isolated(request: MetricRequest, inputs: MetricInputs) -> Iterator[None]:
    """Keep what a metric does from the training, whose random numbers it may not move, and from other metrics.

    Raises:
        GanzooError: It changed the features that it shares with them.
    """
    shared = [inputs.fake] if request.extractor else []
    if request.extractor and not request.metric.alone:
        shared.append(inputs.real.features)
    tensors = [tensor for features in shared for tensor in (features.values, features.logits) if tensor is not None]
    versions = [tensor._version for tensor in tensors]
    with seeded(0, inputs.device), preserved_global_state():
        yield
    if [tensor._version for tensor in tensors] != versions:
        raise GanzooError(
            f"The metric '{request.name}' changes the features it is given.", "Work on a copy: values.clone()."
        )


def _parts(load: Callable[[Any, int, int], Dataset], validation: int, count: int) -> Callable[[str], Dataset]:
    """Gives the parts of a dataset that ``ReferenceData`` asks for. Those of the same images are loaded once.

    Args:
        load: Gives a part, from its name and what ``validation`` and ``count`` are to be for it.
        validation: How many training images are set apart for validation.
        count: How many of the others were trained on; 0 is all.
    """
    once = cache(load)

    def part(name: str) -> Dataset:
        if name == "all":
            return once("train", 0, 0)
        if name == "rest":
            return once("train", validation, 0)
        return once(name, validation, count)

    return part


def _part_in_memory(dataset: Dataset, part: Part, validation: int, count: int) -> Dataset:
    if part == "test":
        raise GanzooError(f"'{dataset.name}' has no test images.", "Leave out metrics that need them.")
    return part_of(dataset, part, validation, count)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
