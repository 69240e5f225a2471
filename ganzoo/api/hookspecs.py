"""The hooks a plugin can implement: the table of contents of ganzoo's extension API.

Each hook receives a ``register`` callback. The keyword-only parameters of a registered factory are the options that a
recipe may set, checked against their annotations before training starts; positional parameters are supplied by ganzoo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import pluggy
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
        summary: str = "",
        paper: str | None = None,
        aliases: Sequence[str] = (),
    ) -> None:
        """Register ``factory`` under ``name``.

        Args:
            name: Lower-case words joined by hyphens, unique within its kind.
            factory: A class or function; see each hook for its positional parameters.
            summary: One line for ``ganzoo list``; required of plugins.
            paper: Citation: authors, year, title, arXiv number; required for losses, regularizers and augmentations.
                For your own method, give your name and the year.
            aliases: Other names that people may type: error messages suggest ``name`` for them.

        Raises:
            GanzooError: The name is taken or malformed.
        """


class RegisterRecipe(Protocol):
    """Adds one recipe or study, named after its file, which also contains its summary and paper, or its question.

    Or it adds one pretrained generator: a card, a JSON file with its weights next to it; see docs/pretrained.md.
    """

    def __call__(self, path: Path, *, aliases: Sequence[str] = ()) -> None:
        """Register the file at ``path``; error messages for ``aliases`` suggest it."""


RegisterStudy = RegisterRecipe
RegisterPretrained = RegisterRecipe


def beside(
    module: str, *names: str, aliases: Mapping[str, Sequence[str]] | None = None
) -> Callable[[RegisterRecipe], None]:
    """Make a hook that registers recipes or studies in a module's own folder, as in ``hinge.py``.

    Args:
        module: The module's ``__file__``.
        names: Their names, which are their files' without ``.yaml``.
        aliases: Of these names, other names that people may type: error messages suggest the right one.
    """

    @hookimpl
    def register_files(register: RegisterRecipe) -> None:
        for name in names:
            register(Path(module).with_name(f"{name}.yaml"), aliases=(aliases or {}).get(name, ()))

    return register_files


@hookspec
def register_generators(register: Register[nn.Module]) -> None:
    """Add generators: ``factory(spec, *, options...)`` returns a module from z (n, latent) to images in [-1, 1]."""


@hookspec
def register_discriminators(register: Register[nn.Module]) -> None:
    """Add discriminators or critics: ``factory(spec, *, options...)`` returns a module from images to logits (n,).

    One that judges each image alone, without batch normalisation, may set ``per_image = True``: real and fake images
    then share a pass. One that judges several together has their number in ``packing``, which pictures of runs on
    two-dimensional points need.
    """


@hookspec
def register_encoders(register: Register[nn.Module]) -> None:
    """Add encoders: ``factory(spec, *, options...)`` returns a module from images to codes (n, latent)."""


@hookspec
def register_losses(register: Register[AdversarialLoss | Objective]) -> None:
    """Add losses on logits, or complete objectives with their own phases: ``factory(*, options...)``."""


@hookspec
def register_regularizers(register: Register[Regularizer]) -> None:
    """Add terms for either player's loss: ``factory(*, weight, every_steps, options...)``.

    A regularizer that is not a loss term, such as weight clipping, takes neither ``weight`` nor ``every_steps``.
    """


@hookspec
def register_augmentations(register: Register[Augmentation]) -> None:
    """Add differentiable transformations of what the discriminator sees: ``factory(*, options...)``."""


@hookspec
def register_datasets(register: Register[Dataset]) -> None:
    """Add datasets: ``factory(split, folder, *, options...)`` returns the images of one split.

    ``split`` is ``"train"`` or ``"test"``; the factory itself splits the images. ``folder`` is the user's
    ``--data-dir``, or None.
    """


@hookspec
def register_priors(register: Register[Prior]) -> None:
    """Add priors of latent codes: ``factory(*, options...)`` returns a ``ganzoo.Prior``."""


@hookspec
def register_extractors(register: Register[Extractor]) -> None:
    """Add extractors of the features that scores are computed from: ``factory()`` returns a ``ganzoo.Extractor``."""


@hookspec
def register_metrics(register: Register[Metric]) -> None:
    """Add metrics: ``factory()`` returns a ``ganzoo.Metric``, which is available with every extractor or none.

    A ``ganzoo.ModelMetric`` measures the trained model on real images: a classifier's test error, for example.
    """


@hookspec
def register_trackers(register: Register[Tracker]) -> None:
    """Add trackers, which receive a run's events: ``factory(folder, *, options...)``."""


@hookspec
def register_recipes(register: RegisterRecipe) -> None:
    """Add recipes: ``register(path)`` for each YAML file."""


@hookspec
def register_studies(register: RegisterStudy) -> None:
    """Add studies: ``register(path)`` for each YAML file. docs/studies.md describes the format."""


@hookspec
def register_pretrained(register: RegisterPretrained) -> None:
    """Add pretrained generators: ``register(path)`` for each card ``NAME.json``, which users load as ``zoo:NAME``.

    ``ganzoo export RUN --out NAME.safetensors`` writes the weights and, next to them, the card.
    """
