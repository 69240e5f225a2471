"""The Python API: open, train and sample runs from a script or a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ganzoo.api.metric import allowing_code
from ganzoo.config.checking import headline
from ganzoo.config.loading import FOR_PICTURES, instead_of, load_recipe, parse_recipe
from ganzoo.config.schema import Recipe
from ganzoo.data import IN_MEMORY, as_dataset
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.registry.registry import HEADLINE
from ganzoo.registry.session import in_recipe
from ganzoo.registry.strict import quoted
from ganzoo.reproducibility import default_modes
from ganzoo.runs.folder import RunFolder, reading
from ganzoo.runs.generator import TrainedGenerator, load
from ganzoo.runs.loop import Callbacks
from ganzoo.runs.start import changed_settings, resume, start

if TYPE_CHECKING:
    from ganzoo.data import Data

OF_MEMORY = f"dataset.name={IN_MEMORY}"  # the recipe override for a dataset given in Python


@dataclass(frozen=True)
class Run:
    """A finished training run, or an opened run folder.

    If another process trains in the folder, only ``scores`` follow it: open the folder again to see its progress.

    Attributes:
        folder: The run folder.
    """

    folder: RunFolder

    @classmethod
    def open(cls, path: str | Path, *, allow_code: bool = False) -> Run:
        """The run in a folder.

        Args:
            path: The folder.
            allow_code: Whether to run the run's own code.py, if it was trained with a class that is in no package.

        Raises:
            GanzooError: It is not a run folder.
        """
        with allowing_code(allow_code):
            return cls(RunFolder.open(path))

    @property
    def path(self) -> Path:
        """The run folder's path."""
        return self.folder.path

    @property
    def info(self) -> Mapping[str, Any]:
        """The content of run.json when the run ended or was opened: recipe, status, images, seconds, ..."""
        return self.folder.info

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Every score, in order: ``{"metric", "value", "floor", "weights", "images", "seconds", "protocol"}``.

        ``floor`` is real vs real: the score of real images instead of samples. ``sd`` is its standard deviation, and
        ``interval`` is a 95% confidence interval of the score; both are present only if they are known.
        """
        return self.folder.scores()

    @cached_property
    def generator(self) -> TrainedGenerator:
        """The trained generator, from what was the newest checkpoint when it was first used."""
        return load(self.folder)

    def sample(self, n: int, seed: int = 0, label: int | str | None = None) -> Tensor:
        """Draw n samples: uint8 (n, c, h, w) for images. See ``TrainedGenerator.sample``."""
        return self.generator.sample(n, seed, label)


def recipes(pattern: str = "*") -> list[str]:
    """The names of all registered recipes that match a pattern, such as ``"wgan*"``."""
    return [entry.name for entry in load_zoo().recipes if fnmatchcase(entry.name, pattern)]


def recipe(source: str | Path, **changes: Any) -> Recipe:
    """A checked recipe, with every option filled in.

    Args:
        source: A registered name, or the path of a YAML file.
        changes: What to change, as nested mappings: ``train={"images": 1000}, loss="hinge"``.

    Raises:
        GanzooError: The recipe is invalid, or a change is nothing that a recipe can hold; the message names the key and
            what was probably meant.
    """
    return load_recipe(source, load_zoo(), _overrides(changes))


def _overrides(changes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``a.b=c`` for each value of nested mappings; one with a ``name`` is a component, and replaces the old one."""
    overrides: list[str] = []
    for key, value in changes.items():
        if isinstance(value, Mapping) and "name" not in value:
            overrides += _overrides(value, f"{prefix}{key}.")
        else:
            try:
                overrides.append(f"{prefix}{key}={quoted(value)}")
            except TypeError as error:
                raise GanzooError(
                    f"No recipe can hold {prefix}{key}: {error}.",
                    "Write numbers, booleans, text, None, or lists or mappings of them; name a component as text, or "
                    "hand it to ganzoo.train.",
                ) from error
    return overrides


