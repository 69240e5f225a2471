"""Building a recipe's networks and objective."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo.api.adversarial import AdversarialGame, AdversarialLoss
from ganzoo.api.dataset import Modality
from ganzoo.api.metric import evaluating
from ganzoo.api.objective import Objective, Spec
from ganzoo.api.reading import machine_memory
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError, foreign_code, nearest
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import CHECK_OPTIONS, HANDED_OVER, Entry

BYTES_PER_WEIGHT = 4
MAX_TENSORS = 3_000  # weights and buffers of one network: enough for a thousand layers, which take seconds to build
SPECTRAL_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
)
SIZES_FROM_SPEC = "Take every size from the spec."


@dataclass(frozen=True)
class Assembly:
    """A recipe's networks and objective: on the CPU, freshly initialised."""

    spec: Spec  # the sizes everything was built for
    objective: Objective
    networks: nn.ModuleDict  # by role, including those that the objective added

    def parameter_counts(self) -> dict[str, int]:
        """The number of trainable parameters of each network, by role."""
        return {role: sum(p.numel() for p in net.parameters()) for role, net in self.networks.items()}


def assemble(
    recipe: Recipe,
    zoo: Zoo,
    modality: Modality,
    classes: int,  # of the dataset; 0 without labels
    columns: tuple[tuple[str, tuple[int, ...]], ...] = (),  # names and shapes of additional columns
) -> Assembly:
    """Build a recipe's networks and objective. The caller seeds torch's generator."""
    spec = build_spec(recipe, zoo, modality, classes, columns)
    objective = build_objective(recipe, zoo)
    networks = nn.ModuleDict(
        {role: _build_network(role, kind, recipe, zoo, spec) for role, kind in objective.roles.items()}
    )
    loss = f"The loss '{recipe.loss.name}'"
    with foreign_code(f"{loss} could not build its own networks", CHECK_OPTIONS, plugin=True), memory_guard(loss):
        networks.update(objective.bind(spec, dict(networks.items())))
    if not hasattr(objective, "spec"):
        raise GanzooError(f"{loss} has no spec after bind().", "Call super().bind(spec, networks) first in bind().")
    require_roles(f"{loss} samples with", objective.samples_with, networks)
    assembly = Assembly(spec, objective, networks)
    unusable = _probe(assembly, recipe)

    def probe() -> None:
        if not _probe(assembly, recipe) <= unusable:
            raise GanzooError("A discriminator or encoder fails.")

    use_channels_last(networks, probe)
    return assembly


def require_roles(what: str, roles: Iterable[str], networks: nn.ModuleDict) -> None:
    """Refuse a role without a network; ``what`` starts the sentence: "The phase 'x' trains"."""
    for role in roles:
        if role not in networks:
            raise GanzooError(f"{what} '{role}', but there is no such network.", nearest(role, networks))


def build_spec(
    recipe: Recipe, zoo: Zoo, modality: Modality, classes: int, columns: tuple[tuple[str, tuple[int, ...]], ...] = ()
) -> Spec:
    """The sizes that networks are built for; arguments as for ``assemble``."""
    if recipe.conditional and classes == 0:
        raise GanzooError(
            f"Recipe '{recipe.name}' is conditional, but the dataset '{recipe.dataset.name}' has no classes.",
            "Use a dataset with labels, or set conditional: false.",
        )
    prior = zoo.priors.get(recipe.prior.name).create(**recipe.prior.initial_options())
    object.__setattr__(prior, "name", recipe.prior.name)  # some are frozen
    return Spec(modality.shape, prior, classes if recipe.conditional else 0, modality, columns, classes)


def build_objective(recipe: Recipe, zoo: Zoo) -> Objective:
    """The recipe's own objective, or an ``AdversarialGame`` of its loss, regularizers and augmentation."""
    losses = zoo.losses.get(recipe.loss.name)
    loss = losses.create(**recipe.loss.initial_options())
    if not isinstance(loss, AdversarialLoss):
        if recipe.regularizers or recipe.augmentation or recipe.train.share_fakes:
            raise GanzooError(
                f"The loss '{recipe.loss.name}' has its own phases and takes no regularizers, no augmentation and no "
                "train.share_fakes.",
                "Remove them from the recipe, or choose a loss on logits.",
            )
        return loss
    for player in (loss.discriminator, loss.generator):
        _require_parameters(losses, player, "real", "fake")
    regularizers = []
    for component in recipe.regularizers:
        entry = zoo.regularizers.get(component.name)
        regularizer = entry.create(**component.initial_options())
        _require_parameters(entry, regularizer.penalty, "context")
        regularizer.label = component.name
        regularizers.append(regularizer)
    chosen = recipe.augmentation
    augmentation = zoo.augmentations.get(chosen.name).create(**chosen.initial_options()) if chosen else None
    turns = {name: (one.repeat or 1) / (one.every_steps or 1) for name, one in recipe.phases.items()}
    return AdversarialGame(loss, regularizers, augmentation, recipe.train.share_fakes, turns)


