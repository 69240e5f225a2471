"""ganzoo from Python, as a notebook uses it."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

import ganzoo
from ganzoo.data import as_dataset
from ganzoo.errors import GanzooError

UNSCORED: dict[str, list[str]] = {"metrics": []}
QUICK = {"images": 160, "batch_size": 16, "log_every": 80, "device": "cpu"}


class Noise(TorchDataset):
    """Random 64x64 RGB images with labels."""

    def __init__(self, n: int = 48) -> None:
        self.images = torch.randint(256, (n, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], index % 3


def test_recipes_are_found_by_pattern():
    assert "vanilla-mnist" in ganzoo.recipes()
    assert {"wgan-gp-mnist", "wgan-div-mnist"} <= set(ganzoo.recipes("wgan*"))
    assert ganzoo.recipes("nothing*") == []


def test_a_recipe_is_changed_by_keywords_and_checked():
    recipe = ganzoo.recipe("vanilla-mnist", train={"images": 1000}, loss="hinge", conditional=False)
    assert (recipe.train.images, recipe.loss.name) == (1000, "hinge")
    with pytest.raises(GanzooError, match="train has no key 'imagse'. Did you mean 'images'"):
        ganzoo.recipe("vanilla-mnist", train={"imagse": 1000})


@pytest.mark.parametrize("number", [np.int64(2000), torch.tensor(2000)])
def test_numbers_of_numpy_and_torch_are_plain_numbers_in_a_recipe(number, tmp_path):
    recipe = ganzoo.recipe("vanilla-ring", train={"images": number, "seed": np.uint8(3)}, conditional=np.False_)
    assert (recipe.train.images, recipe.train.seed, recipe.conditional) == (2000, 3, False)
    pictures = ganzoo.recipe("vanilla-mnist", dataset={"name": "image-folder", "path": tmp_path, "size": 28}).dataset
    assert pictures.options["path"] == str(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": {"images": float("nan")}}, "train.images must be a whole number, not nan"),
        ({"loss": ganzoo.AdversarialLoss}, "No recipe can hold loss: it is or contains the class AdversarialLoss."),
        ({"regularizers": {"r1"}}, "No recipe can hold regularizers: it is or contains a set. Write numbers"),
        ({"optimizers": {"default": {"betas": np.zeros(2)}}}, "hold optimizers.default.betas: .* a ndarray"),
    ],
)
def test_what_no_recipe_can_hold_is_named(changes, sentence):
    with pytest.raises(GanzooError, match=sentence):
        ganzoo.recipe("vanilla-ring", **changes)


def test_errors_come_back_from_another_process_as_they_were():
    with pytest.raises(GanzooError) as caught:
        ganzoo.recipe("vanilla-ring", loss="hinje", train={"imagse": 1, "sed": 1, "a": 1, "b": 1, "c": 1})
    for error in (caught.value, ganzoo.Diverged("It is NaN.", "Lower the learning rate.")):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_type_checkers_know_every_name_and_no_other(tmp_path):
    mypy = pytest.importorskip("mypy.api")
    shutil.copy(ganzoo.__file__, tmp_path / "copied.py")  # alone, since checking all that it imports takes a minute
    lines = ["import copied", *(f"copied.{name}" for name in ganzoo.__all__), "copied.Diverget"]
    (tmp_path / "script.py").write_text("\n".join(lines))
    names = [str(tmp_path / name) for name in ("script.py", "copied.py")]
    options = ["--follow-imports=skip", "--config-file=", f"--cache-dir={tmp_path}", "--no-error-summary"]
    said, _, _ = mypy.run([*options, *names])
    assert said.splitlines() == [said.strip()]
    assert 'Module has no attribute "Diverget"' in said


def test_dcgan_trains_ten_steps_on_a_torch_dataset_of_colour_images_and_samples(tmp_path):
    shown, said = [], []
    networks = {"generator": {"width": 8}, "discriminator": {"width": 8}}
    recipe = ganzoo.recipe("dcgan-mnist", train={**QUICK, "precision": "fp32"}, networks=networks)
    run = ganzoo.train(
        recipe,
        dataset=Noise(),
        out=tmp_path / "run",
        on_step=lambda images, losses: shown.append(images),
        log=said.append,
    )
    assert shown == [16 * step for step in range(1, 11)]
    images = run.sample(6, seed=1)
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (6, 3, 64, 64))
    assert torch.equal(images, ganzoo.load(tmp_path / "run").sample(6, seed=1))
    assert run.info["status"] == "done"
    assert run.scores == []
    assert any("fid@mnist-cnn" in sentence and "64x64 RGB" in sentence for sentence in said)
    # What was trained on is gone with this process, and says so.
    assert "in-memory" in (tmp_path / "run" / "recipe.yaml").read_text()
    with pytest.raises(GanzooError, match="in Python"):
        ganzoo.train("dcgan-mnist", resume_from=tmp_path / "run")


def test_a_run_on_given_images_resumes_with_them(tmp_path):
    recipe = ganzoo.recipe("vanilla-mnist", train=QUICK, evaluate={"samples": 20})
    images, labels = torch.randint(256, (40, 1, 28, 28), dtype=torch.uint8), torch.arange(40) % 10
    # Noise, said to be digits, so that it is scored.
    mine = ganzoo.Dataset("mine", "train", images, labels, tuple("0123456789"), domain="mnist")
    whole = ganzoo.train(recipe, dataset=mine, out=tmp_path / "whole")

    def stop(shown: int, losses: dict[str, float]) -> None:
        if shown >= 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ganzoo.train(recipe, dataset=mine, out=tmp_path / "half", on_step=stop)
    rest = ganzoo.train(recipe, dataset=mine, resume_from=tmp_path / "half")
    wanted = whole.folder.checkpoint().tensors
    for name, value in rest.folder.checkpoint().tensors.items():
        assert torch.equal(value, wanted[name]), name
    # Against themselves, as the protocol says.
    assert {score["protocol"]["dataset"] for score in whole.scores} == {"in-memory"}


@pytest.mark.parametrize(
    ("samples", "count", "metric", "sentence"),
    [
        (5, 0, "precision@mnist-cnn", "'precision@mnist-cnn' cannot be computed: at least 6 samples are needed, but"),
        (50, 1, "memorisation@mnist-cnn", "1 nearest neighbour cannot be found among 0 other images"),
    ],
)
def test_too_few_images_for_a_score_are_one_sentence(tmp_path, samples, count, metric, sentence):
    evaluate = {"samples": samples, "metrics": [metric], "every_images": None}
    train = {"images": 8, "batch_size": 1 if count else 8, "precision": "fp32", "device": "cpu"}
    dataset, networks = {"name": "mnist", "count": count}, {"generator": {"name": "mlp", "norm": "none"}}
    few = ganzoo.recipe("vanilla-mnist", train=train, evaluate=evaluate, dataset=dataset, networks=networks)
    with pytest.raises(ganzoo.GanzooError, match=sentence):
        ganzoo.train(few, out=tmp_path / "run")
    assert (tmp_path / "run").exists() == bool(count)  # the first is known before anything is trained


def test_a_registered_dataset_by_name(tmp_path):
    recipe = ganzoo.recipe("vanilla-ring", train=QUICK, evaluate={"samples": 20})
    run = ganzoo.train(recipe, dataset="grid", out=tmp_path / "run")
    assert {score["metric"].partition("@")[2] for score in run.scores} == {"grid"}
    with pytest.raises(GanzooError, match="mnist"):
        ganzoo.train(recipe, dataset="mnsit", out=tmp_path / "other")


def test_a_used_folder_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "thesis.tex").write_text("words")
    with pytest.raises(GanzooError, match="not an empty folder"):
        ganzoo.train("vanilla-mnist", out=tmp_path, dataset=None, on_step=pytest.fail)


@pytest.mark.parametrize("kind", ["tensor", "floats", "array", "pil", "grey-pil"])
def test_any_kind_of_image_is_the_same_dataset(kind):
    pixels = torch.randint(256, (5, 3, 6, 7), dtype=torch.uint8)
    grey = kind == "grey-pil"

    class Items(TorchDataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            image = pixels[index]
            return {
                "tensor": lambda: image,
                "floats": lambda: image.float() / 255,
                "array": lambda: image.permute(1, 2, 0).numpy(),
                "pil": lambda: Image.fromarray(image.permute(1, 2, 0).numpy()),
                "grey-pil": lambda: Image.fromarray(image[0].numpy()),
            }[kind]()

    found = as_dataset(Items())
    assert torch.equal(found.images, pixels[:, :1] if grey else pixels)
    assert found.labels is None


@pytest.mark.parametrize(
    ("mode", "colour", "stored"),
    [
        ("L", 7, [7]),
        ("1", 1, [255]),
        ("LA", (7, 255), [7]),
        ("LA", (7, 0), [255]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 0), [255, 255, 255]),
        ("P", 5, [50, 60, 70]),
    ],
)
def test_pil_images_are_read_as_they_look(mode, colour, stored):
    image = Image.new(mode, (4, 3), colour)
    if mode == "P":
        image.putpalette([channel for index in range(256) for channel in (10 * index % 256, 60, 70)])
    assert as_dataset([image, image]).images[1, :, 0, 0].tolist() == stored


@pytest.mark.parametrize("mode", ["HSV", "LAB", "YCbCr", "CMYK", "I", "F", "I;16"])
def test_pil_images_of_other_modes_are_refused(mode):
    with pytest.raises(GanzooError, match=f"PIL images of mode {mode}. Convert them to L or RGB"):
        as_dataset([Image.new(mode, (4, 3))])


def test_half_precision_keeps_256_levels():
    levels = torch.arange(256).view(1, 1, 16, 16)
    assert torch.equal(as_dataset((levels / 255).half()).images, levels.to(torch.uint8))


@pytest.mark.parametrize(("item", "kind"), [({"image": np.zeros((4, 4), np.uint8)}, "dict"), ("0.png", "str")])
def test_what_is_no_image_is_named(item, kind):
    with pytest.raises(GanzooError, match=f"The dataset returns a {kind} for an image. An image is uint8"):
        as_dataset([item])


PIXELS = torch.zeros(10, 1, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    "pair",
    [
        (PIXELS, [0] * 10),
        [PIXELS, torch.zeros(10, dtype=torch.int64)],
        (PIXELS.numpy(), np.zeros(10, np.int64)),
        (PIXELS[:, 0].numpy(), [0] * 10),
        (PIXELS[:, 0].numpy(), np.zeros(10, np.int64)),
    ],
)
def test_images_and_labels_in_another_form_are_not_two_images(pair):
    with pytest.raises(GanzooError, match=r"The dataset returns images of .* two tensors, \(n, c, h, w\) and \(n,\)"):
        as_dataset(pair)
    assert len(as_dataset([PIXELS[0], PIXELS[1]])) == len(as_dataset([(PIXELS[0], 1), (PIXELS[1], 0)])) == 2


def test_no_images_are_refused():
    with pytest.raises(GanzooError, match=r"returned samples of shape \(0, 1, 28, 28\)"):
        as_dataset(torch.empty(0, 1, 28, 28))


def test_images_of_several_sizes_are_refused():
    class Items(TorchDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return np.zeros((4 + index, 4), np.uint8)

    with pytest.raises(GanzooError, match="differ in size"):
        as_dataset(Items())


def test_a_run_is_resumed_with_its_own_recipe_alone(tmp_path):
    recipe = ganzoo.recipe("vanilla-ring", train=QUICK, evaluate={"samples": 20})

    def stop(shown: int, losses: dict[str, float]) -> None:
        raise KeyboardInterrupt

    random_state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        ganzoo.train(recipe, out=tmp_path / "run", on_step=stop)
    other = ganzoo.recipe("vanilla-ring", train={**QUICK, "batch_size": 8})
    for wrong in ("vanilla-grid", Path("mine.yaml"), ganzoo.recipe("vanilla-grid")):
        with pytest.raises(GanzooError, match="belongs to the recipe 'vanilla-ring', not '"):
            ganzoo.train(wrong, resume_from=tmp_path / "run")
    for wrong in (other, ganzoo.recipe("vanilla-ring", train={**QUICK, "seed": 1})):
        with pytest.raises(
            GanzooError, match=r"was started with other settings. Give .* the name 'vanilla-ring' alone"
        ):
            ganzoo.train(wrong, resume_from=tmp_path / "run")
    for more in ({"out": tmp_path / "run"}, {"anyway": True}, {"dataset": "grid"}):
        with pytest.raises(GanzooError, match="A resumed run keeps its folder, its dataset"):
            ganzoo.train(recipe, resume_from=tmp_path / "run", **more)
    assert ganzoo.train(recipe, resume_from=tmp_path / "run").info["status"] == "done"
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_finished_run_is_trained_further_as_if_it_had_never_ended(tmp_path):
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    for name, dataset in (("vanilla-ring", None), ("vanilla-mnist", images)):
        recipe, longer = (
            ganzoo.recipe(name, train=train, optimizers={"default": {"name": "adam", "lr": 1e-3}}, evaluate=UNSCORED)
            for train in (QUICK, {**QUICK, "images": 2 * QUICK["images"]})
        )
        expected = ganzoo.train(longer, dataset=dataset, out=tmp_path / f"{name}-whole")
        ganzoo.train(recipe, dataset=dataset, out=tmp_path / name)
        further = ganzoo.train(longer, dataset=dataset, resume_from=tmp_path / name)
        assert torch.equal(further.sample(5), expected.sample(5))
        with pytest.raises(GanzooError, match=r"was started with other settings\. .* Only train"):
            ganzoo.train(ganzoo.recipe(name, train={**QUICK, "batch_size": 8}), resume_from=tmp_path / name)


def test_text_of_any_script_and_sign_is_taken_over():
    assert ganzoo.recipe("vanilla-mnist", summary="\U0001f4a1 und Süßes").summary == "\U0001f4a1 und Süßes"


def test_modes_of_torch_change_neither_samples_nor_scores(tmp_path):
    train, evaluate = {**QUICK, "images": 32, "log_every": 32}, {"samples": 20, "metrics": ["modes@ring"]}
    recipe = ganzoo.recipe("vanilla-ring", train=train, evaluate=evaluate)

    def work(out):
        run = ganzoo.train(recipe, out=out)
        points, codes = run.sample(20), torch.ones(2, 2, dtype=torch.float32, device="cpu")
        (score,) = ganzoo.evaluate(points, "modes@ring", "ring", device="cpu")
        return points.tolist(), run.generator.decode(codes).tolist(), score.value, run.scores[-1]["value"]

    expected = work(tmp_path / "usual")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.device("meta"):
            assert work(tmp_path / "other") == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_mapping_is_no_dataset():
    with pytest.raises(GanzooError, match="Not a dataset: dict. Give a registered dataset by its name alone"):
        as_dataset({"name": "image-folder", "path": "photos"})
