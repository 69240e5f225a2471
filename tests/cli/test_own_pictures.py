"""``ganzoo run --data ./photos``: a folder or an archive of pictures, and nothing else."""

import inspect
import time

import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo import Dataset
from ganzoo.config.loading import load_recipe, recipe_for
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.training.trainer import Trainer
from ganzoo_plugins.datasets.image_folder import SLOWER, image_folder

SMALL = [
    *("networks.generator.width=4", "networks.discriminator.width=4", "train.batch_size=8", "train.threads=1"),
    *("train.device=cpu", "train.engine=eager"),
]


def draw(path, colour, size=(16, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def photos(tmp_path):
    for number in range(20):
        draw(tmp_path / "photos" / f"{number:02}.png", (number, 2 * number, 3 * number))
    return tmp_path / "photos"


def test_one_command_from_a_folder_to_samples(photos, tmp_path, done):
    settings = [word for text in [*SMALL, "train.images=16", "evaluate.samples=20"] for word in ("--set", text)]
    out = tmp_path / "run"
    _, err = done("run", "dcgan", "--data", photos, "--out", out, *settings)
    assert err.startswith(
        "The settings of the recipe 'dcgan-mnist' were chosen on the dataset 'mnist' and may fail on other pictures. "
        f"`ganzoo run --data {photos}` takes settings for any pictures.\ndcgan-photos: recipe dcgan-mnist on photos\n"
    )
    said = " ".join(err.split())
    assert (
        "Not scored by fid@pictures-ae, coverage@pictures-ae, recall@pictures-ae: at least 100 real images are needed, "
        "but there are only 2. Still measured: memorisation@pictures-ae. `ganzoo doctor` says how varied"
    ) in said
    assert {score["metric"] for score in RunFolder.open(out).scores()} == {"memorisation@pictures-ae"}
    assert "Training on 18 images, 16x16 RGB; 2 are held out." in err
    assert RunFolder.open(out).info["shape"] == [3, 16, 16]
    with Image.open(out / "samples" / "000000000016.png") as grid:
        assert grid.mode == "RGB"


def test_a_folder_alone_is_enough(photos, tmp_path, done):
    """It has fewer pictures than the recipe's batches."""
    settings = [*("networks.generator.width=4", "networks.discriminator.width=4"), "train.images=128"]
    words = [word for text in [*settings, "evaluate.samples=64"] for word in ("--set", text)]
    out = tmp_path / "run"
    _, err = done("run", "--data", photos, "--out", out, *words)
    assert err.startswith("pictures-photos: recipe pictures on photos\n")
    run = RunFolder.open(out)
    assert run.info["recipe"] == "pictures-photos"
    assert run.recipe(load_zoo()).dataset.options == {
        "path": str(photos),
        "size": "auto",
        "largest": 32,
        "channels": "auto",
    }
    assert {path.name for path in (out / "samples").iterdir()} == {"000000000000.png", "000000000128.png"}
    assert {score["metric"] for score in run.scores()} == {"memorisation@pictures-ae"}
    done("run", "--data", photos, "--out", out, *words, "--continue")
    done("sample", out, "--n", "64", "--out", tmp_path / "grid.png")


def test_it_is_enough_in_python_too(photos, tmp_path, refused):
    recipe = ganzoo.recipe("pictures", networks={"generator": {"width": 4}, "discriminator": {"width": 4}})
    run = ganzoo.train(recipe.with_train(images=64), dataset=str(photos), out=tmp_path / "run")
    assert run.folder.recipe(load_zoo()).dataset.options["largest"] == 32
    assert inspect.signature(ganzoo.train).parameters["recipe"].default == recipe.name
    remedy = "This recipe trains on your own pictures. Give their folder: --data FOLDER.\n"
    assert refused("run", "pictures").endswith(remedy)
    assert "needs a recipe. See `ganzoo list recipes`, or give --data FOLDER." in refused("run")


def test_mixed_photographs_are_a_sentence_for_each_kind(tmp_path, done):
    """Three hundred files as they come from a phone, a scanner and the web."""
    photos = tmp_path / "photos"
    photos.mkdir()
    upright = Image.Exif()
    upright[0x0112] = 6
    for number in range(300):
        size = (160 + number, 120 + 7 * (number % 30))
        colours = Image.linear_gradient("L").resize(size)
        picture = Image.merge("RGB", (colours, colours.rotate(180), Image.new("L", size, number % 256)))
        if number % 10 == 3:
            picture.save(photos / f"{number}.jpg", exif=upright)
        elif number % 10 == 5:
            picture.convert("L").save(photos / f"{number}.jpg")
        elif number % 10 == 7:
            picture.putalpha(colours)
            picture.save(photos / f"{number}.png")
        else:
            picture.save(photos / f"{number}.jpg")
    broken = photos / "0.jpg"
    broken.write_bytes(broken.read_bytes()[:1000])
    settings = [*("networks.generator.width=4", "networks.discriminator.width=4"), "train.images=128"]
    words = [word for text in [*settings, "evaluate.samples=64"] for word in ("--set", text)]
    _, err = done("run", "--data", photos, "--out", tmp_path / "run", *words)
    for sentence in (
        "30 of the 300 pictures are turned upright, as their EXIF tag says.",
        "30 of the 300 pictures are grey, and trained on in colour like the others.",
        "30 of the 300 pictures are laid on white, since they may be transparent.",
        "The pictures are cropped to squares around their middle.",
        "The pictures are scaled to 32x32. With --set dataset.largest=64, training takes about 5 times as long.",
        f"Left out: The picture {broken} cannot be read (",
        "Training on 269 images, 32x32 RGB; 30 are held out.",
    ):
        assert err.count(sentence) == 1, sentence
    for number in range(1, 40):
        (photos / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(GanzooError, match=r"More than a tenth of the pictures cannot be read\. The pic"):
        image_folder("train", None, path=str(photos), size="auto")


@pytest.mark.full
def test_what_the_sentence_about_larger_pictures_says_is_measured(zoo):
    def seconds(side):
        images = torch.zeros(64, 3, side, side, dtype=torch.uint8)
        recipe = load_recipe("pictures", zoo, ["train.precision=fp32"])
        trainer = Trainer(recipe, zoo, dataset=Dataset("image-folder", "train", images))
        trainer.step()
        before = time.process_time()
        for _ in range(8):
            trainer.step()
        return time.process_time() - before

    assert pytest.approx(seconds(64) / seconds(32), rel=0.25) == SLOWER


def test_a_path_in_place_of_a_datasets_name(photos, zoo, monkeypatch):
    monkeypatch.chdir(photos.parent)
    recipe = load_recipe("dcgan-mnist", zoo, ["dataset=./photos", "dataset.size=8"])
    assert recipe.dataset.name == "image-folder"
    assert recipe.dataset.options == {"path": str(photos), "size": 8, "largest": None, "channels": "auto"}
    assert recipe.evaluate.metrics[0] == "fid@pictures-ae"
    with pytest.raises(GanzooError, match="Unknown dataset 'mnits'"):
        load_recipe("dcgan-mnist", zoo, ["dataset=mnits"])


def test_of_several_recipes_named_after_a_method_the_one_for_mnist_is_meant(photos, zoo):
    recipe = recipe_for(photos, "vanilla", zoo)
    assert recipe.summary == f"recipe vanilla-mnist on {photos.name}"
    assert recipe.name == f"vanilla-{photos.name}"
    with pytest.raises(GanzooError, match="Unknown recipe 'pacgan'"):  # a ring and stacked digits, but no plain ones
        recipe_for(photos, "pacgan", zoo)
    with pytest.raises(GanzooError, match=r"No such file or folder: .*nowhere\. Check --data\."):
        recipe_for(photos.parent / "nowhere", "dcgan", zoo)


@pytest.mark.parametrize(
    ("sizes", "found"),
    [([(16, 12)], (12, 16)), ([(20, 30), (100, 40)], (16, 16)), ([(500, 300)], (64, 64)), ([(9, 7), (8, 8)], (8, 8))],
)
def test_the_size_that_suits_all_pictures(tmp_path, sizes, found):
    for number in range(20):
        draw(tmp_path / f"{number}.png", (1, 2, 3), sizes[number % len(sizes)])
    assert image_folder("train", None, path=str(tmp_path), size="auto").images.shape[2:] == found


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([(28, 28)], (28, 28)),
        ([(20, 30)], (30, 20)),
        ([(64, 64)], (32, 32)),
        ([(400, 300), (805, 600)], (24, 32)),
        ([(300, 400)], (32, 24)),
        ([(400, 300), (300, 400)], (32, 32)),
        ([(900, 300)], (32, 32)),
    ],
)
def test_with_a_largest_side_pictures_of_one_shape_keep_it(tmp_path, sizes, found):
    for number in range(20):
        draw(tmp_path / f"{number}.png", (1, 2, 3), sizes[number % len(sizes)])
    images = image_folder("train", None, path=str(tmp_path), size="auto", largest=32).images
    assert images.shape == (18, 3, *found)


def test_the_picture_that_shrinks_all_others_is_named(tmp_path, caplog):
    for number in range(20):
        draw(tmp_path / f"{number}.png", (1, 2, 3), (9, 10) if number in (6, 7) else (40, 70))
    for split in ("train", "test"):
        assert image_folder(split, None, path=str(tmp_path), size="auto").images.shape[2:] == (8, 8)
    cropped, warning = (record.getMessage() for record in caplog.records)
    assert cropped == "The pictures are cropped to squares around their middle."
    assert warning == (
        f"dataset.size: auto makes all pictures 8x8, because {tmp_path / '7.png'} is 9 pixels wide and 10 high. Most "
        "would allow 32x32: remove the small ones, or set dataset.size=32."
    )
    image_folder("train", None, path=str(tmp_path), size=16, channels="auto")
    assert len(caplog.records) == 2


def test_one_small_picture_is_scaled_up_instead_of_shrinking_all_others(tmp_path, caplog):
    for number in range(20):
        draw(tmp_path / f"{number}.png", (1, 2, 3), (9, 10) if number == 7 else (40, 40))
    assert image_folder("train", None, path=str(tmp_path), size="auto").images.shape[2:] == (32, 32)
    assert "1 of the 20 pictures is smaller than 32x32, and scaled up." in caplog.messages


@pytest.mark.parametrize(
    ("mode", "colour", "shown"),
    [
        ("L", 100, [100]),
        ("LA", (0, 0), [255, 255, 255]),  # transparent, so white, and laid on it in colour
        ("RGBA", (200, 0, 0, 0), [255, 255, 255]),
        ("RGBA", (200, 10, 0, 255), [200, 10, 0]),
        ("I;16", 0x8000, [128]),
    ],
)
def test_grey_colour_and_transparency(tmp_path, mode, colour, shown):
    for number in range(10):
        draw(tmp_path / f"{number}.png", colour, mode=mode)
    images = image_folder("test", None, path=str(tmp_path), size="auto", channels="auto").images
    assert images[0, :, 0, 0].tolist() == (shown if mode != "LA" else shown[:1])


def test_pictures_beside_classes_are_refused_and_hidden_files_ignored(photos):
    draw(photos / ".thumbnails" / "0.png", (0, 0, 0))
    (photos / "._0.png").write_bytes(b"left by a Mac")
    assert len(image_folder("train", None, path=str(photos))) == 18
    draw(photos / "old" / "0.png", (0, 0, 0))
    with pytest.raises(GanzooError, match=r"has pictures next to the subfolder old\."):
        image_folder("train", None, path=str(photos))


def test_a_file_that_is_no_archive_is_called_so(tmp_path):
    packed = tmp_path / "photos.zip"
    packed.write_bytes(b"not an archive")
    with pytest.raises(GanzooError, match="cannot be read as a zip archive"):
        image_folder("train", None, path=str(packed))


@pytest.mark.parametrize("other", ["dataset=mnist", "dataset.name=mnist", "dataset.path=elsewhere"])
def test_other_pictures_beside_one_s_own_are_refused(photos, zoo, other):
    with pytest.raises(GanzooError, match=f"--data already chooses the pictures, so --set {other} cannot"):
        recipe_for(photos, "dcgan", zoo, [other])