def require_call(method: Callable[..., Any], arguments: Sequence[str], sentence: str, remedy: str) -> None:
    """Refuse a method that cannot be called as ganzoo calls it, before a step fails in ganzoo's own code."""
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError as error:
        raise GanzooError(f"{sentence}: {error}.", remedy) from error


def _require_parameters(entry: Entry[Any], method: Callable[..., Any], *arguments: str) -> None:
    sentence = (
        f"The {entry.kind} '{entry.name}' of plugin '{entry.plugin}' ({entry.distribution}) cannot be called as "
        f"{method.__name__}({', '.join(arguments)})"
    )
    remedy = "" if entry.distribution == HANDED_OVER else f"`ganzoo check {entry.plugin}` tells what to change."
    require_call(method, arguments, sentence, remedy)


def _build_network(role: str, kind: str, recipe: Recipe, zoo: Zoo, spec: Spec) -> nn.Module:
    config = recipe.networks[role]
    with memory_guard(f"The {role} '{config.name}'"):
        network: nn.Module = zoo.registry(kind).get(config.name).create(spec, **config.initial_options())
    if spec.classes and not takes_label(network):
        raise GanzooError(
            f"The {role} '{config.name}' takes no labels, but the recipe '{recipe.name}' is conditional.",
            "Choose a conditional network, or set conditional: false.",
        )
    if config.spectral_norm:
        _add_spectral_norm(network, role, config.name)
    return network


@contextmanager
def memory_guard(name: str, memory: int | None = None) -> Iterator[None]:
    """Reject a network whose weights would not fit into memory, or are too many; ``name`` starts the sentence."""
    # Counted when modules register them, before values are written: a million small layers fail like a huge one.
    memory = memory or machine_memory() or 2**40  # if unknown on this system, more than today's machines have
    limit = memory // BYTES_PER_WEIGHT
    weights = tensors = 0

    def count(module: nn.Module, attribute: str, tensor: Tensor | None) -> None:
        nonlocal weights, tensors
        weights += 0 if tensor is None else tensor.numel()
        tensors += 1
        if weights > limit or tensors > MAX_TENSORS:
            fit = f"{limit:,} weights, the most that fit into this machine's {memory / 2**30:,.1f} GiB of memory"
            most = fit if weights > limit else f"{MAX_TENSORS:,} tensors of weights, a thousand layers"
            raise GanzooError(f"{name} would have more than {most}.", "Reduce its sizes.")

    with register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count):
        yield


def takes_label(network: nn.Module) -> bool:
    """Whether a network's forward takes a label, as its second argument by position."""
    parameters = _positional(network)
    return len(parameters) >= 2 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def needs_label(network: nn.Module) -> bool:
    """Whether a network's forward has no default for the label."""
    return any(p.kind is not p.VAR_POSITIONAL and p.default is p.empty for p in _positional(network)[1:2])


def _positional(network: nn.Module) -> list[inspect.Parameter]:
    parameters = inspect.signature(network.forward).parameters.values()
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]


def _add_spectral_norm(network: nn.Module, role: str, name: str) -> None:
    """Apply spectral normalisation to every weight (Miyato et al. 2018)."""
    for module in [one for one in network.modules() if isinstance(one, SPECTRAL_LAYERS)]:
        try:
            is_zero = not bool(module.weight.any())
        except RuntimeError:  # a fake tensor has no values
            is_zero = False
        if is_zero:
            raise GanzooError(
                f"The {role} '{name}' initialises some layers to zero, and spectral_norm would divide by zero.",
                "Set spectral_norm: false, or choose another network.",
            )
        with foreign_code(  # torch's older norms compute the weight in each pass, so it is not a parameter
            f"The {role} '{name}' cannot have a spectral_norm",
            "Set spectral_norm: false, or use torch.nn.utils.parametrizations in the network.",
        ):
            spectral_norm(module)


