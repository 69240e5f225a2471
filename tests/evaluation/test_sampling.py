"""Quantisation, determinism, and leaving training unchanged."""

from functools import partial

import pytest
import torch
from torch import nn

from ganzoo import GaussianPrior, Images, Objective, Points, Spec
from ganzoo.errors import GanzooError, RunError
from ganzoo.evaluation.sampling import draw


class Noisy(nn.Module):
    """A generator whose pictures depend on z, the label, its train mode and the global random state."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 16)
        self.norm = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(0.5)
        self.classes = nn.Embedding(3, 16)

    def forward(self, z, label=None):
        hidden = self.dropout(self.norm(self.linear(z)))
        if label is not None:
            hidden = hidden + self.classes(label)
        return torch.tanh(hidden + 0.1 * torch.randn_like(hidden)).reshape(-1, 1, 4, 4)


class Plain(Objective):
    def phases(self):
        return []


def bound(network, spec):
    """An objective and its networks, of which ``network`` is the generator."""
    objective, networks = Plain(), {"generator": network}
    objective.bind(spec, networks)
    return objective, networks


def small_objective(classes=0):
    return bound(Noisy(), Spec((1, 4, 4), GaussianPrior(dim=5), classes))


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("value", "pixel"), [(-1.0, 0), (1.0, 255), (0.0, 128), (-7.0, 0), (3.0, 255), (float("inf"), 255)]
)
def test_quantisation_has_closed_form_values(value, pixel):
    assert Images(1, 1, 1).from_network(torch.tensor([value])).tolist() == [pixel]


def test_quantisation_undoes_the_normalisation_of_every_pixel():
    pixels = torch.arange(256).to(torch.uint8)
    assert torch.equal(Images(1, 1, 1).from_network(pixels.float() / 127.5 - 1), pixels)


def test_the_same_seed_draws_the_same_images_and_another_does_not():
    objective, networks = small_objective()
    first, labels = draw(objective, networks, 30, seed=3, device=CPU)
    again, _ = draw(objective, networks, 30, seed=3, device=CPU)
    other, _ = draw(objective, networks, 30, seed=4, device=CPU)
    assert (first.dtype, first.shape, labels) == (torch.uint8, (30, 1, 4, 4), None)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_drawing_keeps_the_random_state_train_mode_and_buffers():
    objective, networks = small_objective()
    generator = networks["generator"]
    generator.train()
    generator.dropout.eval()
    before = torch.get_rng_state()
    buffers = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    draw(objective, networks, 20, seed=1, device=CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert generator.norm.training
    assert not generator.dropout.training
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in generator.state_dict().items())


def test_train_mode_is_restored_even_after_a_failure():
    objective, networks = small_objective()
    nn.init.constant_(networks["generator"].linear.weight, float("nan"))
    before = torch.get_rng_state()
    with pytest.raises(RunError):
        draw(objective, networks, 4, seed=1, device=CPU)
    assert networks["generator"].norm.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_without_its_own_noise_draws_the_same_at_any_batch_size():
    objective, _ = small_objective()
    networks = {"generator": nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))}
    small, _ = draw(objective, networks, 50, seed=2, device=CPU, batch_size=7)
    large, _ = draw(objective, networks, 50, seed=2, device=CPU, batch_size=50)
    assert (small.int() - large.int()).abs().max() <= 1  # rounding in a matrix product may tip a pixel


def test_conditional_drawing_cycles_the_classes_or_takes_labels():
    objective, networks = small_objective(classes=3)
    with torch.no_grad():
        networks["generator"].classes.weight.copy_(torch.tensor([[-9.0], [0.0], [9.0]]).expand(3, 16))
    images, labels = draw(objective, networks, 8, seed=0, device=CPU, classes=3)
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert images[labels == 0].max() == 0
    assert images[labels == 2].min() == 255
    images, labels = draw(objective, networks, 5, seed=0, device=CPU, classes=3, labels=torch.full((5,), 2))
    assert labels.tolist() == [2] * 5
    assert images.min() == 255


def test_points_are_drawn_as_the_network_returns_them_and_truncation_scales_their_codes():
    objective, networks = points(0, nn.Sequential(nn.Linear(5, 2), nn.Unflatten(1, (1, 1, 2))))
    drawn, labels = draw(objective, networks, 50, seed=2, device=CPU)
    truncated, _ = draw(objective, networks, 50, seed=2, device=CPU, truncation=0.7)
    z = torch.randn(50, 5, generator=torch.Generator().manual_seed(2))
    assert drawn.dtype == torch.float32
    assert labels is None
    torch.testing.assert_close(drawn, networks["generator"](z).detach())
    torch.testing.assert_close(truncated, networks["generator"](0.7 * z).detach())


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_points_that_are_no_numbers_are_refused(value):
    objective, networks = points(0, nn.Sequential(nn.Linear(5, 2), nn.Unflatten(1, (1, 1, 2))))
    nn.init.constant_(networks["generator"][0].bias, float(value))
    with pytest.raises(RunError, match="draws NaN or infinite values"):
        draw(objective, networks, 2, seed=2, device=CPU)


def test_images_are_drawn_in_full_precision_whatever_the_settings():
    class Watching(Noisy):
        def forward(self, z, label=None):
            seen.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
            return super().forward(z, label)

    seen, (objective, _) = set(), small_objective()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        draw(objective, {"generator": Watching()}, 4, seed=0, device=CPU)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == {("highest", False)}


def test_a_generators_own_noise_is_not_its_latent_code():
    """Both come from one seed; if drawn from one stream, the noise of a single sample would equal its code."""
    drawn = []

    class Drawing(Noisy):
        def forward(self, z, label=None):
            drawn.append((z, torch.randn_like(z)))
            return super().forward(z, label)

    objective, _ = small_objective()
    draw(objective, {"generator": Drawing()}, 1, seed=3, device=CPU)
    ((code, noise),) = drawn
    assert not torch.isclose(code, noise).any()


class Mapped(nn.Module):
    """Points G(w) = w, and w = Az + b(label), as in a generator like StyleGAN's."""

    def __init__(self, classes):
        super().__init__()
        self.mapping = Affine(classes)
        self.synthesis = nn.Unflatten(1, (1, 1, 2))

    def forward(self, z, label=None):
        return self.synthesis(self.mapping(z, label))


