"""One trainer for every GAN: it builds what a step needs, takes steps, and saves and restores all state they change."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.api.adversarial import Augmentation, Regularizer
from ganzoo.api.dataset import Dataset
from ganzoo.api.objective import Networks, Objective
from ganzoo.build import assemble
from ganzoo.config.schema import Recipe, initial
from ganzoo.data import Sampler
from ganzoo.errors import GanzooError, is_out_of_memory
from ganzoo.registry.loading import Zoo
from ganzoo.reproducibility import below, derive_seed, full_precision, restore_stream, seeded, stream
from ganzoo.training.device import keep_freed_memory, numerics, resolve_precision
from ganzoo.training.distributed import (
    ALONE,
    Processes,
    Replicas,
    SyncedBatchNorm,
    random_states,
    restore_random,
    sync_batch_norm,
    training_seed,
)
from ganzoo.training.engines import CAPTURING, CaptureEngine, CompileEngine, CudaGraphs, Engine
from ganzoo.training.optim import Ema, RoleOptimizer, build_optimizers, schedule_setters
from ganzoo.training.step import (
    Meters,
    PhaseStep,
    StepGroup,
    TrainingState,
    adversarial_step,
    batches_per_step,
    frozen_parameters,
    phase_groups,
)

MEASURED_SAMPLES, MEASURED_BATCHES = 128, 16  # samples in a batch, and batches, for the averages' statistics


class Trainer:
    """Trains a recipe, step by step."""

    def __init__(
        self,
        recipe: Recipe,
        zoo: Zoo,
        *,
        dataset: Dataset,
        device: torch.device | None = None,  # default: train.device
        log: Callable[[str], None] = lambda sentence: None,
        processes: Processes = ALONE,
    ) -> None:
        config = recipe.train
        self.recipe = recipe
        self.processes = processes
        self._log = log
        self.device = device or processes.device(config)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.precision = resolve_precision(config.precision, self.device)
        self.latents = stream(config.seed, "latents", self.device)
        engine = build_engine(config.engine, self.device, self.latents, log, processes.size)

        torch.manual_seed(derive_seed(config.seed, "initialisation"))
        self.assembly = assemble(recipe, zoo, dataset.modality, len(dataset.classes), dataset.column_shapes)
        self.objective = self.assembly.objective.to(self.device)
        self.networks = self.assembly.networks.to(self.device)
        if config.sync_batch_norm and processes.size > 1:
            sync_batch_norm(self.networks)
        for module in self.objective.modules():
            if isinstance(module, Augmentation | Objective | Regularizer):
                module.processes = processes.size
        rows = processes.rows(config.batch_size)
        if config.batch_size == processes.size and any(isinstance(m, nn.BatchNorm1d) for m in self.networks.modules()):
            raise GanzooError(
                "Batch normalisation needs at least two images, but a process gets only one of each batch.",
                f"Set train.batch_size to at least {2 * processes.size}.",
            )
        self._replicas = Replicas(processes, (self.networks, self.objective))
        self.ema: Ema | None = None
        if config.ema is not None:
            averaged = {role: self.networks[role] for role in self.objective.samples_with}
            self.ema = Ema(averaged, initial(config.ema), ramp=config.init_from is None)

        self.sampler = Sampler(
            dataset, config.batch_size, seed=derive_seed(config.seed, "data"), device=self.device, rows=rows, log=log
        )
        self.steps = 0
        self._measured_after: int | None = None
        self.meters, self.gradients = Meters(), Meters()  # losses, and gradient norms, each since its last flush
        self._groups = phase_groups(self.objective.phases(), recipe, self.networks)
        self._phases = [phase for group in self._groups for phase in group]
        self._frozen = frozen_parameters(self.networks, self._phases, recipe)
        self.optimizers: dict[str, RoleOptimizer] = {}
        self._use(engine, config.engine)
        torch.manual_seed(training_seed(config.seed, processes))

    def use_engine(self, name: str, log: Callable[[str], None] | None = None) -> None:
        """Take the next steps with the engine of this name in ``train.engine``, from the current state of training."""
        self._use(build_engine(name, self.device, self.latents, log or self._log, self.processes.size), name)
        gc.collect()  # graphs that are no longer used hold memory
        torch.cuda.empty_cache()

    def _use(self, engine: Engine, name: str) -> None:
        """Build optimizers and schedules for an engine, keeping the current state of training."""
        optimizers = build_optimizers(
            self.recipe, dict(self.networks.items()), self._phases, self.device if name in CAPTURING else None
        )
        for role, before in self.optimizers.items():
            optimizers[role].load(before.tensors())
        self.engine, self.optimizers = engine, optimizers
        self.schedules = schedule_setters(self.recipe, self.objective, optimizers, self.ema, self.device)
        self._prepare()

    def _prepare(self) -> None:
        """Build what a step works on, and let the engine make it faster."""
        context = partial(torch.autocast, self.device.type, torch.bfloat16, self.precision == "bf16")
        self.step_groups = []
        for group in self._groups:
            steps = [
                PhaseStep(phase, self.networks, [self.optimizers[role] for role in phase.trains], context, self._frozen)
                for phase in group
            ]
            self.step_groups.append(StepGroup(steps, self.objective, self._draw_latents))
        self.engine.prepare(self.step_groups)
        self._step_state = TrainingState(
            self.sampler,
            self.step_groups,
            self._replicas,
            self.meters,
            self.gradients,
            self.ema,
            batches_per_step(self._phases),
            self.total_steps,
        )

    def step(self) -> None:
        """Take one step: see ``training/step.py``. Nothing in it waits for the device."""
        with numerics(self.recipe.train, self.precision, self.device):
            for schedule, set_value in self.schedules:
                set_value(schedule.at(self.images, self.total_steps * self.images_per_step))
            SyncedBatchNorm.exchanging = self.processes.size > 1
            try:
                adversarial_step(self._step_state, self.steps)
            finally:
                SyncedBatchNorm.exchanging = False
        self.steps += 1

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Undo the steps taken in the block: training continues bit for bit as if there had been none."""
        tensors, state = self._state()
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        rollbacks = [self.meters.snapshot(), self.gradients.snapshot()]
        try:
            yield
        finally:
            self.restore(tensors, state)
            for rollback in rollbacks:
                rollback()

    def _draw_latents(self) -> Tensor:
        """This process's rows of the next latent codes; every process draws the codes of the whole batch."""
        n = self.recipe.train.batch_size
        return self.objective.spec.prior.sample(n, self.latents, self.device)[self.processes.rows(n)]

    @property
    def images_per_step(self) -> int:
        """Real images shown in one step."""
        return self.recipe.train.batch_size * batches_per_step(self._phases)

    @property
    def images(self) -> int:
        """Real images shown so far."""
        return self.steps * self.images_per_step

    @property
    def total_steps(self) -> int:
        """Steps in the complete run."""
        return math.ceil(self.recipe.train.images / self.images_per_step)

    def flush(self) -> dict[str, float]:
        """The mean losses of all processes since the last flush; waits for the device."""
        means = self.meters.flush()
        values = torch.tensor(list(means.values()), dtype=torch.float64)
        self.processes.all_reduce_mean([values])
        return dict(zip(means, values.tolist(), strict=True))

    @property
    def kinds_of_weights(self) -> tuple[str, ...]:
        """The weights that are scored, the reported ones first."""
        return ("ema", "raw") if self.ema is not None else ("raw",)

    def sampling_networks(self, weights: str) -> Networks:
        """The networks to draw samples with: ``"ema"`` or ``"raw"``."""
        networks = dict(self.networks.items())
        if weights == "ema" and self.ema is not None:
            self._measure_average()
            networks |= dict(self.ema.networks.items())
        return networks

    def _measure_average(self) -> None:
        """Measure the averaged weights' own statistics, unless that was done since the last step."""
        if self.ema is None or self._measured_after == self.steps:
            return
        self._measured_after = self.steps
        objective, spec = self.objective, self.objective.spec
        averaged = dict(self.ema.networks.items())
        networks = dict(self.networks.items()) | averaged
        # One seed for all runs: the statistics depend only on the weights.
        random = torch.Generator().manual_seed(derive_seed(0, "statistics"))
        n = MEASURED_SAMPLES

        def run(index: int) -> None:
            # Each batch is spread over the whole dataset, which may be sorted.
            columns = self.sampler.columns
            rows = (torch.arange(n) * MEASURED_BATCHES + index) * len(columns["image"]) // (n * MEASURED_BATCHES)
            real = {name: column[rows.to(column.device)].to(self.device) for name, column in columns.items()}
            for role in averaged:
                if objective.roles.get(role) == "encoder":
                    images = spec.modality.to_network(real["image"])
                    averaged[role](images, *objective.condition(real["label"]))
            codes = spec.prior.sample(n, random, torch.device("cpu")).to(self.device)
            label = (index * n + torch.arange(n)) % max(1, spec.classes)
            sources = {name: spec.modality.inputs(real[name]) for name in objective.generates_from}
            objective.generate_from(networks, codes, label.to(self.device), sources)

        with seeded(derive_seed(0, "statistics"), self.device), full_precision(self.device):
            self.ema.measure(run, MEASURED_BATCHES)

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON state from which ``restore`` continues bit for bit."""
        self._measure_average()
        return self._state()

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        sampler = self.sampler.state_dict()
        tensors = {
            **_prefixed("networks", self.networks.state_dict()),
            **_prefixed("ema", self.ema.networks.state_dict() if self.ema else {}),
            **_prefixed("objective", self.objective.state_dict()),
            **random_states(self.processes, self.device),
            "latents": self.latents.get_state(),
        }
        for role, optimizer in self.optimizers.items():
            tensors |= _prefixed(f"optimizers.{role}", optimizer.tensors())
        tensors |= _prefixed("sampler", {k: v for k, v in sampler.items() if isinstance(v, Tensor)})
        return tensors, {"images": self.images, "steps": self.steps, "sampler": {"cursor": sampler["cursor"]}}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go back to what ``checkpoint`` returned, if it fits this recipe."""
        try:
            self.networks.load_state_dict(below("networks", tensors))
            if self.ema is not None:
                self.ema.networks.load_state_dict(below("ema", tensors))
            self.objective.load_state_dict(below("objective", tensors))
            for role, optimizer in self.optimizers.items():
                optimizer.load(below(f"optimizers.{role}", tensors))
            self.sampler.load_state_dict({**state["sampler"], **below("sampler", tensors)})
            self.steps = state["steps"]
            self._measured_after = None
            # Captured work reads and writes optimizer state that is no longer used.
            self._prepare()
            # For random generators of a device or process that the checkpoint does not include.
            otherwise = derive_seed(self.recipe.train.seed, str(self.steps))
            restore_stream(self.latents, tensors["latents"], derive_seed(otherwise, "latents"))
            restore_random(tensors, self.processes, self.device, otherwise)
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
            raise GanzooError(
                f"The checkpoint does not fit the recipe '{self.recipe.name}': {reason}.",
                "Resume with the versions of ganzoo and its plugins that wrote it.",
            ) from error


def build_engine(
    name: str, device: torch.device, latents: torch.Generator, log: Callable[[str], None], processes: int = 1
) -> Engine:
    """The engine with a name in ``train.engine``; ``auto`` is eager until ``tuning.settle_engine`` chooses on a GPU."""
    if name in CAPTURING and processes > 1:
        raise GanzooError(
            f"The engine '{name}' trains in one process, but this run uses several.",
            "Use train.engine=eager or compile, or start it without torchrun.",
        )
    if name in CAPTURING and device.type != "cuda":
        raise GanzooError(
            f"The engine '{name}' needs a CUDA device, but this run trains on {device.type}.",
            "Use train.engine=auto, or train.device=cuda if torch sees a GPU.",
        )
    if name == "auto" and device.type == "cpu":
        log("Engine eager: on a CPU, compiling usually takes longer than it saves; train.engine=compile tries it.")
    engine: Engine = CompileEngine(device, log) if name.startswith("compile") else Engine()
    return CaptureEngine(CudaGraphs(device, latents), device, latents, log, engine) if name in CAPTURING else engine


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
