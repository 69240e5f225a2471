"""The two-player game: its phases, what each player sees, and the terms of its loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ganzoo import (
    AdversarialGame,
    AdversarialLoss,
    Augmentation,
    Batch,
    GanzooError,
    GaussianPrior,
    Networks,
    Regularizer,
    RegularizerContext,
    Spec,
)
from ganzoo.api.dataset import Points

SPEC = Spec((1, 2, 2), GaussianPrior(dim=3))
CONDITIONAL = Spec((1, 2, 2), GaussianPrior(dim=3), classes=2)


class Difference(AdversarialLoss):
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        assert real is None
        return -fake.mean()


class Paired(Difference):
    pairs = True

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        assert real is not None
        return (real - fake).mean()


class Constant(Regularizer):
    """A penalty of a known value, so that its factor can be read off the loss."""

    def __init__(self, value: float, *, weight: float = 1.0, every_steps: int = 1, label: str = "constant") -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.value = value
        self.label = label

    def penalty(self, context: RegularizerContext) -> Tensor:
        return context.critic(context.real).sum() * 0 + self.value


class Clip(Regularizer):
    def penalty(self, context: RegularizerContext) -> Tensor:
        return context.fake.sum() * 0

    def after_step(self, networks: dict[str, nn.Module]) -> None:
        for parameter in networks["discriminator"].parameters():
            parameter.clamp_(-0.01, 0.01)


class OnGenerator(Regularizer):
    side = "generator"

    def penalty(self, context: RegularizerContext) -> Tensor:
        return context.fake.square().mean()


@pytest.mark.parametrize(
    ("side", "remedy"), [("discriminater", "Did you mean 'discriminator'?"), ("encoder", "Known: "), (None, "Known: ")]
)
def test_a_misspelt_side_is_refused_rather_than_never_applied(side: str | None, remedy: str) -> None:
    term = Constant(1.0, label="misspelt")
    term.side = side  # type: ignore[assignment]
    with pytest.raises(GanzooError, match="The regularizer 'misspelt' has the side") as caught:
        AdversarialGame(Difference(), [term])
    assert remedy in str(caught.value)


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        images = torch.tanh(self.layer(z)).view(-1, 1, 2, 2)
        return images if label is None else images + 10 * label.view(-1, 1, 1, 1)


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        self.seen.append((images, label))
        return images.flatten(1) @ self.weight


def networks() -> dict[str, nn.Module]:
    return {"generator": Generator(), "discriminator": Critic()}


def batch(n: int = 4) -> Batch:
    return Batch(torch.randn(n, 1, 2, 2), torch.arange(n) % 2, torch.randn(n, 3))


def game(
    loss: AdversarialLoss | None = None,
    *terms: Regularizer,
    spec: Spec = SPEC,
    augmentation: Augmentation | None = None,
) -> AdversarialGame:
    made = AdversarialGame(loss or Difference(), terms, augmentation)
    assert made.bind(spec, {}) == {}
    return made


def test_a_game_that_was_not_bound_says_so() -> None:
    with pytest.raises(GanzooError, match=r"is not bound to its networks. Call bind\(spec, networks\) first"):
        AdversarialGame(Difference()).phases()


def test_the_discriminator_moves_first_and_each_trains_itself_alone() -> None:
    phases = game().phases()
    assert [(p.name, p.trains, p.repeat, p.every_steps) for p in phases] == [
        ("discriminator", ("discriminator",), 1, 1),
        ("generator", ("generator",), 1, 1),
    ]


def test_discriminator_loss_and_gradient_by_hand() -> None:
    nets, seen = networks(), batch()
    losses = game().phases()[0].loss(nets, seen)
    fake = nets["generator"](seen.z).detach()
    weight = nets["discriminator"].weight
    assert torch.allclose(losses["loss"], ((fake - seen.real).flatten(1) @ weight).mean())
    assert torch.allclose(losses["real_logits"], (seen.real.flatten(1) @ weight).mean())
    losses["loss"].backward()
    assert torch.allclose(weight.grad, (fake - seen.real).flatten(1).mean(0))
    assert all(p.grad is None for p in nets["generator"].parameters()), "fakes carry no graph here"


class PerImage(Critic):
    per_image = True


@pytest.mark.parametrize("spec", [SPEC, CONDITIONAL], ids=["unconditional", "conditional"])
def test_a_discriminator_that_looks_at_each_image_alone_judges_both_kinds_in_one_pass(spec: Spec) -> None:
    seen = batch()
    generator = Generator()
    found = {}
    for critic in (Critic(), PerImage()):
        nets = {"generator": generator, "discriminator": critic}
        losses = game(spec=spec).phases()[0].loss(nets, seen)
        losses["loss"].backward()
        found[type(critic)] = losses, critic.weight.grad, critic.seen
    (apart, gradient, calls), (together, same, once) = found.values()
    assert (len(calls), len(once)) == (2, 1)
    assert torch.equal(once[0][0], torch.cat([images for images, _ in calls]))
    if spec is CONDITIONAL:
        assert torch.equal(once[0][1], torch.cat([label for _, label in calls]))
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(same, gradient)


def test_shared_fakes_are_taken_as_they_are_by_both_players() -> None:
    nets, seen = networks(), batch()
    fake = nets["generator"](seen.z)
    seen = replace(seen, fake=fake)
    nets["generator"].forward = None  # nobody draws others
    sharing = AdversarialGame(Difference(), share_fakes=True)
    sharing.bind(SPEC, nets)
    discriminator, generator = sharing.phases()
    assert (discriminator.shares_fakes, generator.shares_fakes) == (True, True)
    made = game()
    made.discriminator_loss((), nets, seen)["loss"].backward()
    assert nets["generator"].layer.weight.grad is None
    made.generator_loss((), nets, seen)["loss"].backward()
    slope = 1 - fake.detach().flatten(1).square()
    expected = -(slope * nets["discriminator"].weight.detach()).mean(0)
    torch.testing.assert_close(nets["generator"].layer.bias.grad, expected)


def test_a_frozen_discriminator_lets_the_generator_s_gradient_through() -> None:
    nets, seen = networks(), batch()
    nets["discriminator"].requires_grad_(False)
    game().phases()[1].loss(nets, seen)["loss"].backward()
    slope = 1 - nets["generator"](seen.z).flatten(1).square()
    assert nets["discriminator"].weight.grad is None
    expected = -(slope * nets["discriminator"].weight).mean(0)
    assert torch.allclose(nets["generator"].layer.bias.grad, expected, atol=1e-6)


def test_only_a_paired_loss_pays_for_real_logits_in_the_generator_s_turn() -> None:
    for loss, passes in ((Difference(), 1), (Paired(), 2)):
        nets = networks()
        game(loss).phases()[1].loss(nets, batch())
        assert len(nets["discriminator"].seen) == passes


def test_regularizers_join_the_loss_with_their_weight_and_one_with_two_settings_counts_twice() -> None:
    nets, seen = networks(), batch()
    plain = game().phases()[0].loss(nets, seen)["loss"]
    losses = (
        game(None, Constant(3.0, weight=2.0), Constant(5.0, weight=0.5, label="other")).phases()[0].loss(nets, seen)
    )
    assert torch.allclose(losses["loss"] - plain, torch.tensor(8.5))
    assert losses["constant"].item() == 3.0
    assert losses["other"].item() == 5.0
    twice = game(None, Constant(3.0), Constant(5.0)).phases()[0].loss(nets, seen)
    assert torch.allclose(twice["loss"] - plain, torch.tensor(8.0))


def test_a_lazy_regularizer_has_a_phase_of_its_own_and_the_same_strength_on_average() -> None:
    phases = game(None, Constant(3.0, weight=2.0, every_steps=16)).phases()
    assert [(p.name, p.every_steps) for p in phases] == [
        ("discriminator", 1),
        ("discriminator/constant", 16),
        ("generator", 1),
    ]
    assert phases[1].trains == ("discriminator",)
    losses = phases[1].loss(networks(), batch())
    assert losses["loss"].item() == pytest.approx(16 * 2 * 3)
    assert losses["penalty"].item() == pytest.approx(3)
    assert "constant" not in phases[0].loss(networks(), batch())


def test_a_regularizer_joins_the_side_it_names() -> None:
    nets, seen = networks(), batch()
    phases = game(None, OnGenerator(weight=2.0)).phases()
    plain = game().phases()
    assert torch.equal(phases[0].loss(nets, seen)["loss"], plain[0].loss(nets, seen)["loss"])
    added = phases[1].loss(nets, seen)["loss"] - plain[1].loss(nets, seen)["loss"]
    assert torch.allclose(added, 2 * nets["generator"](seen.z).square().mean(), atol=1e-6)


@pytest.mark.parametrize("turn", [0, 1], ids=["the discriminator's", "a lazy regularizer's"])
def test_after_a_step_regularizers_may_touch_the_networks(turn: int) -> None:
    nets = networks()
    phases = game(None, Clip(), Constant(1.0, every_steps=4)).phases()
    with torch.no_grad():
        phases[-1].after(nets)
        assert nets["discriminator"].weight.max() == 4, "clipping belongs to the discriminator's turn"
        phases[turn].after(nets)
    assert nets["discriminator"].weight.abs().max().item() == pytest.approx(0.01)


class BestFake(Regularizer):
    """No term: only the best fake teaches the generator."""

    side = "generator"

    def select(self, fake_logits: Tensor) -> Tensor:
        return torch.where(fake_logits == fake_logits.max(), fake_logits, fake_logits.detach())


def test_a_regularizer_without_a_penalty_adds_nothing_to_the_loss() -> None:
    nets, seen = networks(), batch()
    plain = game().phases()[0].loss(nets, seen)
    losses = game(None, Regularizer()).phases()[0].loss(nets, seen)
    assert losses.keys() == plain.keys()
    assert torch.equal(losses["loss"], plain["loss"])


def test_the_generator_s_loss_sees_the_logits_that_a_regularizer_selects() -> None:
    nets, seen = networks(), batch()
    discriminator, generator = game(None, BestFake()).phases()
    assert torch.equal(discriminator.loss(nets, seen)["loss"], game().phases()[0].loss(nets, seen)["loss"])
    z = seen.z.clone().requires_grad_()
    generator.loss(nets, Batch(seen.real, seen.label, z))["loss"].backward()
    best = nets["discriminator"](nets["generator"](z)).argmax()
    assert (z.grad.abs().sum(1) > 0).tolist() == [i == best for i in range(4)]


def test_regularizers_are_shown_the_networks_once() -> None:
    class Remembers(Regularizer):
        def bind(self, spec: Spec, networks: dict[str, nn.Module]) -> None:
            self.shown = spec, networks

    term, nets = Remembers(), networks()
    AdversarialGame(Difference(), [term]).bind(CONDITIONAL, nets)
    assert term.shown == (CONDITIONAL, nets)


@pytest.mark.parametrize("spec", [SPEC, CONDITIONAL], ids=["unconditional", "conditional"])
def test_a_turn_can_draw_and_judge_more_than_its_batch(spec: Spec) -> None:
    nets, seen = networks(), batch()
    context = game(spec=spec, augmentation=Shift()).context("discriminator", (), nets, seen)
    assert len(context.condition) == (1 if spec.classes else 0)
    assert torch.equal(context.generate(seen.z), nets["generator"](seen.z, *context.condition))
    assert torch.equal(context.discriminate_real(), context.critic(context.real))
    assert torch.equal(context.discriminate_fake(), context.critic(context.fake))
    context.real_logits, context.fake_logits = torch.ones(4), torch.zeros(4)
    assert context.discriminate_real() is context.real_logits
    assert context.discriminate_fake() is context.fake_logits


def test_a_context_knows_images_before_the_augmentation_and_a_critic_through_it() -> None:
    nets, seen = networks(), batch()
    made = game(augmentation=Shift())
    for context in (made.context("discriminator", (), nets, seen), made.context("generator", (), nets, seen)):
        assert torch.equal(context.clean_fake, nets["generator"](seen.z))
        assert torch.equal(context.fake, context.clean_fake + 100)
        assert torch.equal(context.augmented_critic(seen.real), context.critic(context.real))
    plain = game().context("discriminator", (), nets, seen)
    assert plain.clean_fake is plain.fake
    assert torch.equal(plain.augmented_critic(seen.real), plain.critic(seen.real))


def test_labels_reach_both_networks_of_a_conditional_game() -> None:
    nets, seen = networks(), batch()
    for phase in game(Paired(), spec=CONDITIONAL).phases():
        phase.loss(nets, seen)
    shown = nets["discriminator"].seen
    assert len(shown) == 4
    assert all(label is seen.label for _, label in shown)
    for fake, _ in (shown[1], shown[3]):
        assert (fake[seen.label == 1] > 5).all()
        assert (fake[seen.label == 0].abs() <= 1).all()


class Shift(Augmentation):
    def __init__(self) -> None:
        super().__init__()
        self.observed: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        return images + 100

    def observe(self, real_logits: Tensor) -> None:
        self.observed.append(real_logits)


def test_the_augmentation_changes_real_and_fake_alike() -> None:
    nets, shift = networks(), Shift()
    for phase in game(Paired(), augmentation=shift).phases():
        phase.loss(nets, batch())
    assert len(nets["discriminator"].seen) == 4
    assert all(images.min() > 90 for images, _ in nets["discriminator"].seen)
    assert len(shift.observed) == 1, "once, in the discriminator's turn"
    assert shift.observed[0].shape == (4,)
    assert not shift.observed[0].requires_grad


def test_logits_are_single_precision_under_autocast() -> None:
    class Half(Difference):
        def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
            assert real.dtype == fake.dtype == torch.float32
            return super().discriminator(real, fake)

    with torch.autocast("cpu", torch.bfloat16):
        assert game(Half()).phases()[0].loss(networks(), batch())["loss"].dtype == torch.float32


class WithFeatures(nn.Module):
    """A discriminator whose features are its pixels doubled, plus the label; it counts what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Critic()
        self.shown: list[Tensor] = []

    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        self.shown.append(images)
        return 2 * images.flatten(1) + (0 if label is None else label.view(-1, 1))

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        return self.head(self.features(images, label), label)