@default_modes()
def train(
    recipe: str | Path | Recipe = FOR_PICTURES,
    *,
    generator: Any = None,
    discriminator: Any = None,
    encoder: Any = None,
    loss: Any = None,
    regularizers: Sequence[Any] | None = None,
    augmentation: Any = None,
    prior: Any = None,
    dataset: str | Path | Data | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    anyway: bool = False,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
    on_samples: Callable[[int, Tensor], None] | None = None,
    on_evaluation: Callable[[int, Mapping[str, float]], None] | None = None,
    log: Callable[[str], None] = lambda sentence: None,
    resume_from: str | Path | None = None,
    allow_code: bool = False,
    allow_paths: bool = False,
    allow_trackers: bool = False,
) -> Run:
    """Train a recipe in this process, score it, and write a run folder.

    torch's random states, of the CPU and of the training device, are the same afterwards as before.

    Args:
        recipe: A registered name, a YAML file, or what ``ganzoo.recipe`` returned; by default, the one that was made
            for any pictures, which ``dataset`` then gives.
        generator: To train this instead of the recipe's own: a class, a function that makes one, an instance, of which
            the run gets a copy, or a registered name; a mapping with this as its ``name`` also holds options. It is
            registered for this session (``MyNet`` as ``my-net``), and its source is stored in the run as code.py.
        discriminator: As ``generator``.
        encoder: As ``generator``.
        loss: As ``generator``; a loss on logits or an objective.
        regularizers: A list of such, instead of all of the recipe's own.
        augmentation: As ``generator``.
        prior: As ``generator``.
        dataset: What to train on instead of the recipe's own dataset: a registered name; the path of a folder or zip
            archive of pictures, as a ``Path`` or with a ``/`` in it (``"./photos"``); images, uint8 (n, c, h, w) with c
            1 or 3, or a pair of images and labels, int64 (n,); a ``ganzoo.Dataset``; or any torch ``Dataset`` whose
            items are images (tensor, array or PIL image) or pairs of image and label. Metrics whose extractor does not
            accept its images, or was fitted to others, are left out, with a message to ``log``. If your own images are
            MNIST digits, say so: ``ganzoo.Dataset("mine", "train", images, domain="mnist")``.
        out: The run folder to create, new or empty; by default the first free one below ``runs/``.
        data_dir: Where dataset files are.
        anyway: Also score with extractors that were fitted to another dataset; this marks the scores permanently.
        on_step: Called after each step with the number of images shown, and the mean losses by name since the last log
            point: at each log point (``train.log_every`` images), at each evaluation and after the last step; ``{}`` at
            other steps.
        on_samples: Called before the first step, about every minute (later in longer runs, more rarely) and at each
            evaluation with the number of images shown, and samples as their modality stores them, uint8 (n, c, h, w)
            for images; those that the run folder's pictures show.
        on_evaluation: Called after each evaluation with the number of images shown, and the scores by metric; of the
            averaged weights, if there are any.
        log: Called with progress messages.
        resume_from: A run folder to resume. ``recipe`` must be the recipe that it was started with, or its name; with
            more ``train.images``, a finished run is trained further. Leave out ``out``, ``anyway`` and a dataset's
            name.
        allow_code: Whether code that is in no package may run: a resumed run's code.py, or what an extractor downloads,
            as DINOv2 does.
        allow_paths: Whether a resumed run that was not started here may read any path it names.
        allow_trackers: Whether the recipe's trackers may talk to a network, as wandb does.

    Returns:
        The finished run.

    Raises:
        GanzooError: Something is wrong with the recipe, the dataset or the folder.
        Diverged: A loss, a gradient, a weight or a sample is no longer finite; what was saved before is kept.
        Interrupted: Ctrl-C; the run is saved, unless it was pressed twice.
    """
    where = None if data_dir is None else Path(data_dir)
    callbacks = Callbacks(
        on_step=on_step or Callbacks.on_step,
        on_samples=on_samples or Callbacks.on_samples,
        on_evaluation=on_evaluation or Callbacks.on_evaluation,
        log=log,
    )
    with allowing_code(allow_code), reading(where, anywhere=allow_paths):
        zoo = load_zoo()
        instead = {
            "networks.generator": ("generator", generator),
            "networks.discriminator": ("discriminator", discriminator),
            "networks.encoder": ("encoder", encoder),
            "loss": ("loss", loss),
            "regularizers": ("regularizer", regularizers),
            "augmentation": ("augmentation", augmentation),
            "prior": ("prior", prior),
        }
        overrides = [
            f"{key}={quoted(in_recipe(kind, part, zoo))}" for key, (kind, part) in instead.items() if part is not None
        ]
        in_memory = None
        dataset = str(dataset.absolute()) if isinstance(dataset, Path) else dataset
        if dataset is not None and not isinstance(dataset, str):
            in_memory = replace(as_dataset(dataset), name=IN_MEMORY, split="train")
        if resume_from is not None:
            if out is not None or anyway or isinstance(dataset, str):
                raise GanzooError(
                    "A resumed run keeps its folder, its dataset and how it is scored.",
                    "Leave out `out`, `anyway` and a dataset's name, or start a new run without `resume_from`.",
                )
            begun = RunFolder.open(resume_from)
            overrides += [] if in_memory is None else [OF_MEMORY]
            return Run(
                resume(
                    begun,
                    zoo,
                    overrides=_changes_on_resume(begun, recipe, zoo, overrides),
                    dataset=in_memory,
                    callbacks=callbacks,
                    allow_trackers=allow_trackers,
                )
            )
        resolved = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, zoo)
        overrides += ["evaluate.anyway=true"] if anyway else []
        if isinstance(dataset, str):
            overrides.append(instead_of(resolved.dataset.name, dataset, zoo))
            # Headline metrics that were expanded for the recipe's own dataset become the other dataset's.
            named = resolved.evaluate.metrics
            of_own = set(headline(resolved.dataset.name, zoo))
            if dataset != resolved.dataset.name and of_own and of_own <= set(named):
                names = list(dict.fromkeys(HEADLINE if name in of_own else name for name in named))
                overrides.append(f"evaluate.metrics={quoted(names)}")
        elif in_memory is not None:
            overrides.append(OF_MEMORY)
        if overrides:
            resolved = parse_recipe(resolved.to_yaml(), resolved.name, zoo, overrides)
        return Run(
            start(
                resolved,
                zoo,
                None if out is None else Path(out),
                data_dir=where,
                dataset=in_memory,
                callbacks=callbacks,
                allow_trackers=allow_trackers,
            )
        )


def _changes_on_resume(run: RunFolder, recipe: str | Path | Recipe, zoo: Zoo, overrides: Sequence[str]) -> list[str]:
    """What a ``Recipe`` or a class that is handed over changes in the run that is resumed."""
    name = recipe.name if isinstance(recipe, Recipe) else Path(recipe).stem
    if name != run.info["recipe"]:
        raise GanzooError(
            f"The run {run.path} belongs to the recipe '{run.info['recipe']}', not '{name}'.",
            "Pass its own recipe, or start a new run without `resume_from`.",
        )
    if not isinstance(recipe, Recipe) and not overrides:
        return []
    asked = recipe if isinstance(recipe, Recipe) else run.recipe(zoo)
    requested = parse_recipe(asked.to_yaml(), asked.name, run.zoo(zoo), overrides)
    changes = changed_settings(run, requested, zoo)
    # `anyway` is an argument of `train`, so a recipe need not repeat it.
    return [f"{key}={quoted(value)}" for key, value in changes.items() if key != "evaluate.anyway"]
