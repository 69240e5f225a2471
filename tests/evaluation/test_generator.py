"""A trained generator, loaded from its run."""

import json
import re
import sys
from threading import Thread

import numpy as np
import pytest
import torch

from ganzoo import Images, Points
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load

SMALL = ["networks.generator.hidden=[16]", "networks.discriminator.hidden=[8]"]
CPU = torch.device("cpu")


def make_run(path, zoo, *overrides, ema=True, modality=Images(1, 28, 28)):  # noqa: B008 - it is never changed
    """A run folder as training leaves it; its EMA weights are half its raw weights."""
    recipe = load_recipe("vanilla-mnist", zoo, [*SMALL, *overrides])
    names = [str(digit) for digit in range(10)]
    info = {
        "recipe": recipe.name,
        "shape": list(modality.shape),
        "modality": modality.name,
        "classes": 10,
        "class_names": names,
        "data_dir": None,
    }
    run = RunFolder.create(path, recipe, info)
    torch.manual_seed(0)  # all runs have the same weights, whichever tests came before
    networks = assemble(recipe, zoo, modality, 10).networks
    tensors = {f"networks.{name}": tensor for name, tensor in networks.state_dict().items()}
    if ema:
        state = networks["generator"].state_dict()
        tensors |= {f"ema.generator.{name}": tensor / 2 for name, tensor in state.items()}
    run.save_checkpoint(tensors, {"images": 640, "seconds": 1.25})
    return run.path, networks


@pytest.fixture
def run(tmp_path, zoo):
    return make_run(tmp_path / "run", zoo)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, zoo):
    """An unconditional generator that tests only draw from."""
    return load(make_run(tmp_path_factory.mktemp("plain") / "run", zoo)[0], zoo=zoo, device=CPU)


@pytest.fixture(scope="module")
def conditional_run(tmp_path_factory, zoo):
    return make_run(tmp_path_factory.mktemp("conditional") / "run", zoo, "conditional=true")


@pytest.fixture(scope="module")
def conditional(conditional_run, zoo):
    """A conditional generator that tests only draw from."""
    return load(conditional_run[0], zoo=zoo, device=CPU)


def test_it_is_shown_in_one_line(plain, conditional):
    assert repr(plain) == "TrainedGenerator(vanilla-mnist, 1x28x28)"
    assert repr(conditional) == "TrainedGenerator(vanilla-mnist, 1x28x28, 10 classes)"