class Affine(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.linear = nn.Linear(5, 2)
        self.classes = nn.Embedding(max(1, classes), 2)

    def forward(self, z, label=None):
        return self.linear(z) + (0 if label is None else self.classes(label))


def points(classes, network):
    return bound(network, Spec((1, 1, 2), GaussianPrior(dim=5), classes, modality=Points(1, 1, 2)))


@pytest.mark.parametrize("classes", [0, 3])
def test_truncation_moves_w_towards_its_mean_in_the_class(classes):
    network = Mapped(classes)
    sample = partial(draw, *points(classes, network), 60, seed=2, device=CPU, classes=classes)
    plain, labels = sample()
    moved, _ = sample(truncation=0.25)
    middle, _ = sample(truncation=0)
    torch.testing.assert_close(moved, middle + 0.25 * (plain - middle))
    # E[z] = 0, so the mean w of a class is the bias of its layer, up to the error of the mean of 10,000 / 3 codes.
    centre = network(torch.zeros(60, 5), labels).detach()
    assert (middle - centre).abs().max() < 0.1
    assert torch.equal(sample()[0], plain)


@pytest.mark.parametrize(
    ("n", "truncation", "sentence"),
    [(0, None, "0 images"), (2, -0.1, "out of range"), (2, 1.5, "out of range"), (2, float("nan"), "out of range")],
)
def test_what_cannot_be_drawn_is_refused(n, truncation, sentence):
    objective, networks = small_objective()
    with pytest.raises(GanzooError, match=sentence):
        draw(objective, networks, n, seed=0, device=CPU, truncation=truncation)
