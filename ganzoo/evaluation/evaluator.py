"""Score sets of images under a stated protocol."""

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
from ganzoo.data import load_part, part_of
from ganzoo.errors import GanzooError
from ganzoo.evaluation import torch_fidelity
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.protocol import Score
from ganzoo.evaluation.reference import ReferenceData, finite
from ganzoo.evaluation.requests import MetricRequest, code_of, find_extractor, fits, parse_metrics, unfit
from ganzoo.evaluation.sampling import WHOLE
from ganzoo.files import without_folders
from ganzoo.reproducibility import canonical_order, preserved_global_state, seeded

if TYPE_CHECKING:
    from pathlib import Path

    from ganzoo.api.metric import Extractor, Features
    from ganzoo.api.objective import Objective
    from ganzoo.registry.loading import Zoo
    from ganzoo.registry.registry import Entry
    from ganzoo.training.distributed import Processes


class Evaluator:
    """The extractors and their features of real images; built once and used for many sets of images.

    Args:
        metrics: Names of the form ``<metric>@<extractor>``; ``all@<extractor>`` means every metric that applies.
        dataset: Where real images come from: a registered dataset, or the real images themselves.
        options: The recipe's options for a registered dataset.
        data_dir: Where the user keeps dataset files, or None.
        zoo: Where metrics and extractors are looked up.
        device: The device to compute features on.
        split: The part of the dataset that is the reference; real vs real uses another part.
        validation: How many training images are held out for validation.
        count: How many of the other training images were trained on; 0 means all.
        anyway: Also score with extractors that were fitted to another dataset; the protocol records this permanently.
        extractor_weights: The weights file of a downloaded extractor; None means the one in torch-fidelity's cache.
        reference: Whether to load real images. A process that only computes features for the main process needs none.
        objective: The objective that is trained, with its ``spec``; required by metrics of the trained model itself.
        extractors: Extractors that are already loaded, by name, because they may be large.

    Attributes:
        requests: The metrics to compute, in order.
        extractors: By name, on ``device``, in evaluation mode.

    Raises:
        GanzooError: A name is unknown; or an extractor does not accept the dataset's images, was fitted to another
            dataset, or cannot compute what a metric needs.
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
        self._objective = objective
        self._count = count
        loaded = extractors or {}
        self.extractors = {
            name: (loaded.get(name) or find_extractor(name, zoo, extractor_weights)).to(device)
            for name in dict.fromkeys(request.extractor for request in self.requests if request.extractor)
        }
        self._reference: ReferenceData | None = None
        if not reference:
            return
        load: Callable[..., Dataset]
        if isinstance(dataset, Dataset):
            load, options, split = partial(_part_in_memory, dataset), {}, "validation"
        else:
            options = dataset.options.check(options)
            load = partial(load_part, dataset, options, data_dir)
        load_once = cache(load)

        def part(name: str) -> Dataset:
            whole = {"all": ("train", 0, 0), "rest": ("train", validation, 0)}
            return load_once(*whole.get(name, (name, validation, count)))

        alone = isinstance(dataset, Dataset) and not validation
        real = dataset if isinstance(dataset, Dataset) and alone else part(split)
        for name, extractor in self.extractors.items():
            if (error := unfit(name, extractor, real, zoo, anyway=anyway)) is not None:
                raise error
        if len(real) < 2:
            sentence = (
                f"'{real.name}' ({real.split}) has only {len(real)} image to compare with; scores need at least 2."
            )
            raise GanzooError(sentence, "Provide more real images.")
        self._validation = validation if real.split == "validation" else 0
        code = {name: code_of(name, zoo) for name in self.extractors}
        self._reference = ReferenceData(real, options, None if alone else part, self.extractors, device, code)
        self.requests = [request for request in self.requests if self._allows(request, self._obstacle(request))]

    def prepare(self) -> None:
        """Compute the real images' features and Gaussians now, but radii and real vs real only for the first score."""
        for name in dict.fromkeys(one.extractor for one in self.requests if one.extractor and not one.metric.alone):
            _ = self.reference.real(name).features.statistics

    @property
    def reference(self) -> ReferenceData:
        """The real images; a process that only computes features has none."""
        assert self._reference is not None, "this evaluator was built with reference=False"
        return self._reference

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the images that it scores, (channels, height, width)."""
        return self.reference.dataset.shape

    def features(self, images: Tensor, processes: Processes | None = None) -> dict[str, Features]:
        """Each extractor's features of a set of images: the first half of ``score``.

        If several processes evaluate together, all of them call this with the same images at the same point; each
        computes its share of a single process's batches, so the result equals that of a single process.

        Args:
            images: In their modality's stored form (n, *shape), on the CPU.
            processes: The processes that take part; None means this process alone.

        Returns:
            Features by extractor name, in the order of the images, in every process.
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
        """Compute every metric of a set of images, in any order, and of the model that drew them.

        Args:
            images: In their modality's stored form (n, *shape), n at least 2.
            features: What ``features`` returned for them; computed here if None.
            requests: A subset of ``self.requests``; None means all of them.
            sample_seed: The seed that the images were drawn with, for the protocol; None if unknown.
            weights: ``ema`` or ``raw``, for the protocol; None if unknown.
            labels: int64 (n,), the requested classes; None if there were none.
            interval: Whether metrics that have an interval compute it. For a Fréchet distance this takes a second or
                two in our extractors, and minutes in Inception's 2048 features.
            model: The trained model, with ``weights``, for metrics of the model itself.

        Raises:
            GanzooError: There are too few images, they have the wrong type or shape, or a metric needs labels that they
                lack.
        """
        modality, n = self.reference.dataset.modality, len(images)
        if images.dtype != modality.stored or images.shape[1:] != self.shape:
            raise GanzooError(
                f"Images of type {_plain(images.dtype)} and shape {tuple(images.shape)} cannot be scored.",
                f"Give {_plain(modality.stored)} (n, {', '.join(map(str, self.shape))}), like the dataset's.",
            )
        if n < 2:
            raise GanzooError(f"Too few images to score: {n}.", "Scores need at least two.")
        chosen = [
            request
            for request in (self.requests if requests is None else requests)
            if self._allows(request, self._lack_of_images(request, n) or self._lack_of_labels(request, n, labels))
        ]
        features = self.features(images) if features is None else features
        # A metric's random choices must not depend on the order of the samples.
        order = canonical_order(images)
        labels = None if labels is None else labels[order]
        by_extractor = {name: self._inputs(name, n, some[order], labels, model) for name, some in features.items()}
        by_extractor[""] = self._inputs("", n, None, labels, model)
        scores = []
        for request in chosen:
            inputs = by_extractor[request.extractor]
            protocol = self.protocol(request, n, sample_seed, weights)
            with _isolated(request, inputs):
                value = finite(request, request.metric.compute(inputs))
                ends = request.metric.interval(inputs, value) if interval else None
                ends = None if ends is None else (finite(request, ends[0]), finite(request, ends[1]))
                if ends is not None and math.isclose(*ends, rel_tol=1e-12):
                    ends = None  # it would suggest certainty
                of_model = isinstance(request.metric, ModelMetric)
                floor, sd = (None, None) if of_model else self.reference.real_vs_real(request, n)
            scores.append(Score(request.name, value, floor, protocol, ends, sd))
        return scores

    def protocol(
        self, request: MetricRequest, n: int, sample_seed: int | None = None, weights: str | None = None
    ) -> dict[str, Any]:
        """The protocol that the score of ``n`` images will have; the score is not computed.

        Args:
            request: One of ``requests``.
            n: Number of images.
            sample_seed: As for ``score``.
            weights: As for ``score``.
        """
        real, extractor = self.reference.real(request.extractor), self.extractors.get(request.extractor)
        code, of_samples = self.reference.code.get(request.extractor), {}
        if not isinstance(request.metric, ModelMetric):
            of_samples = {"n_fake": n, "n_floor": self._floor(request, n).n, "sample_seed": sample_seed}
        out_of_domain = extractor is not None and not fits(extractor, real.dataset.domain)
        return {
            "metric": request.entry.name,
            # A plugin's metric may change with the version of its package.
            **({} if request.is_ours else {"plugin": request.entry.distribution}),
            **({} if extractor is None else {"extractor": request.extractor, "extractor_digest": extractor.digest}),
            # Features of a plugin's extractor depend on its code too.
            **({"extractor_code": dict(code)} if code else {}),
            **({"anyway": True} if out_of_domain else {}),
            "dataset": real.key["dataset"],
            "dataset_options": without_folders(real.key["options"]),
            "split": real.key["split"],
            **({"validation": self._validation} if self._validation else {}),
            **({"trained_on": self._count} if self._count and request.metric.sees_training else {}),
            "reference_digest": real.key["content"],
            "n_real": real.key["count"],
            **({} if extractor is None else {"resizing": extractor.resizing_of(self.shape)}),
            "quantised": real.dataset.modality.quantisation,
            **({} if extractor is None else {"torch_fidelity": torch_fidelity.version()}),
            **request.metric.settings(self._inputs(request.extractor, n, None, None)),
            **of_samples,
            "weights": weights,
        }

    def _inputs(
        self,
        extractor: str,
        n: int,
        features: Features | None,
        labels: Tensor | None,
        model: TrainedModel | None = None,
    ) -> MetricInputs:
        def of_samples() -> Features:
            if features is None:
                raise GanzooError(
                    "The settings of a metric cannot depend on the samples.", "Use only n, real and training_set."
                )
            return features

        real, train = self.reference.real(extractor), partial(self.reference.train, extractor)
        return MetricInputs(n, of_samples, labels, real, train, self.device, model, real.see if extractor else None)

    def _floor(self, request: MetricRequest, n: int) -> MetricInputs:
        drawn = self.reference.draw(request, n)
        assert drawn is not None, "there are at least two real images"
        return drawn[0]

    def refuse_too_few(self, n: int) -> None:
        """Check that ``n`` samples, and the real images, are enough for every metric that was requested by name.

        Raises:
            GanzooError: They are too few for one of them.
        """
        for request in self.requests:
            self._allows(request, self._lack_of_images(request, n))

    def _allows(self, request: MetricRequest, error: GanzooError | None) -> bool:
        """Whether a metric can be computed; if it was requested by name and cannot, the error is raised."""
        if error is not None and request.by_name:
            raise error
        return error is None

    def _obstacle(self, request: MetricRequest) -> GanzooError | None:
        """Why a metric cannot be computed, whatever the samples are; None if it can."""
        real = self.reference.dataset
        if request.metric.held_out and self.reference.part is None:
            obstacle: str | None = f"'{real.name}' has no other split"
        elif isinstance(request.metric, ModelMetric):
            obstacle = request.metric.obstacle_in_model(self._objective, real)
        else:
            obstacle = request.metric.obstacle(self.extractors[request.extractor], real)
        return GanzooError(f"'{request.name}' cannot be computed: {obstacle}.", "Leave it out.") if obstacle else None

    def _lack_of_images(self, request: MetricRequest, n: int) -> GanzooError | None:
        """Why ``n`` samples, or the real images, are too few for a metric; None if they are enough.

        Real vs real needs as many images as the score itself; if only the reference is known, each side has half of it.
        """
        name, least, real = request.name, request.metric.least, len(self.reference.dataset)
        if n < least:
            sentence = f"'{name}' needs at least {least} images, but there are only {n}."
            return GanzooError(sentence, "Score more samples, or leave this metric out.")
        sides = real, real
        sentence = f"'{name}' needs at least {least} real images, but there are only {real}."
        if not isinstance(request.metric, ModelMetric):
            floor = self._floor(request, n)
            sides = floor.n, len(floor.real.dataset)
            sentence = (
                f"Real vs real of '{name}' needs at least {least} images on each side, but there are {sides[0]} and "
                f"{sides[1]}."
            )
        if min(sides) >= least:
            return None
        return GanzooError(sentence, "Provide more real images, or leave this metric out.")

    def _lack_of_labels(self, request: MetricRequest, n: int, labels: Tensor | None) -> GanzooError | None:
        """Why a metric cannot be computed without labels; None if it can.

        Raises:
            GanzooError: There are labels, but not one of the extractor's classes for each sample.
        """
        if not request.metric.needs_labels:
            return None
        if labels is None:
            return GanzooError(
                f"'{request.name}' needs to know which class each image was meant to be, but these have no labels.",
                "Score a conditional run or an .npz file with `labels`, or leave this metric out.",
            )
        classes = self.extractors[request.extractor].classes
        if labels.shape == (n,) and labels.min() >= 0 and labels.max() < classes:
            return None
        raise GanzooError(
            f"'{request.name}' needs one label from 0 to {classes - 1} for each of the {n} images, but got "
            f"{len(labels)} from {labels.min()} to {labels.max()}.",
            "Give the class that each image was meant to be.",
        )


@contextmanager
def _isolated(request: MetricRequest, inputs: MetricInputs) -> Iterator[None]:
    """Isolate a metric from the training run, whose random numbers it must not shift, and from other metrics.

    Raises:
        GanzooError: It changed the features that it shares with other metrics.
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


def _part_in_memory(dataset: Dataset, part: Part, validation: int, count: int) -> Dataset:
    if part == "test":
        raise GanzooError(f"'{dataset.name}' has no test images.", "Leave out metrics that need them.")
    return part_of(dataset, part, validation, count)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
