"""Schedules: closed forms, where their values apply, and resumed or captured training."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from ganzoo import Augmentation, GanzooError
from ganzoo.config.schema import ScheduleConfig
from ganzoo.training.optim import scheduled_buffer

CPU = torch.device("cpu")
SMALL = (
    "train.images=640",
    "train.batch_size=32",
    "train.precision=fp32",
    "train.device=cpu",
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[16]",
    "networks.generator.norm=none",
)
R3GAN = (
    "optimizers={default: {name: adam, lr: {start: 2e-3, end: 5e-4, shape: cosine},"
    " betas: [0.0, {start: 0.9, end: 0.99, shape: cosine}]}}",
    "regularizers=[{name: r1, weight: {start: 2.0, end: 0.2, shape: cosine}},"
    " {name: r2, weight: {start: 2.0, end: 0.2, shape: cosine}}]",
    "train.ema={start: 0.0, end: 0.999, shape: cosine}",
    "augmentation={name: ada, p: {start: 0.0, end: 0.55, shape: cosine}}",
)
"""The five schedules of R3GAN (Huang et al. 2024, arXiv:2501.05441)."""


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"start": 2, "end": 4}, {0: 2.0, 25: 2.5, 50: 3.0, 100: 4.0, 1000: 4.0}),
        ({"start": 2, "end": 4, "delay": 50}, {0: 2.0, 50: 2.0, 75: 2.5, 150: 4.0}),
        (
            {"start": 1, "end": 0, "shape": "cosine"},
            {0: 1.0, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 100: 0.0, 101: 0.0},
        ),
        (
            {"start": 1e-2, "end": 1e-4, "shape": "exponential"},
            {0: 1e-2, 50: 1e-3, 75: 10**-3.5, 100: 1e-4, 300: 1e-4},
        ),
        ({"start": -4, "end": -1, "shape": "exponential"}, {50: -2.0}),
    ],
)
def test_closed_forms(given, values):
    schedule = ScheduleConfig(**given, images=100)
    assert {images: schedule.at(images, total=10_000) for images in values} == pytest.approx(values)


def test_without_a_number_of_images_a_schedule_takes_the_rest_of_training():
    schedule = ScheduleConfig(start=1, end=0, delay=30)
    assert [schedule.at(images, total=130) for images in (30, 80, 130)] == [1.0, 0.5, 0.0]
    assert ScheduleConfig(start=1, end=0, images=8).at(6, total=130) == 0.25
    assert ScheduleConfig(start=1, end=0, delay=500).at(130, total=130) == 1.0


@pytest.fixture
def begin(trainer):
    return partial(trainer, *SMALL)


def set_for(trainer, images):
    """Every scheduled value for the step that begins after this many images."""
    for schedule, set_value in trainer.schedules:
        set_value(schedule.at(images, trainer.total_steps * trainer.images_per_step))


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_a_decay_is_a_schedule_to_zero(begin, decay):
    trainer = begin(f"optimizers={{default: {{name: adam, lr: 2e-4, decay: {decay}}}}}")
    for step in range(20):
        trainer.step()
        share = step / 20
        factor = 1 - share if decay == "linear" else (1 + math.cos(math.pi * share)) / 2
        for optimizer in trainer.optimizers.values():
            assert optimizer.inner.param_groups[0]["lr"] == 2e-4 * factor


LAZY = (
    "optimizers={default: {name: adam, lr: 2e-3, betas: [0.5, 0.99], lazy_scaling: true}}",
    "regularizers=[{name: r1, weight: 1.0, every_steps: 16}]",
)


def test_lazy_scaling_matches_stylegan2(begin):
    """As its code does: mb_ratio = 16 / 17, lr * mb_ratio, beta ** mb_ratio; G has no lazy term."""
    trainer = begin(*LAZY)
    (lazy,), (plain,) = (trainer.optimizers[role].inner.param_groups for role in ("discriminator", "generator"))
    assert lazy["lr"] == pytest.approx(2e-3 * 16 / 17, rel=1e-12)
    assert lazy["betas"] == pytest.approx((0.5 ** (16 / 17), 0.99 ** (16 / 17)), rel=1e-12)
    assert (plain["lr"], plain["betas"]) == (2e-3, (0.5, 0.99))
    (without,) = begin(*LAZY, "optimizers.default.lazy_scaling=false").optimizers["discriminator"].inner.param_groups
    assert (without["lr"], without["betas"]) == (2e-3, (0.5, 0.99))


def test_lazy_scaling_counts_every_step_of_the_optimizer(begin):
    """D takes five steps, and one more on every second and on every fourth iteration: 5 of 5 + 1/2 + 1/4."""
    trainer = begin(
        *LAZY,
        "regularizers=[{name: r1, every_steps: 2}, {name: r2, every_steps: 4}]",
        "phases={discriminator: {repeat: 5}}",
        "train.share_fakes=false",
    )
    assert trainer.optimizers["discriminator"].lazy_scale == pytest.approx(5 / 5.75)


@pytest.mark.parametrize("every_steps", [1, 4])
@pytest.mark.parametrize(
    ("side", "phases", "updates"),
    [
        ("discriminator", "{}", 4),
        ("discriminator", "{discriminator: {repeat: 5}}", 20),
        ("generator", "{generator: {every_steps: 2}}", 2),
        ("discriminator", "{discriminator: {repeat: 5}, discriminator/orthogonal: {repeat: 2}}", 20),
    ],
)
def test_a_lazy_penalty_adds_up_to_one_in_each_of_its_player_s_updates(begin, side, phases, updates, every_steps):
    """Over four steps, with weights that stay the same."""
    if every_steps == 1 and "orthogonal" in phases:
        phases = "{discriminator: {repeat: 5}}"  # it has no phase of its own

    def total(weight):
        term = f"{{name: orthogonal, weight: {weight}, side: {side}, every_steps: {every_steps}}}"
        trainer = begin(f"regularizers=[{term}]", f"phases={phases}", "train.share_fakes=false")
        network, sums = trainer.networks[side], []

        def note():  # biases have no penalty
            sums.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in network.parameters()])

        for role, optimizer in trainer.optimizers.items():
            optimizer.inner.step = note if role == side else (lambda: None)
        for _ in range(4):
            trainer.step()
        return [torch.stack(parts).sum(0) for parts in zip(*sums, strict=True)], network

    (light, network), (heavy, _) = total(1), total(3)
    for parameter, one, three in zip(network.parameters(), light, heavy, strict=True):
        expected = torch.zeros_like(parameter)
        if parameter.dim() > 1:
            product = parameter @ parameter.T
            expected = 2 * (product - product.diag().diag()) @ parameter  # the gradient of 1/2 ‖W Wᵀ ⊙ (1 - I)‖²
        torch.testing.assert_close((three - one) / 2, updates * expected, rtol=1e-4, atol=1e-4)


def test_lazy_scaling_works_with_schedules(begin):
    trainer = begin(
        *LAZY,
        "optimizers.default.lr={start: 2e-3, end: 5e-4, shape: linear}",
        "optimizers.default.betas=[0.0, {start: 0.9, end: 0.99, shape: linear}]",
    )
    (group,) = trainer.optimizers["discriminator"].inner.param_groups
    for images, lr, beta in ((0, 2e-3, 0.9), (320, 1.25e-3, 0.945), (640, 5e-4, 0.99)):
        set_for(trainer, images)
        assert group["lr"] == pytest.approx(lr * 16 / 17)
        assert group["betas"] == pytest.approx((0.0, beta ** (16 / 17)))


def test_r3gan_s_five_schedules_change_their_settings(begin):
    trainer = begin(*R3GAN)
    r1, r2 = trainer.objective.regularizers

    def values():
        (group,) = trainer.optimizers["discriminator"].inner.param_groups
        augmentation = trainer.objective.augmentation
        return [
            group["lr"],
            group["betas"][1],
            r1.weight.item(),
            r2.weight.item(),
            trainer.ema.decay,
            augmentation.p.item(),
        ]

    set_for(trainer, 0)
    assert values() == pytest.approx([2e-3, 0.9, 2.0, 2.0, 0.0, 0.0])
    set_for(trainer, 320)
    assert values() == pytest.approx([1.25e-3, 0.945, 1.1, 1.1, 0.4995, 0.275])
    set_for(trainer, 640)
    assert values() == pytest.approx([5e-4, 0.99, 0.2, 0.2, 0.999, 0.55])
    for _ in range(11):
        trainer.step()
    assert values()[0] == pytest.approx(1.25e-3)  # those of the step that began after 320 images


def test_scheduled_weights_apply_to_the_loss(begin):
    """Once a weight reaches zero, training continues as if without the regularizer."""
    zero = "regularizers=[{name: r1, weight: {start: 0.0, end: 0.0, shape: linear}}]"
    with_zero, without = begin(zero), begin("regularizers=[]")
    heavy = begin("regularizers=[{name: r1, weight: {start: 5.0, end: 0.0}}]")
    for trainer in (with_zero, without, heavy):
        for _ in range(3):
            trainer.step()
    weights = [trainer.networks["discriminator"].state_dict() for trainer in (with_zero, without, heavy)]
    for name, value in weights[1].items():
        torch.testing.assert_close(weights[0][name], value)
    assert any(not torch.allclose(weights[2][name], value) for name, value in weights[1].items())


def taken(trainer, steps):
    for _ in range(steps):
        trainer.step()
    return trainer


def test_a_schedule_that_stays_trains_to_the_same_bits_as_the_number(begin, different):
    one = taken(begin("optimizers.default.lr={start: 2e-4, end: 2e-4}", "train.ema={start: 0.9, end: 0.9}"), 3)
    other = taken(begin("optimizers.default.lr=2e-4", "train.ema=0.9"), 3)
    assert different(one, other) == []


def test_resumed_training_continues_its_schedules(begin, different):
    # One after another, because they share torch's global generator.
    whole, first = taken(begin(*R3GAN), 6), taken(begin(*R3GAN), 3)
    kept = first.checkpoint()
    second = begin(*R3GAN)
    second.restore(*kept)
    assert different(taken(second, 3), whole) == []


@pytest.mark.usefixtures("tapes")
def test_captured_steps_follow_their_schedules(begin, told):
    # torch captures betas as tensors only on a GPU.
    settings = (*R3GAN, "optimizers.default.betas=[0.0, 0.9]")
    eager, captured = (taken(begin(*settings, f"train.engine={name}"), 8) for name in ("eager", "cudagraph"))
    assert told == []
    for ours, theirs in zip(eager.networks.parameters(), captured.networks.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_an_augmentation_without_the_number_that_it_declares_is_a_one_line_error():
    class Forgets(Augmentation):
        scheduled = ("level",)

    with pytest.raises(GanzooError, match="'noise' cannot schedule level: it has no numeric attribute of that name"):
        scheduled_buffer(Forgets(), "noise", "level", CPU)


def test_an_existing_buffer_is_set_in_place():
    module = nn.Module()
    module.register_buffer("level", torch.tensor(0.5))
    before = module.level
    assert scheduled_buffer(module, "noise", "level", CPU) is before