class ReadsFeatures(Regularizer):
    reads_features = True
    label = "feature-norm"

    def penalty(self, context: RegularizerContext) -> Tensor:
        return context.features(context.real).sum() + 10 * context.features(context.fake).sum()


@pytest.mark.parametrize("spec", [SPEC, CONDITIONAL], ids=["unconditional", "conditional"])
def test_features_are_computed_once_for_logits_and_regularizers(spec: Spec) -> None:
    nets, seen = {"generator": Generator(), "discriminator": WithFeatures()}, batch()
    plain = game(Paired(), spec=spec).phases()[0].loss(nets, seen)
    shown = nets["discriminator"].shown
    shown.clear()
    sharing = AdversarialGame(Paired(), [ReadsFeatures(weight=0.5)])
    sharing.bind(spec, nets)
    losses = sharing.phases()[0].loss(nets, seen)
    real, fake = shown
    assert torch.equal(real, seen.real)
    label = seen.label if spec.classes else torch.zeros(4)
    expected = (2 * real.sum() + 4 * label.sum()) + 10 * (2 * fake.sum() + 4 * label.sum())
    assert torch.allclose(losses["feature-norm"], expected)
    assert torch.allclose(losses["real_logits"], plain["real_logits"])
    assert torch.allclose(losses["loss"], plain["loss"] + 0.5 * expected)
    assert losses.keys() == {"loss", "real_logits", "fake_logits", "feature-norm"}
    conditions = [label for _, label in nets["discriminator"].head.seen]
    assert len(conditions) == 4
    assert all(label is (seen.label if spec.classes else None) for label in conditions), "the head is conditional too"


