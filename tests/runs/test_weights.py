"""Pretrained generators, and runs that start from another run's weights."""

import importlib.util
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from ganzoo.cli.run import continuation
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import training_digest
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import Entry
from ganzoo.runs.api import _changes_on_resume
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load
from ganzoo.runs.loop import Callbacks
from ganzoo.runs.pretrained import published
from ganzoo.runs.records import read_checkpoint
from ganzoo.runs.start import resume, start
from ganzoo_reports.export import _command, publish
from ganzoo_studies.matrix import job_of

SMALL = ["train.images=512", "train.device=cpu", "train.engine=eager", "train.threads=1", "evaluate.samples=50"]
SMALL += ["evaluate.metrics=[quality@ring]", "evaluate.every_images=null", "train.checkpoint_seconds=0"]
DOCS = Path(__file__).parents[2] / "docs"
PRETRAINED = DOCS.parent / "plugins" / "ganzoo_plugins" / "pretrained"


def recipe_of(zoo, *overrides):
    return load_recipe("vanilla-ring", zoo, [*SMALL, *overrides])


@pytest.fixture(scope="module")
def source(zoo, tmp_path_factory):
    return start(recipe_of(zoo, "train.seed=3"), zoo, tmp_path_factory.mktemp("source") / "run")


@pytest.fixture(scope="module")
def card(zoo, source, tmp_path_factory):
    """The card of an exported generator."""
    out = tmp_path_factory.mktemp("zoo") / "tiny-ring.safetensors"
    publish(load(source.path, zoo=zoo), out, zoo)
    return out.with_suffix(".json")


@pytest.fixture
def registered(card):
    zoo = load_zoo()
    zoo.pretrained.add(Entry("pretrained", "tiny-ring", lambda: card, "Tiny", None, "tests", "ganzoo-bench 0.1.0"))
    yield zoo
    zoo.pretrained.discard("tiny-ring")


def test_a_card_shows_what_the_run_recorded(card, source):
    told = json.loads(card.read_text())
    (score,) = [score for score in source.final_scores() if score["weights"] == "ema"]
    assert [(one["value"], one["protocol"]) for one in told["scores"]] == [(score["value"], score["protocol"])]
    assert told["training"]["images"] == 512
    assert told["training"]["versions"]["torch"] == torch.__version__
    words = shlex.split(told["training"]["command"])
    assert words[:3] == ["ganzoo", "run", "vanilla-ring"]
    assert words[-2:] == ["--seed", "3"]
    again = load_recipe("vanilla-ring", load_zoo(), words[4:-2:2])
    assert training_digest(again) == training_digest(recipe_of(load_zoo()))
    assert told["recipe"]["train"]["images"] == 512
    assert told["run"]["class_names"] == source.info["class_names"]


def test_a_card_for_an_unregistered_recipe_asks_for_its_file(zoo):
    recipe = recipe_of(zoo, "train.seed=3")
    other = recipe.model_copy(update={"name": "of-mine"})
    assert _command(other, zoo) == "ganzoo run FILE.yaml --seed 3, with the recipe of this card as the file"
    assert _command(recipe_of(zoo, "loss=hinge"), zoo).startswith("ganzoo run vanilla-ring --set 'loss={")


def test_a_card_only_replaces_another_card(source, zoo, tmp_path):
    out = tmp_path / "mine.safetensors"
    publish(load(source.path, zoo=zoo), out, zoo)
    publish(load(source.path, zoo=zoo), out, zoo)
    out.with_suffix(".json").write_text("{}")
    with pytest.raises(GanzooError, match=r"mine\.json was not made by `ganzoo export`"):
        publish(load(source.path, zoo=zoo), out, zoo)
    assert out.with_suffix(".json").read_text() == "{}"


def test_an_exported_generator_is_three_files_and_no_run(source, tmp_path, call):
    out, card, beside = (tmp_path / f"gen{end}" for end in (".safetensors", ".json", "-discriminator.safetensors"))
    beside.write_bytes(b"mine")
    told = call("export", source.path, "--out", out)
    assert told == (
        2,
        "",
        f"{beside} was not made by `ganzoo export`, so it is not overwritten. Give another --out, or "
        "move that file away.\n",
    )
    assert beside.read_bytes() == b"mine"
    beside.unlink()
    told = call("export", source.path, "--out", out)[2]
    assert f"Saved to {out} (0.0 MB), its discriminator beside it, and its card to {card}.\n" in told
    assert "has not ended" not in told
    shown = json.loads(call("export", source.path, "--out", out, "--summary", "A ring\nof mine", "--json")[1])
    assert json.loads(card.read_text("utf-8"))["summary"] == "A ring of mine"
    assert shown == {"out": str(out), "bytes": out.stat().st_size, "card": str(card)}
    for arguments in (["sample", out, "--out", tmp_path / "a.png"], ["eval", card]):
        code, _, told = call(*arguments)
        assert code == 2
        assert str(arguments[1]) in told
    with pytest.raises(GanzooError, match=r"is not a run folder .* commands that only draw or score take zoo:NAME too"):
        load(out)
    checkpoint = sorted((source.path / "checkpoints").glob("*.safetensors"))[-1]
    with pytest.raises(GanzooError, match=r"is not a run folder \(no run\.json\)"):
        load(checkpoint)


