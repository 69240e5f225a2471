"""One trainer for every GAN: it takes turns as the objective says, and knows none by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganzoo.api.dataset import ImageDataset
from ganzoo.api.objective import Batch, Losses, Networks, Objective, Phase
from ganzoo.build import Assembly, assemble
from ganzoo.data.sampler import build_sampler
from ganzoo.errors import GanzooError
from ganzoo.recipes.loading import Recipe
from ganzoo.recipes.schema import initial
from ganzoo.registry.loading import Zoo
from ganzoo.training.batchnorm import share_batch_norm
from ganzoo.training.device import autocast, keep_freed_memory, resolve_precision
from ganzoo.training.distributed import ALONE, Team
from ganzoo.training.engine import Part, Turn, Work, choose_engine
from ganzoo.training.health import WATCH_EVERY, GradientWatch
from ganzoo.training.meters import Meters
from ganzoo.training.optim import Ema, build_optimizers
from ganzoo.training.phases import grouped, require_gradients, scheduled
from ganzoo.training.rng import derive_seed, stream
from ganzoo.training.schedules import Schedules
from ganzoo.training.shared import SharedState, random_states, restore_random, training_seed


class Trainer:
    """Everything between a recipe and its next step. Nothing in ``step`` waits for the device.

    Args:
        recipe: A validated recipe.
        zoo: Where its names are looked up.
        dataset: The training images.
        device: Overrides the recipe's ``train.device``.
        say: Called with sentences for the person who waits.
        team: The processes that train together, this one among them.
    """

    def __init__(
        self,
        recipe: Recipe,
        zoo: Zoo,
        *,
        dataset: ImageDataset,
        device: torch.device | None = None,
        say: Callable[[str], None] = lambda sentence: None,
        team: Team = ALONE,
    ) -> None:
        config = recipe.train
        self.recipe = recipe
        self.team = team
        self.device = device or team.device(config.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self._rows = team.share(config.batch_size)
        self.precision = resolve_precision(config.precision, self.device)
        self.latents = stream(config.seed, "latents", self.device)
        self.engine = choose_engine(config.engine, self.device, self.latents, say, team.size)
        torch.manual_seed(derive_seed(config.seed, "initialisation"))
        self.assembly: Assembly = assemble(recipe, zoo, dataset.modality, len(dataset.classes), dataset.column_shapes)
        self.objective: Objective = self.assembly.objective.to(self.device)
        self.networks = self.assembly.networks.to(self.device)
        if config.sync_batch_norm and team.size > 1:
            share_batch_norm(self.networks)
        self._shared = SharedState(team, (self.networks, self.objective))
        self.optimizers = build_optimizers(
            recipe, dict(self.networks.items()), self.device if config.engine == "cudagraph" else None
        )
        followed = {role: self.networks[role] for role in self.objective.samples_with}
        self.ema = Ema(followed, initial(config.ema)) if config.ema is not None else None
        self.sampler = build_sampler(
            dataset, config.batch_size, seed=derive_seed(config.seed, "data"), device=self.device, log=say
        )
        self.meters = Meters()
        self.steps = 0
        phases = scheduled(self.objective.phases(), recipe)
        self.gradients = GradientWatch(phases, dict(self.networks.items()))
        self._groups = grouped(phases)
        self._batches_per_step = max(phase.repeat for phase in phases)
        total = self.total_steps * self.images_per_step
        self.schedules = Schedules.build(recipe, self.objective, self.optimizers, self.ema, total, self.device)
        self._turns = self._prepared()
        torch.manual_seed(training_seed(config.seed, team))

    @property
    def images_per_step(self) -> int:
        """Real images shown in one step."""
        return self.recipe.train.batch_size * self._batches_per_step

    @property
    def images(self) -> int:
        """Real images shown so far."""
        return self.steps * self.images_per_step

    @property
    def total_steps(self) -> int:
        """Steps in the whole training."""
        return math.ceil(self.recipe.train.images / self.images_per_step)

    def step(self) -> None:
        """Every phase's turn once, then the moving average. The i-th repeat of each phase sees the i-th real batch."""
        self.schedules.apply(self.images)
        batches = [self._next_batch() for _ in range(self._batches_per_step)]
        for group, turn in zip(self._groups, self._turns, strict=True):
            if self.steps % group[0].every_steps == 0:
                for columns in batches[: group[0].repeat]:
                    turn(columns)
                # Outside the turn, which an engine may capture and replay.
                if self.steps % WATCH_EVERY == 0:
                    for phase in group:
                        self.gradients.note(phase)
        if self.ema is not None:
            self.ema.update(self.steps)
        self.steps += 1

    def flush(self) -> dict[str, float]:
        """The mean losses of all processes since the last flush; waits for the device.

        Raises:
            RunError: The objective keeps whole numbers that follow from what one process saw.
        """
        self._shared.refuse_apart()
        losses = self.meters.flush()
        return self._shared.mean(losses) if self.team.size > 1 else losses

    def sampling_networks(self, weights: str) -> Networks:
        """The networks to draw samples with: ``"ema"`` or ``"raw"``."""
        networks = dict(self.networks.items())
        if weights == "ema" and self.ema is not None:
            networks |= dict(self.ema.networks.items())
        return networks

    @property
    def kinds_of_weights(self) -> tuple[str, ...]:
        """The weights that are scored, the reported ones first."""
        return ("ema", "raw") if self.ema is not None else ("raw",)

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON state from which ``restore`` goes on to the same bits."""
        sampler = self.sampler.state_dict()
        tensors = {
            **_prefixed("networks", self.networks.state_dict()),
            **_prefixed("ema", self.ema.networks.state_dict() if self.ema else {}),
            **_prefixed("objective", self.objective.state_dict()),
            **random_states(self.team, self.device),
            "latents": self.latents.get_state(),
        }
        for role, optimizer in self.optimizers.items():
            tensors |= _prefixed(f"optimizers.{role}", optimizer.tensors())
        tensors |= _prefixed("sampler", {k: v for k, v in sampler.items() if isinstance(v, Tensor)})
        numbers = {k: v for k, v in sampler.items() if not isinstance(v, Tensor)}
        return tensors, {"images": self.images, "steps": self.steps, "sampler": numbers}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go back to what ``checkpoint`` gave.

        Raises:
            GanzooError: It does not fit this recipe's networks.
        """
        try:
            self.networks.load_state_dict(_below("networks", tensors))
            if self.ema is not None:
                self.ema.networks.load_state_dict(_below("ema", tensors))
            self.objective.load_state_dict(_below("objective", tensors))
            for role, optimizer in self.optimizers.items():
                optimizer.load(_below(f"optimizers.{role}", tensors))
            self.sampler.load_state_dict({**state["sampler"], **_below("sampler", tensors)})
            self.latents.set_state(tensors["latents"])
            self.steps = state["steps"]
            # What was captured reads and writes optimizer state that is no longer there.
            self._turns = self._prepared()
            restore_random(tensors, self.team, self.device, derive_seed(self.recipe.train.seed, str(self.steps)))
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise GanzooError(
                f"The checkpoint does not fit the recipe '{self.recipe.name}': {reason}.",
                "Resume with the versions of ganzoo and its plugins that made it.",
            ) from error

    def _prepared(self) -> list[Turn]:
        return [self.engine.prepare(self._work(group)) for group in self._groups]

    def _work(self, group: Sequence[Phase]) -> Work:
        parts = tuple(self._part(phase) for phase in group)
        trained = [parameter for part in parts for parameter in part.trained]
        networks = dict(self.networks.items())

        def fakes(batch: Batch) -> Tensor:
            require_gradients(trained, ())
            with autocast(self.precision, self.device):
                return self.objective.fakes(networks, batch)

        shared = fakes if group[0].shares_fakes else None
        return Work(parts, self._next_latents, shared, (self.networks, self.objective))

    def _part(self, phase: Phase) -> Part:
        trained = [p for role in phase.trains for p in self.networks[role].parameters()]
        members = {id(p) for p in trained}
        frozen = [p for p in self.networks.parameters() if id(p) not in members]
        optimizers = [self.optimizers[role].inner for role in phase.trains]
        networks = dict(self.networks.items())

        def begin() -> None:
            require_gradients(trained, frozen)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)

        def loss(batch: Batch) -> Losses:
            with autocast(self.precision, self.device):
                return phase.loss(networks, batch)

        def step() -> None:
            self._shared.average(trained)
            for optimizer in optimizers:
                optimizer.step()
            if phase.after is not None:
                with torch.no_grad():
                    phase.after(networks)

        return Part(phase.name, begin, loss, step, partial(self.meters.add, phase.name), trained)

    def _next_batch(self) -> dict[str, Tensor]:
        """This process's rows of the next batch, which is the same in all processes."""
        return {name: column[self._rows] for name, column in self.sampler.next().items()}

    def _next_latents(self) -> Tensor:
        n = self.recipe.train.batch_size
        return self.objective.spec.prior.sample(n, self.latents, self.device)[self._rows]


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