@pytest.mark.parametrize("reads_features", [False, True])
def test_a_regularizer_may_judge_both_kinds_in_one_pass_with_their_labels(reads_features: bool) -> None:
    nets, seen = {"generator": Generator(), "discriminator": WithFeatures()}, batch()
    terms = [ReadsFeatures()] if reads_features else []
    shared = AdversarialGame(Difference(), terms)
    shared.bind(CONDITIONAL, nets)
    context = shared.context("discriminator", terms, nets, seen)
    both = context.critic(torch.cat([context.real, context.fake]))
    assert torch.equal(both, torch.cat([context.critic(context.real), context.critic(context.fake)]))


def test_features_of_other_images_are_their_own() -> None:
    nets, seen = {"generator": Generator(), "discriminator": WithFeatures()}, batch()
    context = game().context("discriminator", (), nets, seen)
    first = context.features(context.real)
    assert context.features(context.real) is first
    assert torch.equal(context.features(context.real + 1), first + 2)
    assert context.features(context.real) is first


class Headless(Critic):
    """Its logits are not those of a head that it names, so nothing else can compute them from its features."""

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@pytest.mark.parametrize(("discriminator", "missing"), [(Critic, "features"), (Headless, "head")])
def test_a_discriminator_without_features_or_head_is_refused_where_they_are_read(discriminator, missing) -> None:
    with pytest.raises(GanzooError) as caught:
        AdversarialGame(Difference(), [ReadsFeatures()]).bind(SPEC, {**networks(), "discriminator": discriminator()})
    module = Critic.__module__
    assert caught.value.sentence == (
        f"The regularizer 'feature-norm' reads the discriminator's features, and '{module}' has no '{missing}'."
    )
    assert caught.value.remedy == "Use a discriminator with features() and head, such as 'dcgan' or 'mlp'."


