"""A trained generator, loaded from its run."""

import pytest
import torch

from ganzoo import Images
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load

SMALL = ["networks.generator.hidden=[16]", "networks.discriminator.hidden=[8]"]
CPU = torch.device("cpu")


def make_run(path, zoo, *overrides, ema=True):
    """A run folder as training leaves it; its EMA weights are half its raw weights."""
    recipe = load_recipe("vanilla-mnist", zoo, [*SMALL, *overrides])
    names = [str(digit) for digit in range(10)]
    info = {
        "recipe": recipe.name,
        "shape": [1, 28, 28],
        "classes": 10,
        "class_names": names,
        "data_dir": None,
    }
    run = RunFolder.create(path, recipe, info)
    networks = assemble(recipe, zoo, Images(1, 28, 28), 10).networks
    tensors = {f"networks.{name}": tensor for name, tensor in networks.state_dict().items()}
    if ema:
        state = networks["generator"].state_dict()
        tensors |= {f"ema.generator.{name}": tensor / 2 for name, tensor in state.items()}
    run.save_checkpoint(tensors, {"images": 640, "seconds": 1.25})
    return run.path, networks


@pytest.fixture
def run(tmp_path, zoo):
    return make_run(tmp_path / "run", zoo)


def test_it_draws_the_same_images_as_the_trained_network(run, zoo):
    path, networks = run
    generator = load(path, zoo=zoo, device=CPU)
    images = generator.sample(20, seed=7, weights="raw")
    z = torch.randn(20, 100, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = ((networks["generator"].eval()(z) + 1) * 127.5).round().to(torch.uint8)
    assert images.dtype == torch.uint8
    assert torch.equal(images, expected)


def test_ema_weights_are_reported(run, zoo):
    generator = load(run[0], zoo=zoo, device=CPU)
    assert generator.weights == ("ema", "raw")
    ema, raw = generator.sample(5, weights="ema"), generator.sample(5, weights="raw")
    assert not torch.equal(ema, raw)
    assert torch.equal(generator.sample(5), ema)
    assert torch.equal(generator.sample(5, weights="raw"), raw)  # and back


def test_a_run_without_ema_says_so(tmp_path, zoo):
    generator = load(make_run(tmp_path / "run", zoo, "train.ema=null", ema=False)[0], zoo=zoo, device=CPU)
    assert generator.weights == ("raw",)
    assert torch.equal(generator.sample(3), generator.sample(3, weights="raw"))
    with pytest.raises(GanzooError, match="has no 'ema' weights"):
        generator.sample(3, weights="ema")


def test_loading_and_drawing_keep_the_random_state(run, zoo):
    before = torch.get_rng_state()
    load(run[0], zoo=zoo, device=CPU).sample(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unconditional_generator_takes_no_class(run, zoo):
    with pytest.raises(GanzooError, match="'vanilla-mnist' is unconditional"):
        load(run[0], zoo=zoo, device=CPU).sample(3, label=1)


def test_a_conditional_generator_draws_the_requested_class(tmp_path, zoo):
    path, networks = make_run(tmp_path / "run", zoo, "conditional=true")
    generator = load(path, zoo=zoo, device=CPU)
    images, labels = generator.sample_labelled(6, label=4, weights="raw")
    z = torch.randn(6, 100, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn = networks["generator"].eval()(z, torch.full((6,), 4))
    assert labels.tolist() == [4] * 6
    assert torch.equal(images, ((drawn + 1) * 127.5).round().to(torch.uint8))
    assert generator.sample_labelled(12)[1].tolist() == [*range(10), 0, 1]
    with pytest.raises(GanzooError, match="Unknown class 10"):
        generator.sample(2, label=10)


def test_weights_of_another_network_are_refused(run, zoo, tmp_path):
    path, _ = run
    (path / "recipe.yaml").write_text((path / "recipe.yaml").read_text().replace("16", "17"))
    RunFolder.open(path).update(recipe_digests=[])
    with pytest.raises(GanzooError, match=r"generator in the checkpoint of .* is not the one that its recipe"):
        load(path, zoo=zoo, device=CPU).sample(2)


def test_the_public_function_loads_a_run(run):
    import ganzoo

    assert ganzoo.load(run[0]).sample(2).shape == (2, 1, 28, 28)


def test_a_run_on_points_draws_points(run, zoo):
    path, networks = run
    RunFolder.open(path).update(modality="points")
    points = load(path, zoo=zoo, device=CPU).sample(20, seed=7, weights="raw")
    with torch.no_grad():
        expected = networks["generator"].eval()(torch.randn(20, 100, generator=torch.Generator().manual_seed(7)))
    assert points.dtype == torch.float32
    assert torch.equal(points, expected)


def test_the_objective_s_own_state_comes_from_the_checkpoint(tmp_path, zoo):
    path, _ = make_run(tmp_path / "run", zoo, "augmentation={name: ada, p: null}")
    checkpoint = RunFolder.open(path).checkpoint()
    adapted = {**checkpoint.tensors, "objective.augmentation.p": torch.tensor(0.25)}
    RunFolder.open(path).save_checkpoint(adapted, checkpoint.state)
    assert load(path, zoo=zoo, device=CPU).assembly.objective.augmentation.p.item() == 0.25
    misfit = {**adapted, "objective.augmentation.p": torch.zeros(3)}
    RunFolder.open(path).save_checkpoint(misfit, checkpoint.state)
    with pytest.raises(GanzooError, match=r"The objective in the checkpoint of .* is not the one that its recipe"):
        load(path, zoo=zoo, device=CPU)
