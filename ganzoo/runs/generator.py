"""Trained weights: a run's or a pretrained generator, and the weights that a run starts from."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ganzoo.api.dataset import recorded
from ganzoo.api.metric import TrainedModel, allowing_code
from ganzoo.build import Assembly, assemble
from ganzoo.config.schema import InitFrom, Recipe
from ganzoo.errors import GanzooError, foreign_code, one_line, unknown
from ganzoo.evaluation.evaluate import as_labels
from ganzoo.evaluation.sampling import draw
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.reproducibility import default_modes, resolve_device, tensors_digest
from ganzoo.runs.folder import RunFolder, Which, reading
from ganzoo.runs.pretrained import PREFIX, card_of, published
from ganzoo.runs.provenance import package_changes
from ganzoo.runs.records import Checkpoint, read_card

Weights = Literal["ema", "raw"]
PREFIXES: Mapping[str, str] = {"ema": "ema", "raw": "networks"}  # what the names of a checkpoint's tensors begin with

_DRAWING = Lock()  # held while drawing: networks hold one kind of weights at a time, random states are the process's


@dataclass(frozen=True, repr=False)
class TrainedGenerator:
    """Draws samples from a checkpoint of a run. Make one with ``ganzoo.load``.

    Several threads may draw from it: they take turns.

    Attributes:
        run: The run folder.
        recipe: The recipe that it was trained with.
        checkpoint: The weights, and how long they were trained.
        assembly: The objective and the networks.
        device: The device that it draws on.
        zoo: Where its dataset is looked up, if it translates the dataset's samples.
    """

    run: RunFolder
    recipe: Recipe
    checkpoint: Checkpoint
    assembly: Assembly
    device: torch.device
    zoo: Zoo

    def __repr__(self) -> str:
        """``TrainedGenerator(cgan-mnist, 1x28x28, 10 classes)``."""
        facts = [self.recipe.name, "x".join(map(str, self.assembly.spec.modality.shape))]
        facts += [f"{self.classes} classes"] if self.classes else []
        return one_line(f"TrainedGenerator({', '.join(facts)})")

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The available kinds of weights, the reported one first."""
        there = {name.partition(".")[0] for name in self.checkpoint.tensors}
        return tuple(kind for kind in get_args(Weights) if PREFIXES[kind] in there)

    @property
    def classes(self) -> int:
        """Number of classes that it can draw on request; 0 if it is unconditional."""
        return self.assembly.spec.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of its classes, as in its dataset; their numbers if the dataset has no names."""
        named = [str(name) for name in self.run.info.get("class_names", ())][: self.classes]
        return (*named, *map(str, range(len(named), self.classes)))

    def sample(
        self,
        n: int,
        seed: int = 0,
        label: int | str | None = None,
        weights: Weights | None = None,
        *,
        truncation: float = 1.0,
        source: Tensor | None = None,
    ) -> Tensor:
        """Draw images; the same arguments give the same images.

        Args:
            n: Number of images.
            seed: Seed of the latent codes.
            label: The class of all images, by its name or number; None cycles through the classes. Conditional
                generators only.
            weights: ``ema`` or ``raw``; None means ``ema`` if the run has it.
            truncation: How far latent codes are moved towards the prior's middle, for more typical and less varied
                images: from 0, all the way, to 1, not at all. In a generator like StyleGAN's, w is moved instead.
            source: For a translating generator, its inputs (m, ...), in the form of its dataset's column ``source``,
                cycled. None means those of the images that it is scored against, or else of the training images.

        Returns:
            As their modality stores them, on the CPU: uint8 (n, c, h, w) for images, float32 for points.

        Raises:
            GanzooError: ``n`` or the seed is not a whole number or out of range, the class or the weights are unknown,
                the truncation is out of range or the prior has no middle, or the dataset to start from is missing.
        """
        return self.sample_labelled(n, seed, label, weights, truncation=truncation, source=source)[0]

    def sample_labelled(
        self,
        n: int,
        seed: int = 0,
        label: int | str | None = None,
        weights: Weights | None = None,
        *,
        truncation: float = 1.0,
        source: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Like ``sample``, with the requested labels, int64 (n,), or None if it is unconditional."""
        n, seed = _whole("number of images", n), _whole("seed", seed)
        number = None if label is None else self.class_number(label)
        labels = None if number is None else torch.full((max(0, n),), number)
        return self._draw(n, seed, labels, weights, source, truncation=truncation)

    def decode(
        self,
        codes: Tensor,
        labels: Tensor | None = None,
        weights: Weights | None = None,
        *,
        source: Tensor | None = None,
    ) -> Tensor:
        """The images of given latent codes; the same codes give the same images.

        Args:
            codes: (n, latent), a floating-point tensor, as the recipe's prior draws them; computed with in float32.
            labels: Integers (n,), each image's class; None cycles through the classes. Conditional generators only.
            weights: ``ema`` or ``raw``; None means ``ema`` if the run has it.
            source: As for ``sample``.

        Returns:
            As ``sample``.

        Raises:
            GanzooError: The codes or labels have the wrong type or shape, a code is NaN or infinite, a label is none of
                the classes, or as for ``sample``.
        """
        width = self.assembly.spec.prior.width
        if not isinstance(codes, Tensor) or not codes.is_floating_point():
            kind = str(codes.dtype) if isinstance(codes, Tensor) else type(codes).__name__
            raise GanzooError(
                f"The latent codes are of type {kind.removeprefix('torch.')}.",
                f"Give a float32 tensor (n, {width}): torch.from_numpy for an array, torch.tensor for a list.",
            )
        if codes.dim() != 2 or codes.shape[1] != width:
            raise GanzooError(
                f"The latent codes have the shape {tuple(codes.shape)}.",
                f"The recipe '{self.recipe.name}' needs (n, {width}).",
            )
        codes = codes.float()
        if not codes.isfinite().all():
            raise GanzooError("Some latent codes are NaN or infinite.", "Give finite ones, as the prior draws them.")
        if labels is not None:
            labels = as_labels(labels, len(codes))
            for label in set(labels.tolist()):
                self.class_number(label)
        return self._draw(len(codes), 0, labels, weights, source, codes=codes)[0]

    @property
    def source_shape(self) -> tuple[int, ...]:
        """The shape of one of the sources that it translates: (channels, height, width) of pictures.

        Raises:
            GanzooError: It does not translate.
        """
        self._refuse_a_source_unless_it_takes_one()
        return dict(self.assembly.spec.columns)["source"]

    def translate(self, images: Tensor, weights: Weights | None = None, *, seed: int = 0) -> Tensor:
        """Translate pictures; the same arguments give the same results.

        Args:
            images: uint8 (n, c, h, w), with the channels of the run's sources, in any size that its generator accepts.
            weights: ``ema`` or ``raw``; None means ``ema`` if the run has it.
            seed: Seed of the latent codes, for a generator that uses them.

        Returns:
            uint8 (n, c, h, w) on the CPU, larger than the pictures if the run's images are larger than its sources.

        Raises:
            GanzooError: The run does not translate images, the pictures have another type or other channels, or the
                generator does not accept their size.
        """
        spec, (_, *sides) = self.assembly.spec, self.source_shape
        self._refuse_other_pictures(images, spec.modality.stored)
        sizes = zip(images.shape[2:], spec.shape[1:], sides, strict=True)
        shape = (spec.channels, *(size * large // small for size, large, small in sizes))
        size = "x".join(map(str, images.shape[2:]))
        with foreign_code(f"The generator does not accept pictures of {size}", "Give a size like the run's sources."):
            return self._draw(len(images), seed, None, weights, images, shape=shape)[0]

    def _draw(
        self, n: int, seed: int, labels: Tensor | None, weights: Weights | None, source: Tensor | None, **how: Any
    ) -> tuple[Tensor, Tensor | None]:
        with _DRAWING, default_modes():
            return draw(
                self.assembly.objective,
                self._networks(weights),
                n,
                seed=seed,
                device=self.device,
                labels=labels,
                classes=self.classes,
                sources=self.sources(source),
                **how,
            )

    def model(self, weights: Weights | None = None) -> TrainedModel:
        """The trained model, for metrics of the model itself.

        Args:
            weights: ``ema`` or ``raw``; None means ``ema`` if the run has it.
        """
        return TrainedModel(self.assembly.objective, self._networks(weights), self.device)

    def sources(self, source: Tensor | None = None) -> dict[str, Tensor]:
        """The columns that it starts from, of the images that it is scored against, or else of the training images."""
        names = self.assembly.objective.generates_from
        if source is not None:
            self._refuse_a_source_unless_it_takes_one()
            self._refuse_other_pictures(source)
        sources = {} if source is None else {"source": source}
        if missing := [name for name in names if name not in sources]:
            try:
                columns = self.run.dataset(self.recipe, self.zoo, self.recipe.dataset.scored_split).columns
            except GanzooError:  # there are no images that it is scored against
                columns = self.run.dataset(self.recipe, self.zoo, "train").columns
            sources |= {name: columns[name] for name in missing if name in columns}
        return sources

    def _refuse_a_source_unless_it_takes_one(self) -> None:
        if "source" not in self.assembly.objective.generates_from:
            raise GanzooError(
                f"The recipe '{self.recipe.name}' does not start from a source: its generator takes only latent codes.",
                "Use a run that was trained to translate, such as one of pix2pix-edges-to-digits.",
            )

    def _refuse_other_pictures(self, source: Tensor, stored: torch.dtype | None = None) -> None:
        if not isinstance(source, Tensor):
            raise GanzooError(
                f"The source is of type {type(source).__name__}, not a tensor.",
                "Use torch.from_numpy for an array, and torch.tensor for a list.",
            )
        channels, *_ = shape = self.source_shape
        if source.dim() != len(shape) + 1 or source.shape[1] != channels or stored not in (None, source.dtype):
            kind = str(source.dtype).removeprefix("torch.")
            raise GanzooError(
                f"Pictures of type {kind} and shape {tuple(source.shape)} cannot be translated.",
                f"Give uint8 (n, {channels}, height, width), like the run's sources.",
            )

    def class_number(self, label: int | str) -> int:
        """The number of a class given by its name or number; if classes are named by numbers, the name wins.

        Raises:
            GanzooError: There is no such class, or the generator is unconditional.
        """
        if self.classes == 0:
            raise GanzooError(
                f"The recipe '{self.recipe.name}' is unconditional: it cannot be asked for class {label}.",
                "Leave the class out, or train a conditional recipe.",
            )
        names = self.class_names
        if isinstance(label, str) and label in names:
            return names.index(label)
        if isinstance(label, str) and not (label.isdecimal() and len(label) < 10):
            raise unknown("class", label, names, listing="ganzoo.load(RUN).class_names")
        number = int(label) if isinstance(label, str) else _whole("class", label)
        if not 0 <= number < self.classes:
            raise GanzooError(f"Unknown class {label}.", f"The classes are 0 to {self.classes - 1}.")
        return number

    def _networks(self, weights: Weights | None) -> Mapping[str, nn.Module]:
        weights = weights or self.weights[0]
        if weights not in self.weights:
            raise GanzooError(
                f"The run {self.run.path} has no '{weights}' weights.", f"It has: {', '.join(self.weights)}."
            )
        networks = {role: self.assembly.networks[role] for role in self.assembly.objective.samples_with}
        for role, network in networks.items():
            with _described_by_its_recipe(role, self.run):
                network.load_state_dict(self.checkpoint.weights(f"{PREFIXES[weights]}.{role}"))
        return networks


def _whole(what: str, value: object) -> int:
    with suppress(TypeError, RuntimeError):  # a meta tensor raises the latter
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]  # it may be anything
    raise GanzooError(f"The {what} {value!r:.100} is not a whole number.", "Give a single int.")


@contextmanager
def _described_by_its_recipe(role: str, run: RunFolder) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise GanzooError(
            f"The {role} in the checkpoint of {run.path} is not the one that its recipe describes.",
            " ".join(package_changes(run.info)) or "Install the versions of the plugins that run.json names.",
        ) from error


@default_modes()
def load(
    run: str | Path | RunFolder,
    *,
    checkpoint: Which = "last",
    zoo: Zoo | None = None,
    device: torch.device | str | None = None,
    data_dir: str | Path | None = None,
    allow_code: bool = False,
    allow_paths: bool = False,
) -> TrainedGenerator:
    """The generator that a run trained.

    Args:
        run: The run folder, ``zoo:NAME`` for a pretrained generator, or a folder made by `export --format hub`.
        checkpoint: ``last`` is the newest intact one, ``best`` the one that ``train.keep_best`` kept, ``good`` that of
            the last evaluation whose samples were varied.
        zoo: Where the recipe's names are looked up; leave it out to use the installed plugins.
        device: The device to draw on, such as ``cuda:1``; by default a GPU if there is one.
        data_dir: Where dataset files are, for a generator that starts from images.
        allow_code: Whether to run the run's own code.py, if it was trained with a class that is in no package.
        allow_paths: Whether a run that was not started here may read any path it names.

    Raises:
        GanzooError: It is not a run, has no such checkpoint, or needs a plugin or a class that is missing; or the
            device is not available.
    """
    device = resolve_device("auto" if device is None else str(device))
    if checkpoint not in get_args(Which):
        raise unknown("checkpoint", str(checkpoint), get_args(Which))
    zoo = zoo or load_zoo()
    card = None if isinstance(run, RunFolder) else card_of(run, zoo)
    with allowing_code(allow_code), reading(None if data_dir is None else Path(data_dir), anywhere=allow_paths):
        if card is not None:
            if checkpoint != "last":
                raise GanzooError(f"{run} has only its last weights, no checkpoints.", "Leave the checkpoint out.")
            folder, recipe, saved = published(card, zoo)
        else:
            # A folder may read what it was allowed to when it was opened, so it is reopened if more is allowed now.
            if isinstance(run, RunFolder):
                folder = run if data_dir is None and not allow_paths else RunFolder.open(run.path)
            else:
                refuse_name(run, zoo)
                folder = RunFolder.open(run)
            zoo = folder.zoo(zoo)
            recipe, saved = folder.recipe(zoo, scored=False), folder.checkpoint(checkpoint)
    # Random weights are drawn and then replaced, which must not change any other random numbers.
    with torch.random.fork_rng(devices=[]):
        info = folder.info
        modality = recorded(info.get("modality", "images"), info["shape"], info.get("modality_options", {}))
        modality = modality or folder.dataset(recipe, zoo).modality
        columns = tuple((name, tuple(shape)) for name, shape in info.get("columns", {}).items())
        assembly = assemble(recipe, zoo, modality, info["classes"], columns)
    with _described_by_its_recipe("objective", folder):
        # Not strictly: published weights have no such state, and a run may lack state that a plugin has added since.
        assembly.objective.load_state_dict(saved.weights("objective"), strict=False)
    assembly.networks.to(device)
    assembly.objective.to(device)
    return TrainedGenerator(folder, recipe, saved, assembly, device, zoo)


def refuse_name(run: str | Path, zoo: Zoo) -> None:
    """Refuse the name of a recipe or a pretrained generator where a run folder is expected."""
    name = str(run)
    if Path(run).exists():
        return
    if name in zoo.pretrained:
        raise GanzooError(f"{name} is a pretrained generator, not a run folder.", f"Did you mean {PREFIX}{name}?")
    if name in zoo.recipes:
        raise GanzooError(f"{name} is a recipe, not a run folder.", f"`ganzoo run {name}` trains it.")


def differing(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of ``after`` that differ from ``before``, by their dotted keys."""
    for key, value in after.items():
        known = before.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping) and known.get("name") == value.get("name"):
            yield from differing(known, value, f"{prefix}{key}.")
        elif value != known:
            yield f"{prefix}{key}", value


def trained_shape(source: str, zoo: Zoo) -> tuple[int, ...]:
    """The shape of the samples that a run or a pretrained generator was trained on."""
    card = card_of(source, zoo)
    return tuple(RunFolder.open(source).info["shape"] if card is None else read_card(card)["run"]["shape"])


def pinned(recipe: Recipe, zoo: Zoo, begun: Recipe | None = None) -> tuple[Recipe, dict[str, Tensor]]:
    """The recipe with its initial weights' digest, and those weights; ``{}`` if it has none, or a run has ``begun``."""
    start, known = recipe.train.init_from, begun.train.init_from if begun else None
    if start and known and start.source == known.source and start.sha256 in (None, known.sha256):
        return recipe.with_train(init_from=known), {}
    if start is None:
        return recipe, {}
    card = card_of(start.source, zoo)
    checkpoint = (
        RunFolder.open(start.source).checkpoint() if card is None else published(card, zoo, with_discriminator=True)[2]
    )
    tensors = {key: value for key, value in checkpoint.tensors.items() if key.startswith(("networks.", "ema."))}
    digest = tensors_digest(sorted(tensors.items()))
    if start.sha256 not in (None, digest):
        raise GanzooError(
            f"The weights of {start.source} are not those that train.init_from.sha256 names.",
            "Remove sha256 to start from the current weights.",
        )
    return recipe.with_train(init_from=InitFrom(source=start.source, sha256=digest)), tensors