def test_a_regularizer_that_fails_in_bind_is_named() -> None:
    class Fails(Regularizer):
        label = "fails"

        def bind(self, spec: Spec, networks: Networks) -> None:
            spec.nothing  # noqa: B018

    with pytest.raises(GanzooError, match="The regularizer 'fails' could not be bound to its networks: AttributeError"):
        AdversarialGame(Difference(), [Fails()]).bind(SPEC, networks())


@pytest.mark.parametrize("augments", [False, True])
def test_what_transforms_images_is_refused_for_other_samples(augments: bool) -> None:
    class Turned(Augmentation):
        images_only = True

    class Tied(Regularizer):
        label, images_only = "tied", True

    points = Spec((1, 1, 2), GaussianPrior(dim=3), modality=Points(1, 1, 2))
    made = AdversarialGame(Difference(), [] if augments else [Tied()], Turned() if augments else None)
    what = "The augmentation" if augments else "The regularizer 'tied'"
    with pytest.raises(GanzooError, match=f"{what} transforms images, but the dataset has points"):
        made.bind(points, networks())
    made.bind(SPEC, networks())


def test_a_phase_makes_only_the_images_that_it_reads() -> None:
    """The generator's phase augments no real images, and lazy R1 neither generates nor augments anything else."""
    seen: list[str] = []

    class Look(Augmentation):
        def forward(self, images: Tensor) -> Tensor:
            seen.append("fake" if images.requires_grad or images is not given.real else "real")
            return images

    class LazyR1(Regularizer):
        label = "lazy"

        def penalty(self, context: RegularizerContext) -> Tensor:
            return context.critic(context.batch.real).square().mean()

    nets, given = networks(), batch()
    nets["generator"].register_forward_hook(lambda *_: seen.append("generated"))
    for phase in game(Difference(), LazyR1(every_steps=2), augmentation=Look()).phases():
        seen.append(phase.name)
        phase.loss(nets, given)
    assert " ".join(seen) == "discriminator real generated fake discriminator/lazy generator generated fake"