def test_exporting_an_unfinished_run_says_so(source, tmp_path, call):
    copy = shutil.copytree(source.path, tmp_path / "run")
    facts = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**facts, "status": "interrupted"}))
    told = call("export", copy, "--out", tmp_path / "ring.safetensors")[2]
    assert "The run has not ended: these are its weights after 512 images." in told


def test_a_pretrained_generator_draws_what_its_run_does_in_half_the_space(registered, card, source, tmp_path, call):
    ours, whole = load("zoo:tiny-ring"), load(source.path)
    assert ours.weights == ("ema",)
    apart = (ours.sample(100) - whole.sample(100)).abs().max()
    assert 0 < apart < 2e-3
    told = json.loads(card.read_text())["weights"]
    assert told["largest_difference_of_half_precision"] == pytest.approx(
        (ours.sample(64) - whole.sample(64)).abs().max().item()
    )
    assert told["bytes"] < 0.6 * 4 * told["numbers"]
    drawn = call("sample", "zoo:tiny-ring", "--out", tmp_path / "z.npz", "--json")[1]
    assert json.loads(drawn)["images"] == 512
    scored = call("eval", "zoo:tiny-ring", "--samples", 50, "--no-interval", "--json")[1]
    assert json.loads(scored)["scores"][0]["weights"] == "ema"
    for entry in registered.pretrained:
        assert entry.create().with_suffix(".safetensors").stat().st_size < 3 * 2**20


def test_unknown_and_damaged_generators_are_one_line_errors(registered, card, tmp_path):
    with pytest.raises(GanzooError, match=r"Unknown pretrained generator 'tiny-rin'\. Did you mean 'tiny-ring'\?"):
        load("zoo:tiny-rin")
    copy = Path(shutil.copy(card, tmp_path / "damaged.json"))
    copy.with_suffix(".safetensors").write_bytes(card.with_suffix(".safetensors").read_bytes()[:-1])
    registered.pretrained.add(Entry("pretrained", "damaged", lambda: copy, "Damaged", None, "tests", "tests 0"))
    try:
        with pytest.raises(GanzooError, match="'damaged' cannot be read: the file of the weights is not the one"):
            load("zoo:damaged")
    finally:
        registered.pretrained.discard("damaged")


def test_the_command_starts_from_the_weights_that_it_names(source, tmp_path, call):
    sets = [word for override in SMALL for word in ("--set", override)]
    begun = ["--init-from", source.path, "--out", tmp_path / "run"]
    assert call("run", "vanilla-ring", *sets, *begun)[0] == 0
    run = RunFolder.open(tmp_path / "run")
    assert run.recipe(load_zoo()).train.init_from.source == str(source.path)
    for arguments, words in (
        (("--resume", run.path, "--init-from", source.path), "cannot be changed after a run has started"),
        (("--resume", run.path, "--out", tmp_path / "other"), "--out and --resume name different folders"),
        (("vanilla-grid", "--resume", run.path), "'vanilla-ring', not 'vanilla-grid'"),
    ):
        code, _, told = call("run", *arguments)
        assert code == 2
        assert words in told


def first_and_last(run):
    return (read_checkpoint(path).tensors for path in sorted((run.path / "checkpoints").glob("*.safetensors")))


