"""The hooks a plugin can implement: the table of contents of ganzoo's extension API.

Each hook is handed a ``register`` callback. The keyword-only parameters of a registered factory are the options that a
recipe may set, checked against their annotations before training starts; positional parameters are supplied by ganzoo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import pluggy

if TYPE_CHECKING:
    from torch import nn

    from ganzoo.api.adversarial import AdversarialLoss, Augmentation, Regularizer
    from ganzoo.api.dataset import Dataset
    from ganzoo.api.metric import Extractor, Metric
    from ganzoo.api.objective import Objective
    from ganzoo.api.priors import Prior
    from ganzoo.api.tracker import Tracker

T_contra = TypeVar("T_contra", contravariant=True)

hookspec = pluggy.HookspecMarker("ganzoo")
hookimpl = pluggy.HookimplMarker("ganzoo")


class Register(Protocol[T_contra]):
    """Adds one thing under a name."""

    def __call__(
        self,
        name: str,
        factory: Callable[..., T_contra],
        *,
        summary: str,
        paper: str | None = None,
        aliases: Sequence[str] = (),
    ) -> None:
        """Register ``factory`` under ``name``.

        Args:
            name: Lower-case words joined by hyphens, unique within its kind.
            factory: A class or function; see each hook for its positional parameters.
            summary: One line for ``ganzoo list``.
            paper: Citation: authors, year, title, arXiv number. Losses, regularizers and augmentations must cite one:
                ``ganzoo check`` refuses those that do not. For your own method, give your name and the year.
            aliases: Other names that people type. They are not accepted, but the error message leads to ``name``.

        Raises:
            GanzooError: The name is taken or malformed.
        """


class RegisterRecipe(Protocol):
    """Adds one recipe file; its name is the file's, its summary and paper are in the file."""

    def __call__(self, path: Path, *, aliases: Sequence[str] = ()) -> None:
        """Register the YAML file at ``path``; error messages for ``aliases`` lead to it."""


class RegisterStudy(Protocol):
    """Adds one study; its name is the file's, its question stands inside."""

    def __call__(self, path: Path, *, aliases: Sequence[str] = ()) -> None:
        """Register the YAML file at ``path``; error messages for ``aliases`` lead to it."""


class RegisterPretrained(Protocol):
    """Adds one pretrained generator; its name is the file's, its summary and paper are in the file."""

    def __call__(self, path: Path, *, aliases: Sequence[str] = ()) -> None:
        """Register the card at ``path``, a JSON file with its weights beside it; see docs/pretrained.md."""


@hookspec
def register_generators(register: Register[nn.Module]) -> None:
    """Add generators: ``factory(spec, *, options...)`` gives a module from z (n, latent) to images in [-1, 1]."""


@hookspec
def register_discriminators(register: Register[nn.Module]) -> None:
    """Add discriminators or critics: ``factory(spec, *, options...)`` gives a module from images to logits (n,).

    One that looks at each image alone, without batch normalisation or the like, may have an attribute ``per_image``
    that is true: real and fake images are then judged in one pass, which is faster than two. One that judges several
    images at once has their number as an attribute ``packing``, for the pictures of a training in the plane.
    """


@hookspec
def register_encoders(register: Register[nn.Module]) -> None:
    """Add encoders: ``factory(spec, *, options...)`` gives a module from images to codes (n, latent)."""


@hookspec
def register_losses(register: Register[AdversarialLoss | Objective]) -> None:
    """Add losses on logits, or whole objectives with phases of their own: ``factory(*, options...)``."""


@hookspec
def register_regularizers(register: Register[Regularizer]) -> None:
    """Add terms for either player's loss: ``factory(*, weight, every_steps, options...)``.

    One that is no term of a loss, such as weight clipping, takes neither ``weight`` nor ``every_steps``.
    """


@hookspec
def register_augmentations(register: Register[Augmentation]) -> None:
    """Add differentiable changes of what the discriminator sees: ``factory(*, options...)``."""


@hookspec
def register_datasets(register: Register[Dataset]) -> None:
    """Add datasets: ``factory(split, folder, *, options...)`` gives the images of one split.

    ``split`` is ``"train"`` or ``"test"``, and the factory itself divides the images; ``folder`` is the user's
    ``--data-dir``, or None. ``ganzoo.ImageDataset`` is the old name of ``ganzoo.Dataset``.
    """


@hookspec
def register_priors(register: Register[Prior]) -> None:
    """Add priors of latent codes: ``factory(*, options...)`` gives a ``ganzoo.Prior``."""


@hookspec
def register_extractors(register: Register[Extractor]) -> None:
    """Add feature extractors that scores are computed in: ``factory()`` gives a ``ganzoo.Extractor``."""


@hookspec
def register_metrics(register: Register[Metric]) -> None:
    """Add metrics: ``factory()`` gives a ``ganzoo.Metric``, which is available in every extractor's features.

    A ``ganzoo.ModelMetric`` measures the trained model itself on real images, such as a classifier's test error.
    """


@hookspec
def register_trackers(register: Register[Tracker]) -> None:
    """Add places that a run's events are sent to: ``factory(folder, *, options...)``."""


@hookspec
def register_recipes(register: RegisterRecipe) -> None:
    """Add recipes: ``register(path)`` for each YAML file."""


@hookspec
def register_studies(register: RegisterStudy) -> None:
    """Add studies: ``register(path)`` for each YAML file. docs/studies.md says what stands in one."""


@hookspec
def register_pretrained(register: RegisterPretrained) -> None:
    """Add pretrained generators: ``register(path)`` for each card ``NAME.json``, which people use as ``zoo:NAME``.

    ``ganzoo export RUN --out NAME.safetensors`` makes the card and, beside it, the weights.
    """