class AddsNetwork(Regularizer):
    """Brings a network of its own."""

    label = "adds"

    def __init__(self, role: str, side: str = "discriminator", *, every_steps: int = 1) -> None:
        super().__init__(every_steps=every_steps)
        self.role, self.side = role, side
        self.own = nn.Linear(1, 1)

    def bind(self, spec: Spec, networks: dict[str, nn.Module]) -> dict[str, nn.Module]:
        return {self.role: self.own}


@pytest.mark.parametrize(
    ("side", "discriminator", "generator"),
    [
        ("discriminator", ("discriminator", "judge"), ("generator",)),
        ("generator", ("discriminator",), ("generator", "judge")),
        ("both", ("discriminator", "judge"), ("generator",)),
    ],
)
def test_an_added_network_learns_in_the_turn_of_its_side(
    side: str, discriminator: tuple[str, ...], generator: tuple[str, ...]
) -> None:
    term = AddsNetwork("judge", side)
    made = AdversarialGame(Difference(), [term])
    assert made.bind(SPEC, networks()) == {"judge": term.own}
    assert [phase.trains for phase in made.phases()] == [discriminator, generator]


def test_the_network_of_a_lazy_regularizer_learns_in_its_own_phase_alone() -> None:
    eager, lazy = AddsNetwork("eager"), AddsNetwork("lazy", every_steps=2)
    made = AdversarialGame(Difference(), [eager, lazy])
    assert made.bind(SPEC, networks()) == {"eager": eager.own, "lazy": lazy.own}
    assert [(phase.name, phase.trains, phase.every_steps) for phase in made.phases()] == [
        ("discriminator", ("discriminator", "eager"), 1),
        ("discriminator/adds", ("discriminator", "lazy"), 2),
        ("generator", ("generator",), 1),
    ]