def test_a_run_starts_from_another_s_weights_and_leaves_frozen_ones_unchanged(zoo, source, tmp_path):
    moved = shutil.copytree(source.path, tmp_path / "moved")
    overrides = [f"train.init_from={moved}", 'train.freeze=["discriminator.trunk.0.*"]', "train.images=256"]
    run = start(recipe_of(zoo, *overrides), zoo, tmp_path / "run")
    first, last = first_and_last(run)
    given = source.checkpoint().tensors
    weight = next(name.removeprefix("ema.") for name in given if name.startswith("ema.") and name.endswith("weight"))
    average, trained = ((last[f"{kind}.{weight}"] - first[f"{kind}.{weight}"]).norm() for kind in ("ema", "networks"))
    assert 0 < average < trained / 50  # the inherited average is kept
    weights = [name for name in given if name.startswith(("networks.", "ema."))]
    assert all(torch.equal(first[name], given[name]) for name in weights)
    same = {name for name in weights if torch.equal(first[name], last[name])}
    assert same == {name for name in weights if name.startswith("networks.discriminator.trunk.0.")}
    # The run is the same wherever the weights were; without them it is another one.
    named = run.recipe(zoo)
    assert job_of("vanilla-ring", zoo, [*SMALL, *overrides]).digest == training_digest(named)
    elsewhere = recipe_of(
        zoo, f"train.init_from={{source: gone, sha256: {named.train.init_from.sha256}}}", *overrides[1:]
    )
    assert training_digest(elsewhere) == training_digest(named) != training_digest(recipe_of(zoo, *overrides[1:]))


def assert_same(run, other):
    ours, theirs = run.checkpoint().tensors, other.checkpoint().tensors
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def test_an_interrupted_run_no_longer_needs_its_source(zoo, source, tmp_path):
    moved = shutil.copytree(source.path, tmp_path / "moved")
    recipe = recipe_of(zoo, f"train.init_from={moved}")
    whole = start(recipe, zoo, tmp_path / "whole")

    class Killed(BaseException):
        pass

    def kill(images, losses):
        raise Killed

    with pytest.raises(Killed):
        start(recipe, zoo, tmp_path / "run", callbacks=Callbacks(on_step=kill))
    shutil.rmtree(moved)
    begun = RunFolder.open(tmp_path / "run")
    assert continuation(begun, recipe, zoo) == []
    assert _changes_on_resume(begun, recipe, zoo, []) == []
    with pytest.raises(GanzooError, match="gone"):
        continuation(begun, recipe_of(zoo, f"train.init_from={tmp_path / 'gone'}"), zoo)
    assert_same(resume(begun.path, zoo), whole)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    description = tmp_path / "run" / "run.json"  # as if it had been killed before its first checkpoint
    description.write_text(json.dumps({**json.loads(description.read_text()), "saved_images": None}))
    (tmp_path / "run" / "scores.jsonl").unlink()
    with pytest.raises(GanzooError, match=f"No such run folder: {moved}"):
        resume(tmp_path / "run", zoo, overrides=["train.images=1024"])
    shutil.copytree(source.path, moved)  # they are there again, or were there all along
    assert_same(resume(begun.path, zoo), whole)