@torch.no_grad()
def _probe(assembly: Assembly, recipe: Recipe) -> set[str]:
    """Pass two fakes through the networks, to find wrong shapes early; returns roles that do not accept two images."""
    spec, objective, networks = assembly.spec, assembly.objective, dict(assembly.networks.items())
    named = {f"{role} '{config.name}'": networks[role] for role, config in recipe.networks.items()}
    shapes = dict(spec.columns)
    for column in objective.generates_from:
        if column not in shapes:
            raise GanzooError(
                f"The loss '{recipe.loss.name}' generates from the column '{column}', which the dataset "
                f"'{recipe.dataset.name}' does not have.",
                "Choose a dataset with this column.",
            )
    needing = [] if spec.classes else [name for name, network in named.items() if needs_label(network)]
    networks_of = f"The networks {', '.join(named)}"
    unusable = set()
    with evaluating(networks), torch.random.fork_rng(devices=[]):
        z = _expect(
            f"The prior '{spec.prior.name}'",
            "codes",
            (2, spec.latent),
            lambda: spec.prior.sample(2, torch.Generator(), torch.device("cpu")),
            f"Implement sample(n, generator, device), which returns float32 codes (n, {spec.latent}).",
        )
        label = torch.zeros(2, dtype=torch.int64)
        columns = {column: torch.zeros(2, *shapes[column]) for column in objective.generates_from}
        try:
            fake = _expect(
                networks_of,
                "images",
                (2, *spec.shape),
                lambda: objective.generate_from(networks, z, label, columns),
                SIZES_FROM_SPEC,
            )
            if isinstance(objective, AdversarialGame):
                judge = partial(networks["discriminator"], fake, *objective.condition(label))
                _expect(networks_of, "logits", (2,), judge, SIZES_FROM_SPEC)
        except GanzooError as error:
            if not needing or not isinstance(error.__cause__, TypeError):
                raise
            raise GanzooError(
                f"The {needing[0]} needs labels, but the recipe '{recipe.name}' is unconditional.",
                "Set conditional: true, or choose another network.",
            ) from error
        if isinstance(objective, AdversarialGame) and objective.augmentation is not None and recipe.augmentation:
            _expect(
                f"The augmentation '{recipe.augmentation.name}'",
                "images",
                tuple(fake.shape),
                partial(
                    functional_call,
                    objective.augmentation,
                    {name: one.clone() for name, one in objective.augmentation.named_buffers()},  # it may count calls
                    fake,
                ),
                "Return as many images of the same size.",
            )
        for role, kind in objective.roles.items():
            if kind in ("discriminator", "encoder"):
                try:
                    networks[role](torch.zeros(2, *spec.shape), *objective.condition(label))
                except Exception:
                    unusable.add(role)
    return unusable


def _expect(who: str, what: str, shape: tuple[int, ...], produce: Callable[[], Tensor], remedy: str) -> Tensor:
    """What ``produce`` returns: a floating-point tensor of this shape."""
    with foreign_code(f"{who} failed to produce {what}", remedy):
        output = produce()
    found = f"type {type(output).__name__}, not a tensor"
    if isinstance(output, Tensor):
        if output.shape == shape and output.is_floating_point():
            return output
        kind = str(output.dtype).removeprefix("torch.")
        found = f"shape {tuple(output.shape)} and type {kind}, not {shape}"
    raise GanzooError(f"{who} produced {what} of {found}.", remedy)


def use_channels_last(networks: nn.Module, probe: Callable[[], None]) -> None:
    """Store convolution weights in channels_last, for which kernels are faster, unless ``probe`` then fails."""
    convolutional = [network for network in networks.children() if _convolutions(network)]
    if not convolutional:
        return
    _store(_convolutions(networks), torch.channels_last)
    try:
        probe()
    except GanzooError:  # a network calls view() on its maps
        _store(_convolutions(networks), torch.contiguous_format)
        return
    # torch propagates the format from weights to feature maps, but not through these modules.
    for module in [module for network in convolutional for module in network.modules()]:
        if isinstance(module, nn.Unflatten):
            module.register_forward_hook(lambda module, inputs, maps: _channels_last(maps))
        elif isinstance(module, nn.Flatten):
            module.register_forward_pre_hook(_gradient_channels_last)


def _convolutions(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]


def _store(convolutions: Iterable[nn.Module], memory_format: torch.memory_format) -> None:
    """Convert the weights that convolutions learn: the originals behind a parametrization, if there is one."""
    for convolution in convolutions:
        for weight in convolution.parameters():
            if weight.dim() == 4:
                weight.data = weight.detach().clone(memory_format=memory_format)


def _gradient_channels_last(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Convert nn.Flatten's contiguous gradient: an activation is ten times slower if maps and gradient differ."""
    maps = inputs[0]
    if maps.requires_grad and not torch.compiler.is_compiling():  # the compiler chooses its own formats
        maps.register_hook(_channels_last)


def _channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last) if maps.dim() == 4 else maps