@pytest.mark.parametrize("roles", [("judge", "judge"), ("generator",)], ids=["of another term", "of the recipe"])
def test_a_network_of_a_name_that_is_taken_is_refused(roles: tuple[str, ...]) -> None:
    with pytest.raises(GanzooError) as caught:
        AdversarialGame(Difference(), [AddsNetwork(role) for role in roles]).bind(SPEC, networks())
    assert caught.value.sentence == f"The regularizer 'adds' adds a network '{roles[0]}', but one already exists."
    assert caught.value.remedy == "Remove one of the two, or rename one of the networks."


def test_regularizers_are_part_of_the_objective_and_so_checkpointed() -> None:
    made = AdversarialGame(Difference(), [AddsNetwork("judge")], Shift())
    assert sum(isinstance(module, (AddsNetwork, Shift, Difference)) for module in made.modules()) == 3


def test_a_regularizer_of_both_sides_is_told_whose_turn_it_is() -> None:
    turns: list[RegularizerContext] = []

    class Both(Regularizer):
        side = "both"

        def penalty(self, context: RegularizerContext) -> Tensor:
            turns.append(context)
            return context.fake.sum() * 0

    nets, seen = networks(), batch()
    for phase in game(Paired(), Both(), Both(every_steps=3)).phases():
        phase.loss(nets, seen)
    assert [context.player for context in turns] == ["discriminator", "discriminator", "generator", "generator"]
    assert all(context.batch is seen and context.networks is nets for context in turns)
    assert [context.fake.requires_grad for context in turns] == [False, False, True, True]
    for eager in (turns[0], turns[2]):
        assert torch.equal(eager.real_logits, eager.critic(eager.real))
        assert torch.equal(eager.fake_logits, eager.critic(eager.fake))
    assert turns[1].real_logits is turns[1].fake_logits is turns[3].real_logits is turns[3].fake_logits is None


def test_an_unpaired_generator_s_turn_has_no_real_logits_and_all_fake_ones() -> None:
    turns: list[RegularizerContext] = []

    class Half(Regularizer):
        side = "generator"

        def select(self, fake_logits: Tensor) -> Tensor:
            return fake_logits / 2

        def penalty(self, context: RegularizerContext) -> None:
            turns.append(context)

    nets, seen = networks(), batch()
    loss = game(None, Half(), Half()).phases()[1].loss(nets, seen)["loss"]
    assert turns[0].real_logits is None
    assert torch.allclose(loss, -turns[0].fake_logits.mean() / 4), "each selects from what the one before selected"
    assert torch.equal(turns[0].fake_logits, turns[0].critic(turns[0].fake)), "terms see the logits themselves"


def test_a_lazy_regularizer_without_a_penalty_is_told_what_to_do() -> None:
    with pytest.raises(GanzooError) as caught:
        game(None, Regularizer(every_steps=2)).phases()[1].loss(networks(), batch())
    assert caught.value.sentence == "The regularizer 'penalty' has no penalty to apply lazily."
    assert caught.value.remedy == "Set every_steps: 1."