def test_a_pretrained_generator_is_fine_tuned_with_its_discriminator(registered, card, tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    said, recipe = [], recipe_of(registered, "train.init_from=zoo:tiny-ring", "train.images=256")
    first, _ = first_and_last(start(recipe, registered, tmp_path / "run", callbacks=Callbacks(log=said.append)))
    given = published(card, registered, with_discriminator=True)[2].tensors
    assert {name.split(".")[1] for name in given} == {"generator", "discriminator"}
    for name, tensor in given.items():
        assert torch.equal(first[name], tensor.float())
        assert torch.equal(first[name.replace("ema.", "networks.", 1)], tensor.float())
    assert not any("random weights" in one for one in said)

    judge = card.with_name("tiny-ring-discriminator.safetensors")
    content = judge.read_bytes()
    try:
        judge.write_bytes(content[:-1])
        with pytest.raises(
            GanzooError, match="'tiny-ring' cannot be read: the file of the discriminator is not the one"
        ):
            start(recipe, registered, tmp_path / "damaged")
        judge.unlink()
        with pytest.raises(
            GanzooError, match=r"leaves out the discriminator of zoo:tiny-ring\. `ganzoo download tiny-"
        ):
            start(recipe, registered, tmp_path / "missing")
        assert len(load("zoo:tiny-ring").sample(2)) == 2  # which needs no discriminator
    finally:
        judge.write_bytes(content)
    assert not (tmp_path / "damaged").exists()
    assert not (tmp_path / "missing").exists()


def test_a_pretrained_generator_without_a_discriminator_gets_a_new_one(registered, card, tmp_path):
    old = Path(shutil.copy(card.with_suffix(".safetensors"), tmp_path / "old-ring.safetensors")).with_suffix(".json")
    old.write_text(
        json.dumps({key: fact for key, fact in json.loads(card.read_text()).items() if key != "discriminator"})
    )
    registered.pretrained.add(Entry("pretrained", "old-ring", lambda: old, "Old", None, "tests", "tests 0"))
    said, recipe = [], recipe_of(registered, "train.init_from=zoo:old-ring", "train.images=256")
    try:
        start(recipe, registered, tmp_path / "run", callbacks=Callbacks(log=said.append))
    finally:
        registered.pretrained.discard("old-ring")
    assert "zoo:old-ring has no discriminator, so it starts from random weights." in said


def test_own_pictures_start_from_faces_or_are_told_what_differs(tmp_path, call):
    """``ganzoo run --data FOLDER --init-from zoo:faces``, with no recipe named."""
    for folder, mode, size in (("photos", "RGB", (32, 32)), ("scans", "L", (28, 20))):
        (tmp_path / folder).mkdir()
        for level in range(40):
            Image.new(mode, size, f"hsl({9 * level}, 80%, 50%)").save(tmp_path / folder / f"{level}.png")
    few = [
        word
        for one in ("train.images=128", "train.engine=eager", "train.threads=1", "evaluate.metrics=[]")
        for word in ("--set", one)
    ]
    few += ["--init-from", "zoo:faces", "--device", "cpu"]

    code, _, said = call("run", "--data", tmp_path / "photos", *few, "--out", tmp_path / "run")
    assert (code, "random weights" in said) == (0, False), said
    first, last = first_and_last(RunFolder.open(tmp_path / "run"))
    given = published(PRETRAINED / "faces.json", load_zoo(), with_discriminator=True)[2].tensors
    weights = {name: tensor for name, tensor in given.items() if name.endswith(".weight")}
    assert {name.split(".")[1] for name in weights} == {"generator", "discriminator"}
    assert [name for name, tensor in weights.items() if not torch.equal(first[name], tensor.float())] == []
    assert [name for name in weights if torch.equal(first[name], last[name])] == []

    code, _, said = call("run", "--data", tmp_path / "scans", *few, "--out", tmp_path / "grey")
    assert (code, (tmp_path / "grey").exists()) == (2, False)
    sentence = "zoo:faces was trained on 32x32 RGB images, and its generator does not fit 20x28 grey ones."
    remedy = "Convert the pictures: --set dataset.size=32 --set dataset.channels=3. Or start from random weights,"
    assert f"{sentence} {remedy} without --init-from.\n" in said
    pictures = load_zoo().datasets.get("image-folder")
    assert pictures.create("train", None, path=str(tmp_path / "scans"), largest=32, size=32, channels=3).shape == (
        3,
        32,
        32,
    )


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["networks.generator.hidden=[8]"],
            r"The generator of .* does not fit the recipe 'vanilla-ring': .*size mismatch for ",
        ),
        (["networks.generator.name=dcgan"], r"does not fit the recipe 'vanilla-ring': .*Missing key\(s\)"),
        (["networks.generator.norm=batch"], r"'vanilla-ring': .*Missing key\(s\).*Start from"),
        (['train.freeze=["discriminator.*"]'], "leaves the phase 'discriminator' nothing to train"),
        (['train.freeze=["discriminator.trnk.0.weight"]'], "no parameter is called .*Did you mean"),
        ([f"train.init_from.sha256={'0' * 64}"], "are not those that train.init_from.sha256 names"),
    ],
)
def test_what_does_not_fit_is_reported_before_a_folder_is_created(zoo, source, tmp_path, overrides, sentence):
    with pytest.raises(GanzooError, match=sentence):
        start(recipe_of(zoo, f"train.init_from={{source: {source.path}}}", *overrides), zoo, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_page_matches_the_command_that_writes_it(card, monkeypatch):
    spec = importlib.util.spec_from_file_location("make_pretrained", DOCS / "make_pretrained.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert (DOCS / "pretrained.md").read_text("utf-8") == maker.page(), "run python docs/make_pretrained.py"
    monkeypatch.setattr(maker, "CARDS", card.parent)
    assert "| `zoo:tiny-ring` | " in maker.page()


def test_our_generators_come_from_complete_runs_with_scores():
    cards = {path.stem: json.loads(path.read_text("utf-8")) for path in PRETRAINED.glob("*.json")}
    assert cards
    for name, told in cards.items():
        assert told["training"]["images"] >= told["recipe"]["train"]["images"], f"{name} was exported as it trained"
        rulers = ("mnist-ae", "mnist-cnn") if told["run"]["shape"] == [1, 28, 28] else ("pictures-ae",)
        assert {score["metric"] for score in told["scores"]} >= {f"fid@{ruler}" for ruler in rulers}, name
