"""Networks too large for memory are rejected; convolutions use channels_last and give the same results."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from ganzoo import AdversarialLoss, Augmentation, Images, Objective, Phase, Regularizer
from ganzoo.build import _add_spectral_norm, assemble, memory_guard, use_channels_last
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry
from ganzoo.training.optim import RoleOptimizer
from ganzoo.training.step import phase_groups


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())


def is_channels_last(weight):
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_flatten_and_unflatten_keep_channels_last_on_both_sides():
    """Values and first and second derivatives stay; activations see channels_last maps and gradients."""

    class Watch(torch.autograd.Function):
        @staticmethod
        def forward(ctx, maps):
            seen.append(maps)
            return maps.clone()

        @staticmethod
        def backward(ctx, gradient):
            seen.append(gradient)
            return gradient

    class Watched(nn.ReLU):
        def forward(self, maps):
            return Watch.apply(super().forward(maps))

    def vector_to_vector():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(3, 4 * 9), nn.Unflatten(1, (4, 3, 3)), Watched(), nn.Conv2d(4, 4, 2), Watched(), nn.Flatten()
        )

    def derivatives(network):
        leaf = codes.clone().requires_grad_()
        (first,) = torch.autograd.grad(network(leaf).square().sum(), leaf, create_graph=True)
        return [first, *torch.autograd.grad(first.square().sum(), list(network.parameters())[:3])]

    codes, seen = torch.randn(5, 3), []
    plain, converted = vector_to_vector(), vector_to_vector()
    use_channels_last(nn.ModuleList([converted]), lambda: None)
    expected = derivatives(plain)
    assert not all(is_channels_last(maps) for maps in seen)
    seen.clear()
    for ours, theirs in zip(derivatives(converted), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(seen) >= 4
    assert all(is_channels_last(maps) for maps in seen)


@pytest.mark.parametrize(("loss", "role"), [("unrolled", "discriminator"), ("aae", "encoder")])
def test_a_network_that_only_an_objective_s_own_phases_run_is_tried_too(own_zoo, mnist, loss, role):
    class Viewing(nn.Module):
        def __init__(self, spec):
            super().__init__()
            self.convolution = nn.Conv2d(spec.channels, 4, 3)
            self.linear = nn.Linear(4 * 26 * 26, 1 if role == "discriminator" else spec.latent)

        def forward(self, images):
            maps = self.convolution(images)
            out = self.linear(maps.view(len(maps), -1))
            return out.squeeze(1) if role == "discriminator" else out

    own_zoo.registry(role).add(Entry(role, "viewing", Viewing, "Calls view", None, "tests", "tests 0"))
    recipe = load_recipe(f"{loss}-mnist", own_zoo, [f"networks.{role}=viewing"])
    networks = assemble(recipe, own_zoo, mnist.modality, 10, ()).networks
    assert networks[role].convolution.weight.is_contiguous()
    networks[role](torch.zeros(2, 1, 28, 28))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_optimizers_resume_to_the_bit_from_contiguous_state(name):
    """A fused step follows the memory format; a checkpoint holds contiguous tensors."""
    options = {"lr": 0.01, **({"momentum": 0.9} if name == "sgd" else {})}
    images = torch.randn(4, 3, 9, 9)
    nets, optimizers = [], []
    for _ in range(2):
        net = network()
        use_channels_last(nn.ModuleList([net]), lambda: None)
        nets.append(net)
        optimizers.append(RoleOptimizer(net, name, options))

    def step(net, optimizer):
        net(images).square().mean().backward()
        optimizer.inner.step()
        optimizer.inner.zero_grad()

    for _ in range(3):
        step(nets[0], optimizers[0])
    nets[1].load_state_dict({key: value.contiguous() for key, value in nets[0].state_dict().items()})
    optimizers[1].load(
        {key: value.clone(memory_format=torch.contiguous_format) for key, value in optimizers[0].tensors().items()}
    )
    for net, optimizer in zip(nets, optimizers, strict=True):
        step(net, optimizer)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_networks_that_do_not_fit_into_memory_are_rejected_before_they_are_filled(monkeypatch):
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: filled.append(self))
    filled = []
    too_many = pytest.raises(GanzooError, match="^The generator would have more than 1,000 weights")
    with too_many, memory_guard("The generator", memory=4_000):
        nn.Linear(10**4, 10**4)
    assert filled == []
    with memory_guard("The generator", memory=4_000):
        nn.Linear(24, 40)
    assert len(filled) == 1
    nn.Linear(100, 100)  # no longer counted


def test_a_registered_network_that_does_not_fit_into_memory_is_rejected():
    def refusal(size):
        wide = Entry("generator", "wide", lambda: nn.Linear(size, size), "Wide", None, "tests", "0")
        with pytest.raises(GanzooError) as caught, memory_guard("The generator 'wide'", memory=4_000):
            wide.create()
        return str(caught.value)

    assert refusal(10**4).startswith("The generator 'wide' would have more than 1,000 weights")
    assert refusal(10**9).endswith("Free some memory, or reduce its sizes.")  # torch cannot even reserve so much


def test_building_leaves_every_network_in_training_mode(own_zoo):
    """Also if channels_last fails, which a network that calls view on its maps shows."""

    class Viewing(nn.Module):
        def __init__(self, spec):
            super().__init__()
            self.maps, self.norm, self.out = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 26 * 26, 1)

        def forward(self, images):
            maps = self.norm(self.maps(images))
            return self.out(maps.view(len(maps), -1)).squeeze(1)

    own_zoo.discriminators.add(Entry("discriminator", "viewing", Viewing, "Uses view", None, "tests", "0"))
    recipe = load_recipe("vanilla-mnist", own_zoo, ["networks.discriminator={name: viewing}"])
    assembly = assemble(recipe, own_zoo, Images(1, 28, 28), 10)
    assert assembly.networks["discriminator"].maps.weight.is_contiguous()
    assert all(module.training for module in assembly.networks.modules())


def test_behind_a_spectral_norm_what_is_learnt_is_converted_there_and_back():
    normed = nn.ModuleList([spectral_norm(nn.Conv2d(3, 8, 3))])
    images, vector = torch.randn(2, 3, 9, 9), normed[0].parametrizations.weight[0]._u.clone()
    learnt = normed[0].parametrizations.weight.original
    values = learnt.detach().clone()
    use_channels_last(normed, lambda: None)
    assert torch.equal(normed[0].parametrizations.weight[0]._u, vector)  # nothing was computed
    assert is_channels_last(learnt)
    assert is_channels_last(normed[0](images))

    def refuses():
        raise GanzooError("It calls view.")

    use_channels_last(normed, refuses)
    assert learnt.is_contiguous()
    assert torch.equal(learnt, values)


def test_spectral_norm_takes_every_kind_of_convolution():
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    network = nn.ModuleList([*(kind(2, 3, 2) for kind in kinds), nn.Linear(2, 3), nn.Embedding(2, 3)])
    _add_spectral_norm(network, "discriminator", "all")
    assert all(is_parametrized(layer, "weight") for layer in network)


def test_spectral_norm_refuses_a_weight_that_is_no_parameter():
    layer = nn.Linear(2, 3)
    weight = layer.weight
    del layer.weight
    layer.weight = weight.detach()  # as torch.nn.utils.spectral_norm leaves it, to compute it anew in each pass
    with pytest.raises(GanzooError, match="The critic 'own' cannot have a spectral_norm: ValueError: .*Linear"):
        _add_spectral_norm(nn.Sequential(layer), "critic", "own")


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda self, z: {}["image"], "failed to produce images: KeyError: 'image'"),
        (lambda self, z: [z], "produced images of type list"),
        (
            lambda self, z, label: z,
            "generator 'mistaken' needs labels, but the recipe 'vanilla-mnist' is unconditional. Set conditional: true",
        ),
    ],
)
def test_a_plugin_s_mistake_is_a_sentence_before_training(own_zoo, forward, words):
    class Mistaken(nn.Module):
        def __init__(self, spec):
            super().__init__()

    Mistaken.forward = forward
    own_zoo.generators.add(Entry("generator", "mistaken", Mistaken, "Wrong", None, "tests", "0"))
    with pytest.raises(GanzooError, match=words):
        assemble(load_recipe("vanilla-mnist", own_zoo, ["networks.generator=mistaken"]), own_zoo, Images(1, 28, 28), 10)


class Cropping(Augmentation):
    """Counts its calls, and returns smaller images, or none, or as many and as large."""

    def __init__(self, *, rows: int = 1):
        super().__init__()
        self.rows = rows
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls += 1
        return None if self.rows < 0 else images[..., self.rows :, :]


@pytest.mark.parametrize(
    ("rows", "returned"),
    [(1, "shape (2, 1, 27, 28) and type float32, not (2, 1, 28, 28)"), (-1, "type NoneType, not a tensor")],
)
def test_an_augmentation_that_changes_the_size_is_blamed_before_training(own_zoo, rows, returned):
    own_zoo.augmentations.add(Entry("augmentation", "cropping", Cropping, "Crops", "Someone 2020", "tests", "0"))
    recipe = load_recipe("vanilla-mnist", own_zoo, [f"augmentation={{name: cropping, rows: {rows}}}"])
    with pytest.raises(GanzooError) as caught:
        assemble(recipe, own_zoo, Images(1, 28, 28), 10)
    assert caught.value.sentence == f"The augmentation 'cropping' produced images of {returned}."
    fitting = load_recipe("vanilla-mnist", own_zoo, ["augmentation={name: cropping, rows: 0}"])
    assert assemble(fitting, own_zoo, Images(1, 28, 28), 10).objective.augmentation.calls == 0


class OneSided(AdversarialLoss):
    """Its critic sees real images only."""

    def discriminator(self, real):
        return real.mean()

    def generator(self, real, fake):
        return fake.mean()


class Blind(Regularizer):
    """Sees nothing."""

    def penalty(self):
        return None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "loss=one-sided",
            "The loss 'one-sided' of plugin 'tests' (tests 0.1) cannot be called as discriminator(real, fake): too "
            "many positional arguments. `ganzoo check tests` tells what to change.",
        ),
        (
            "regularizers=[blind]",
            "The regularizer 'blind' of plugin 'tests' (tests 0.1) cannot be called as penalty(co",
        ),
    ],
)
def test_a_wrong_signature_is_a_sentence_before_training(own_zoo, change, sentence):
    own_zoo.losses.add(Entry("loss", "one-sided", OneSided, "One side", None, "tests", "tests 0.1"))
    own_zoo.regularizers.add(Entry("regularizer", "blind", Blind, "Blind", None, "tests", "tests 0.1"))
    with pytest.raises(GanzooError) as caught:
        assemble(load_recipe("vanilla-mnist", own_zoo, [change]), own_zoo, Images(1, 28, 28), 10)
    assert str(caught.value).startswith(sentence)


def grouped(recipe, zoo):
    """What a training does with an objective before its first step."""
    assembly = assemble(recipe, zoo, Images(1, 28, 28), 10)
    return phase_groups(assembly.objective.phases(), recipe, assembly.networks)


class Forgetful(Objective):
    """Like a game, with a slip of its author's."""

    def __init__(self, *, slip: str = "") -> None:
        super().__init__()
        self.slip = slip

    @property
    def samples_with(self):
        return ("generater",) if self.slip == "misspelt" else ("generator",)

    def bind(self, spec, networks):
        return {} if self.slip == "bind" else super().bind(spec, networks)

    def phases(self):
        role = "generater" if self.slip == "phase" else "generator"
        main = Phase("main", (role,), lambda networks, batch: {})
        lacking = Phase("lacking", ("generator",), lambda networks: {})
        return [lacking] if self.slip == "batch" else [main]


@pytest.mark.parametrize(
    ("slip", "sentence"),
    [
        ("bind", "The loss 'forgetful' has no spec after bind(). Call super().bind(spec, networks) first in bind()."),
        (
            "misspelt",
            "The loss 'forgetful' samples with 'generater', but there is no such network. Did you mean 'generator'?",
        ),
        ("phase", "The phase 'main' trains 'generater', but there is no such network. Did you mean 'generator'?"),
        (
            "batch",
            "The phase 'lacking' of the loss 'forgetful' has a loss that cannot be called with networks and a batch: "
            "too many positional arguments. Its parameters are (networks, batch).",
        ),
    ],
)
def test_a_slip_in_an_objective_is_a_sentence_before_training(own_zoo, slip, sentence):
    recipe = load_recipe("vanilla-mnist", own_zoo, ["train.share_fakes=false"])
    recipe = recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"name": "forgetful", "options": {}})})
    own_zoo.losses.add(Entry("loss", "forgetful", lambda: Forgetful(slip=slip), "A slip", None, "tests", "0"))
    with pytest.raises(GanzooError) as caught:
        grouped(recipe, own_zoo)
    assert str(caught.value) == sentence