def test_it_draws_the_same_images_as_the_trained_network_and_keeps_the_random_state(run, zoo):
    path, networks = run
    before = torch.get_rng_state()
    images = load(path, zoo=zoo, device=CPU).sample(20, seed=7, weights="raw")
    assert torch.equal(torch.get_rng_state(), before)
    z = torch.randn(20, 100, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = ((networks["generator"].eval()(z) + 1) * 127.5).round().to(torch.uint8)
    assert images.dtype == torch.uint8
    assert torch.equal(images, expected)


def test_ema_weights_are_reported(plain):
    assert plain.weights == ("ema", "raw")
    ema, raw = plain.sample(5, weights="ema"), plain.sample(5, weights="raw")
    assert not torch.equal(ema, raw)
    assert torch.equal(plain.sample(5), ema)
    assert torch.equal(plain.sample(5, weights="raw"), raw)  # and back


def test_a_run_without_ema_says_so(tmp_path, zoo):
    generator = load(make_run(tmp_path / "run", zoo, "train.ema=null", ema=False)[0], zoo=zoo, device=CPU)
    assert generator.weights == ("raw",)
    assert torch.equal(generator.sample(3), generator.sample(3, weights="raw"))
    with pytest.raises(GanzooError, match="has no 'ema' weights"):
        generator.sample(3, weights="ema")


def test_a_conditional_generator_draws_the_requested_class(plain, conditional, conditional_run):
    _, networks = conditional_run
    images, labels = conditional.sample_labelled(6, label=4, weights="raw")
    z = torch.randn(6, 100, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn = networks["generator"].eval()(z, torch.full((6,), 4))
    assert labels.tolist() == [4] * 6
    assert torch.equal(images, ((drawn + 1) * 127.5).round().to(torch.uint8))
    assert conditional.sample_labelled(12)[1].tolist() == [*range(10), 0, 1]
    with pytest.raises(GanzooError, match="Unknown class 10"):
        conditional.sample(2, label=10)
    with pytest.raises(GanzooError, match="'vanilla-mnist' is unconditional"):
        plain.sample(3, label=1)
    with pytest.raises(GanzooError, match="'vanilla-mnist' does not start from a source"):
        plain.sample(2, source=torch.zeros(2, 1, 28, 28))


def test_weights_of_another_network_are_refused(run, zoo, tmp_path):
    path, _ = run
    (path / "recipe.yaml").write_text((path / "recipe.yaml").read_text().replace("16", "17"))
    RunFolder.open(path).update(recipe_digests=[])
    with pytest.raises(GanzooError, match=r"generator in the checkpoint of .* is not the one that its recipe"):
        load(path, zoo=zoo, device=CPU).sample(2)


def test_a_run_on_points_draws_points(tmp_path, zoo):
    path, networks = make_run(tmp_path / "run", zoo, modality=Points(1, 1, 6))
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
    misfit = {**adapted, "objective.augmentation.p": torch.zeros(3, 2)}
    RunFolder.open(path).save_checkpoint(misfit, checkpoint.state)
    with pytest.raises(GanzooError, match=r"The objective in the checkpoint of .* is not the one that its recipe"):
        load(path, zoo=zoo, device=CPU)


@pytest.mark.parametrize("odd", [1.5, float("nan"), True, np.float32(2), torch.tensor([1, 2]), None, [1]])
def test_a_number_that_is_no_integer_is_refused(conditional, odd):
    sentence = f"{re.escape(repr(odd))} is not a whole number. Give a single int"
    with pytest.raises(GanzooError, match=f"The number of images {sentence}"):
        conditional.sample(odd)
    with pytest.raises(GanzooError, match=f"The seed {sentence}"):
        conditional.sample(2, seed=odd)
    if odd is not None:
        with pytest.raises(GanzooError, match=f"The class {sentence}"):
            conditional.sample(2, label=odd)


@pytest.mark.parametrize("integer", [np.int64, np.uint8, torch.tensor])
def test_an_integer_of_any_library_is_a_number(conditional, integer):
    expected = conditional.sample(2, seed=3, label=4)
    assert torch.equal(conditional.sample(integer(2), seed=integer(3), label=integer(4)), expected)


def test_codes_of_any_floating_point_type_and_labels_in_any_form_are_decoded(conditional):
    codes, labels = torch.ones(3, 100), torch.tensor([1, 2, 3])
    expected = conditional.decode(codes, labels)
    for same in (codes.double(), codes.half(), codes.bfloat16()):
        assert torch.equal(conditional.decode(same, labels), expected)
    for same in ([1, 2, 3], labels.numpy(), labels.to(torch.uint8)):
        assert torch.equal(conditional.decode(codes, same), expected)


@pytest.mark.parametrize(
    ("codes", "labels", "sentence"),
    [
        (torch.ones(2, 100, dtype=torch.int64), None, "The latent codes are of type int64. Give a float32 tensor"),
        (np.ones((2, 100)), None, "The latent codes are of type ndarray."),
        ([[1.0] * 100], None, "The latent codes are of type list."),
        (torch.ones(2, 99), None, r"The latent codes have the shape \(2, 99\)"),
        (torch.full((2, 100), float("nan")), None, "Some latent codes are NaN or infinite"),
        (torch.full((2, 100), 1e300, dtype=torch.float64), None, "Some latent codes are NaN or infinite"),
        (torch.ones(2, 100), torch.ones(2), "Got labels of type torch.float32"),
        (torch.ones(2, 100), [1], r"Got labels of type torch.int64 and shape \(1,\)"),
        (torch.ones(2, 100), [1, 10], "Unknown class 10"),
    ],
)
def test_codes_and_labels_that_do_not_fit_are_refused(conditional, codes, labels, sentence):
    with pytest.raises(GanzooError, match=sentence):
        conditional.decode(codes, labels)


def test_a_device_or_checkpoint_is_given_by_name(run, plain, zoo):
    assert torch.equal(load(run[0], zoo=zoo, device="cpu").sample(2), plain.sample(2))
    with pytest.raises(GanzooError, match="Unknown device 'gpu'. Known: auto, cpu"):
        load(run[0], zoo=zoo, device="gpu")
    with pytest.raises(GanzooError, match="Unknown checkpoint 'lsat'. Did you mean 'last'?"):
        load(run[0], checkpoint="lsat", zoo=zoo, device=CPU)


def test_threads_draw_with_their_own_weights(plain):
    expected = {weights: plain.sample(200, weights=weights) for weights in plain.weights}
    settings = torch.backends.cudnn.deterministic, torch.get_rng_state()
    wrong = []

    def draw(weights):
        for _ in range(6):
            if not torch.equal(plain.sample(200, weights=weights), expected[weights]):
                wrong.append(weights)

    threads = [Thread(target=draw, args=(weights,)) for weights in plain.weights]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert torch.backends.cudnn.deterministic == settings[0]
    assert torch.equal(torch.get_rng_state(), settings[1])


def rewrite(path, before, after, **facts):
    """Change a run's recipe, as if it had been made where other plugins are installed, and facts in its run.json."""
    recipe = path / "recipe.yaml"
    assert before in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(before, after))
    info = path / "run.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "recipe_digests": [], **facts}))


def test_a_generator_needs_none_of_its_metrics(tmp_path, zoo, caplog):
    path, _ = make_run(tmp_path / "run", zoo, "evaluate.metrics=[fid@mnist-cnn, kid@mnist-cnn]")
    rewrite(path, "kid@mnist-cnn", "gone@mnist-cnn")
    generator = load(path, zoo=zoo, device=CPU)
    assert "Unknown metric 'gone'" in caplog.text
    assert len(generator.sample(2)) == 2
    assert generator.recipe.evaluate.metrics == ("fid@mnist-cnn", "gone@mnist-cnn")
    with pytest.raises(GanzooError, match="Unknown metric 'gone'"):  # a run that is resumed needs them
        RunFolder.open(path).recipe(zoo)


def test_what_was_installed_when_a_run_began_is_named(run, zoo, tmp_path, monkeypatch):
    path, _ = run
    metadata = tmp_path / "site" / "demo_gan-1.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: demo-gan\nVersion: 1.1\n")
    (metadata / "entry_points.txt").write_text("[ganzoo]\ndemo = demo\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    plugins = {"vanilla": "ganzoo-bench 0.0.1", "demo": "demo-gan 1.0", "duo": "duo-gan 0.1.0", "bad": "x; rm 1"}
    rewrite(path, "name: gaussian", "name: sphere", plugins=plugins)
    with pytest.raises(GanzooError) as caught:
        load(path, zoo=zoo, device=CPU)
    first, *rest = str(caught.value).splitlines()
    assert "Unknown prior 'sphere'" in first
    assert rest == [
        "The run was made with demo-gan 1.0; demo-gan 1.1 is installed.",
        "The run was made with duo-gan 0.1.0, which is not installed: `pip install duo-gan==0.1.0`.",
    ]
