"""Components from a script or a notebook, without a package: ``ganzoo.register_loss("mine", Mine)``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any, cast

import torch

from ganzoo.api import hookspecs
from ganzoo.api.hookspecs import Register, RegisterRecipe, RegisterStudy
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo, hand_over, load_zoo
from ganzoo.registry.registry import BASE_CLASSES, KINDS, Options
from ganzoo.reproducibility import tensors_digest


def _registrar(kind: str) -> Register[Any]:
    def register(*arguments: Any, **keywords: Any) -> None:
        hand_over(load_zoo(), kind, *arguments, **keywords)

    hook = getattr(hookspecs, f"register_{KINDS[kind]}")
    register.__name__, register.__doc__ = f"register_{kind}", f"For this session, as a plugin's hook: {hook.__doc__}"
    return register


# Each takes what the `register` callback of its hook takes, and replaces what it registered under the same name before.
register_generator = _registrar("generator")
register_discriminator = _registrar("discriminator")
register_encoder = _registrar("encoder")
register_loss = _registrar("loss")
register_regularizer = _registrar("regularizer")
register_augmentation = _registrar("augmentation")
register_dataset = _registrar("dataset")
register_prior = _registrar("prior")
register_extractor = _registrar("extractor")
register_metric = _registrar("metric")
register_tracker = _registrar("tracker")
register_recipe = cast("RegisterRecipe", _registrar("recipe"))
register_study = cast("RegisterStudy", _registrar("study"))


def in_recipe(kind: str, value: Any, zoo: Zoo) -> Any:
    """What a recipe holds for a component, as a mapping: a class, a function or an instance is registered under a name
    made from its own; a name may stand alone, or be any of these in a mapping with options; a list is one of such.

    Raises:
        GanzooError: Something is wrong with it, or it has no name.
    """
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping):
        return {**value, **in_recipe(kind, value.get("name", ""), zoo)}
    if isinstance(value, list | tuple):
        return [in_recipe(kind, one, zoo) for one in value]
    factory, options = _of_instance(value) if isinstance(value, BASE_CLASSES[kind]) else (value, {})
    name = getattr(value, "__name__", type(value).__name__ if factory is not value else "")
    if not name.isidentifier():
        raise GanzooError(
            f"The {kind} {value!r:.100} is neither a class or function with a name nor an instance of "
            f"{' or '.join(base.__name__ for base in BASE_CLASSES[kind])}.",
            f'Register what makes one: ganzoo.register_{kind}("my-{kind}", ...).',
        )
    hand_over(zoo, kind, hyphenated(name), factory)
    return {"name": hyphenated(name), **options}


def hyphenated(name: str) -> str:
    """The name under which a class or function is registered: ``my-gan-loss`` for ``MyGANLoss``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", "-", name).strip("-").lower()


def _of_instance(instance: Any) -> tuple[Any, dict[str, Any]]:
    """What makes each run its own: the class, with options, if that makes an equal instance; otherwise a copy."""
    with suppress(Exception), torch.random.fork_rng(devices=[]):  # whatever fails, a copy is right
        known = Options("", type(instance))
        options = known.check({name: getattr(instance, name) for name in known.types})
        pair = [instance, type(instance)(**options)]
        plain = [
            {
                f"{path} {key}": value
                for path, part in one.named_modules()
                for key, value in vars(part).items()
                if key not in ("_parameters", "_buffers", "_modules")
            }
            for one in pair
        ]
        tensors = [tensors_digest([*one.named_parameters(), *one.named_buffers()]) for one in pair]
        if plain[0] == plain[1] and tensors[0] == tensors[1]:
            return type(instance), options
    return lambda *supplied: deepcopy(instance), {}
