"""From a recipe to networks and an objective."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo.api.game import AdversarialGame
from ganzoo.api.modality import Modality
from ganzoo.api.objective import AdversarialLoss, Objective, Regularizer
from ganzoo.api.priors import Prior
from ganzoo.api.spec import Spec
from ganzoo.errors import GanzooError, is_out_of_memory
from ganzoo.recipes.loading import Component, NetworkConfig, Recipe
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry

BYTES = 4
"""Of one weight: networks are built in single precision."""


class _TooLarge(BaseException):
    """Passes through whatever a plugin catches."""


def refuse_giant(what: str, build: Callable[[], object], memory: int | None = None) -> None:
    """Build a network on the meta device, where tensors have sizes and no memory, and count its weights.

    Counting stops at the limit, so that a thousand million small layers are refused as well as one giant. A network
    that cannot be built there is left to the real building, which says why.

    Args:
        what: The network, for the sentence.
        build: Builds it.
        memory: Bytes there are; this machine's memory where None.

    Raises:
        GanzooError: Its weights alone would not fit into memory.
    """
    limit = (memory or _memory()) // BYTES
    weights = 0

    def note(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal weights
        weights += 0 if tensor is None else tensor.numel()
        if weights > limit:
            raise _TooLarge

    hooks: list[Any] = [
        register_module_parameter_registration_hook(note),
        register_module_buffer_registration_hook(note),
    ]
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            build()
    except _TooLarge:
        raise GanzooError(
            f"The {what} would have more than {limit:,} weights, which is all that this machine's memory of "
            f"{limit * BYTES / 2**30:,.1f} GiB holds.",
            "Lower its sizes.",
        ) from None
    except Exception:  # noqa: S110 (its real building follows, and fails with a sentence)
        pass
    finally:
        for hook in hooks:
            hook.remove()


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**40  # not told here: what no machine of today has


def channels_last(networks: nn.Module, probe: Callable[[], None]) -> None:
    """Let convolutions keep a pixel's channels beside one another, which their kernels are faster with.

    Torch carries that on from weights to feature maps, except where vectors become maps or maps vectors: there it is
    seen to. The sizes of tensors stay, but a network that calls ``view`` on its maps no longer works: such networks are
    left as they were.

    Args:
        networks: Networks, whose weights are laid out anew, in place.
        probe: Runs them; raises GanzooError where they fail.
    """
    convert_conv2d_weight_memory_format(networks, torch.channels_last)
    try:
        probe()
    except GanzooError:
        convert_conv2d_weight_memory_format(networks, torch.contiguous_format)
        return
    for network in networks.children():
        if any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in network.modules()):
            _join_layouts(network)


def _join_layouts(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Unflatten):
            module.register_forward_hook(_maps_last)
        elif isinstance(module, nn.Flatten):
            module.register_forward_pre_hook(_gradients_last)


def _maps_last(module: nn.Module, inputs: tuple[Any, ...], maps: Tensor) -> Tensor:
    return _last(maps) if maps.dim() == 4 else maps


def _gradients_last(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """The gradient that comes back through a flattening lies otherwise than the maps: an activation that is given both
    takes ten times as long over it. A compiler chooses its own layouts.
    """
    maps = inputs[0]
    if maps.dim() == 4 and maps.requires_grad and not torch.compiler.is_compiling():
        maps.register_hook(_last)


def _last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


T = TypeVar("T")
NORMALISED_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.Embedding,
)


@dataclass(frozen=True)
class Assembly:
    """What a recipe describes, built: on the CPU, freshly initialised.

    Attributes:
        spec: The sizes everything was built for.
        objective: What is optimised.
        networks: All networks by role, those that the objective added included.
    """

    spec: Spec
    objective: Objective
    networks: nn.ModuleDict

    def parameter_counts(self) -> dict[str, int]:
        """Number of trainable numbers in each network, by role."""
        return {role: sum(p.numel() for p in net.parameters()) for role, net in self.networks.items()}


def assemble(
    recipe: Recipe,
    zoo: Zoo,
    modality: Modality,
    classes: int,
    columns: tuple[tuple[str, tuple[int, ...]], ...] = (),
) -> Assembly:
    """Build a recipe's networks and objective. The caller seeds torch's generator.

    Args:
        recipe: A validated recipe.
        zoo: Where its names are looked up.
        modality: What the dataset's samples are.
        classes: Number of classes of the dataset, 0 where it has no labels.
        columns: Names and shapes of the dataset's further columns.

    Raises:
        GanzooError: The parts do not fit one another, or a plugin failed to build one.
    """
    if recipe.conditional and classes == 0:
        raise GanzooError(
            f"Recipe '{recipe.name}' is conditional, but the dataset '{recipe.dataset.name}' has no classes.",
            "Use a dataset with labels, or set conditional: false.",
        )
    prior = _create(zoo.priors.get(recipe.prior.name), recipe.prior)
    if not isinstance(prior, Prior):
        raise GanzooError(f"The prior '{recipe.prior.name}' is a {type(prior).__name__}, not a ganzoo.Prior.")
    spec = Spec(modality.shape, prior, classes if recipe.conditional else 0, modality, columns)
    objective = _objective(recipe, zoo)
    networks = nn.ModuleDict({role: _network(role, recipe, objective, zoo, spec) for role in objective.roles})
    networks.update(_added(objective, recipe, spec, networks))
    assembly = Assembly(spec, objective, networks)
    _probe(assembly, recipe)
    channels_last(networks, lambda: _probe(assembly, recipe))
    return assembly


def _objective(recipe: Recipe, zoo: Zoo) -> Objective:
    loss = _create(zoo.losses.get(recipe.loss.name), recipe.loss)
    regularizers = [_regularizer(zoo, component) for component in recipe.regularizers]
    augmentation = None
    if recipe.augmentation is not None:
        augmentation = _create(zoo.augmentations.get(recipe.augmentation.name), recipe.augmentation)
    if isinstance(loss, AdversarialLoss):
        return AdversarialGame(loss, regularizers, augmentation, recipe.train.share_fakes)
    if regularizers or augmentation:
        raise GanzooError(
            f"The loss '{recipe.loss.name}' has phases of its own and takes no regularizers or augmentation.",
            "Remove them from the recipe, or choose a loss on logits.",
        )
    if recipe.train.share_fakes:
        raise GanzooError(
            f"The loss '{recipe.loss.name}' has phases of its own, which decide themselves what fakes they share.",
            "Remove train.share_fakes from the recipe, or choose a loss on logits.",
        )
    return loss


def _added(objective: Objective, recipe: Recipe, spec: Spec, networks: nn.ModuleDict) -> Mapping[str, nn.Module]:
    """The networks that the objective brings itself."""
    try:
        return objective.bind(spec, _as_mapping(networks))
    except GanzooError:
        raise
    except Exception as error:  # a plugin's own, whatever it raises
        raise GanzooError(
            f"The networks that the loss '{recipe.loss.name}' adds could not be built: {_one_line(error)}.",
            "Check its options with `ganzoo show`; where memory does not suffice, lower its sizes.",
        ) from error


def _regularizer(zoo: Zoo, component: Component) -> Regularizer:
    regularizer = _create(zoo.regularizers.get(component.name), component)
    regularizer.label = component.name
    return regularizer


def _network(role: str, recipe: Recipe, objective: Objective, zoo: Zoo, spec: Spec) -> nn.Module:
    config = recipe.networks[role]
    entry = zoo.registry(objective.roles[role]).get(config.name)
    refuse_giant(f"{role} '{config.name}'", lambda: entry.create(spec, **config.options))
    network = _create(entry, config, spec)
    if spec.classes and not _takes_label(network):
        raise GanzooError(
            f"The {role} '{config.name}' takes no labels, but the recipe '{recipe.name}' is conditional.",
            "Choose a conditional network, or set conditional: false.",
        )
    return _with_spectral_norm(network, role, config.name) if config.spectral_norm else network


def _create(entry: Entry[T], component: Component | NetworkConfig, *supplied: Any) -> T:
    try:
        return entry.create(*supplied, **component.initial_options())
    except GanzooError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise GanzooError(
                f"The {entry.kind} '{entry.name}' needs more memory than there is.", "Lower its sizes."
            ) from error
        raise GanzooError(
            f"The {entry.kind} '{entry.name}' of plugin '{entry.plugin}' could not be built: "
            f"{type(error).__name__}: {_one_line(error)}.",
            "Check its options with `ganzoo show`.",
        ) from error


def _takes_label(network: nn.Module) -> bool:
    parameters = inspect.signature(network.forward).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _with_spectral_norm(network: nn.Module, role: str, name: str) -> nn.Module:
    """Spectral normalisation of every weight (Miyato et al. 2018)."""
    for module in list(network.modules()):
        if isinstance(module, NORMALISED_LAYERS):
            if _is_zero(module.weight):
                raise GanzooError(
                    f"The {role} '{name}' starts some layers at zero, and spectral_norm would divide them by zero.",
                    "Set spectral_norm: false, or choose another network.",
                )
            spectral_norm(module)
    return network


def _is_zero(weight: torch.Tensor) -> bool:
    try:
        return not bool(weight.any())
    except RuntimeError:  # tensors without values, by which sizes and steps are tried out
        return False


@torch.no_grad()
def _probe(assembly: Assembly, recipe: Recipe) -> None:
    """Show two fakes to everyone, so that a wrong shape is a sentence now and not a traceback later."""
    spec, objective, networks = assembly.spec, assembly.objective, assembly.networks
    training = {module: module.training for module in networks.modules()}
    networks.eval()
    with torch.random.fork_rng(devices=[]):
        z = spec.prior.sample(2, torch.Generator(), torch.device("cpu"))
        label = torch.zeros(2, dtype=torch.int64)
        named = {role: config.name for role, config in recipe.networks.items()}
        shapes = dict(spec.columns)
        for name in objective.generates_from:
            if name not in shapes:
                raise GanzooError(
                    f"The loss '{recipe.loss.name}' generates from '{name}', and the dataset "
                    f"'{recipe.dataset.name}' has no such column.",
                    "Choose a dataset that has it.",
                )
        starts = {name: torch.zeros(2, *shapes[name]) for name in objective.generates_from}
        fake = _tried(named, "images", lambda: objective.generate_from(_as_mapping(networks), z, label, starts))
        _expect(named, "images", fake.shape, (2, *spec.image_shape))
        if isinstance(objective, AdversarialGame):
            judge = networks["discriminator"]
            logits = _tried(named, "logits", lambda: judge(fake, *objective.condition(label)))
            _expect(named, "logits", logits.shape, (2,))
    for module, mode in training.items():
        module.training = mode


def _tried(named: Mapping[str, str], what: str, attempt: Callable[[], torch.Tensor]) -> torch.Tensor:
    try:
        return attempt()
    except (RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise GanzooError(
            f"The networks {_listed(named)} fail to produce {what}: {_one_line(error)}.",
            "Their sizes must come from the spec they are given.",
        ) from error


def _expect(named: Mapping[str, str], what: str, found: torch.Size, wanted: tuple[int, ...]) -> None:
    if tuple(found) != wanted:
        raise GanzooError(
            f"The networks {_listed(named)} produce {what} of shape {tuple(found)} where {wanted} is needed.",
            "Their sizes must come from the spec they are given.",
        )


def _as_mapping(networks: nn.ModuleDict) -> dict[str, nn.Module]:
    return dict(networks.items())


def _listed(named: Mapping[str, str]) -> str:
    return ", ".join(f"{role} '{name}'" for role, name in named.items())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
