"""Plugins of other people, installed by pip for real. How they can be broken is in test_plugins.py, without pip."""

import json
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
from PIL import Image

# tests/contract/test_plugin_guide.py has a package that pip installed in every run.
pytestmark = pytest.mark.full
DEMO = Path(__file__).parent / "third_party" / "ganzoo-demo-plugin"
TRANSLATION = DEMO.with_name("ganzoo-translation-plugin")
SOUND = DEMO.with_name("ganzoo-sound-plugin")
SHORT = ["train.images=2560", "train.batch_size=128", "evaluate.samples=256"]


@dataclass(frozen=True)
class Environment:
    """A virtual environment that sees everything this one has, and what is installed into it."""

    folder: Path

    @property
    def python(self):
        return self.folder / "bin" / "python"

    def install(self, *distributions):
        """Build them and install them, from what is on this machine: the network is not asked."""
        offline = ["--no-index", "--no-deps", "--no-build-isolation"]
        self.call("-m", "pip", "install", "-q", *offline, *distributions).check_returncode()

    def ganzoo(self, *arguments):
        return self.call("-m", "ganzoo", *arguments)

    def json(self, *arguments, code=0):
        done = self.ganzoo(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def run(self, recipe, out, overrides):
        changes = [word for override in overrides for word in ("--set", override)]
        return self.ganzoo("run", recipe, *changes, "--out", out)

    def call(self, *arguments):
        # Far from the checkout: a plugin must not be found by standing beside it.
        return subprocess.run([self.python, *arguments], cwd=self.folder, capture_output=True, text=True)


def site_packages(python):
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())


def new_environment(folder):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    environment = Environment(folder)
    # addsitedir, and not the bare path: it also reads the .pth files in there, which is where editable installs are.
    ours = str(site_packages(sys.executable))
    (site_packages(environment.python) / "outer.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return environment


@pytest.fixture
def environment(tmp_path):
    return new_environment(tmp_path / "environment")


@pytest.fixture(scope="module")
def with_demo(tmp_path_factory):
    environment = new_environment(tmp_path_factory.mktemp("demo") / "environment")
    environment.install(DEMO)
    return environment


@pytest.fixture
def package(tmp_path):
    """Write the sources of a distribution whose one entry point names a package."""
    folder = tmp_path / "many-plugin"
    modules = folder / "src" / "many_plugin"
    modules.mkdir(parents=True)
    (modules / "__init__.py").write_text('"""Several plugins."""\n')
    (folder / "pyproject.toml").write_text(
        dedent("""\
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"
            [project]
            name = "many-plugin"
            version = "0.3.0"
            [project.entry-points.ganzoo]
            many = "many_plugin"
            [tool.hatch.build.targets.wheel]
            packages = ["src/many_plugin"]
            """)
    )

    def add(**plugins):
        for name, code in plugins.items():
            (modules / f"{name}.py").write_text(dedent(code))
        return folder

    return add


LOSS = """\
    from torch import Tensor

    from ganzoo import AdversarialLoss, hookimpl


    class Twin(AdversarialLoss):
        def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
            return fake.mean() - real.mean()

        def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
            return -fake.mean()


    @hookimpl
    def register_losses(register):
        register("{name}", Twin, summary="A loss")
    """


def test_everything_it_adds_is_listed_with_where_it_comes_from(with_demo):
    everything = with_demo.json("list")
    (loss,) = [entry for entry in everything if entry["name"] == "demo-savage"]
    assert loss["kind"] == "loss"
    assert loss["plugin"] == "demo"
    assert loss["paper"].startswith("Masnadi-Shirazi")
    listed = {(entry["kind"], entry["name"]) for entry in everything if entry["plugin"] == "demo"}
    assert listed == {
        ("loss", "demo-savage"),
        ("generator", "demo-enlarger"),
        ("recipe", "demo-mnist"),
        ("study", "demo-margins"),
    }
    assert "ganzoo-demo-plugin 1.2.3" in with_demo.ganzoo("plugins", "--json").stdout


def test_it_brings_a_command(with_demo):
    assert "Count the parameters of a run's generator." in with_demo.ganzoo("--help").stdout
    shown = with_demo.json("show", "zoo:flagship-mnist")
    assert with_demo.ganzoo("demo-size", "zoo:flagship-mnist").stdout == f"{shown['parameters']['generator']}\n"


def test_its_study_is_listed_runs_and_has_its_page(with_demo, tmp_path):
    (listed,) = [one for one in with_demo.json("study", "list") if one["name"] == "demo-margins"]
    assert (listed["kind"], listed["plugin"]) == ("study", "demo")
    shown = with_demo.json("study", "show", "demo-margins")
    assert [(cell["row"], cell["setting"]) for cell in shown["cells"]] == [("baseline", None), ("savage", None)]
    places = ["--results", tmp_path / "results", "--work", tmp_path / "work"]
    made = with_demo.json("study", "run", "demo-margins", "--quick", *places)
    assert [(claim["study"], claim["outcome"], claim["seeds"]) for claim in made["claims"]] == [
        ("demo-margins-quick", "open", 2)
    ]
    page = (tmp_path / "results" / "demo-margins-quick.html").read_text()
    assert "Does a bounded loss do better than the non-saturating one?" in page
    assert "Its claim is not decided yet." in page
    assert "Quick version" in page
    assert with_demo.json("study", "report", "demo-margins", "--quick", *places[:2]) == made
    plot = tmp_path / "margins.pdf"
    with_demo.json("study", "report", "demo-margins", "--quick", *places[:2], "--out", plot)
    assert plot.read_bytes().startswith(b"%PDF")


def assert_four_images(path, size):
    """Two by two images of this size, with gaps of two pixels; the first is not of one colour."""
    with Image.open(path) as picture:
        assert picture.size == (2 * size + 6, 2 * size + 6)
        low, high = picture.crop((2, 2, 2 + size, 2 + size)).getextrema()
    assert low < high


def test_its_recipe_trains(with_demo, tmp_path):
    done = with_demo.run("demo-mnist", tmp_path / "run", SHORT)
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (info["status"], info["images"]) == ("done", 2560)
    scores = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert {score["weights"] for score in scores} == {"ema", "raw"}
    assert all(score["value"] > score["floor"] for score in scores)
    sampled = with_demo.ganzoo("sample", tmp_path / "run", "--n", "4", "--out", tmp_path / "four.png")
    assert sampled.returncode == 0, sampled.stderr
    assert_four_images(tmp_path / "four.png", 28)


def added(environment):
    listed = environment.json("list", "losses")
    return {entry["plugin"]: entry["name"] for entry in listed if entry["name"].endswith("-loss")}


def test_a_module_that_is_added_to_an_editable_package_needs_no_reinstall(environment, package):
    environment.install("--editable", package(first=LOSS.format(name="first-loss")))
    assert added(environment) == {"first": "first-loss"}
    package(second_one=LOSS.format(name="second-loss"))
    assert added(environment) == {"first": "first-loss", "second-one": "second-loss"}
    failures = environment.json("check", "second-one", code=1)["failures"]
    assert {failure["check"] for failure in failures} == {"docstring", "paper"}


def test_one_that_adds_a_metric_a_prior_a_loss_and_a_dataset_with_sources_trains_and_is_scored(environment, tmp_path):
    environment.install(TRANSLATION)
    done = environment.ganzoo("list", "--json")
    assert (done.returncode, done.stderr) == (0, "")  # no plugin is refused
    listed = {(entry["kind"], entry["name"]) for entry in json.loads(done.stdout)}
    assert listed >= {("metric", "brightness"), ("prior", "sphere"), ("loss", "translation"), ("dataset", "inverted")}
    done = environment.run("translation-inverted", tmp_path / "run", [])
    assert done.returncode == 0, done.stderr
    scores = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert {score["metric"] for score in scores} == {"brightness@thumbnail", "fid@thumbnail"}
    (brightness,) = [s["value"] for s in scores if (s["metric"], s["weights"]) == ("brightness@thumbnail", "raw")]
    # Without its sources, or with those of other images, it would paint nothing or grey.
    assert brightness < 10
    sampled = environment.ganzoo("sample", tmp_path / "run", "--n", "4", "--out", tmp_path / "four.png")
    assert sampled.returncode == 0, sampled.stderr
    assert_four_images(tmp_path / "four.png", 16)
    checked = environment.json("check", "ganzoo-translation-plugin")
    assert checked["failures"] == []


@pytest.fixture(scope="module")
def with_sound(tmp_path_factory):
    environment = new_environment(tmp_path_factory.mktemp("sound") / "environment")
    environment.install(SOUND)
    return environment


@pytest.fixture(scope="module")
def sounding(with_sound, tmp_path_factory):
    """A run of a few steps, and its report."""
    run = tmp_path_factory.mktemp("sounding") / "run"
    done = with_sound.run("wavegan-tones", run, ["train.images=256", "train.batch_size=32", "evaluate.samples=600"])
    assert done.returncode == 0, done.stderr
    with_sound.json("report", run)
    return run


def test_a_modality_of_its_own_is_trained_scored_and_written_in_its_own_format(with_sound, sounding, tmp_path):
    info = json.loads((sounding / "run.json").read_text())
    assert (info["modality"], info["modality_options"], info["shape"]) == ("sound", {"rate": 8000}, [1, 4096])
    scores = [json.loads(line) for line in (sounding / "scores.jsonl").read_text().splitlines()]
    assert {score["metric"] for score in scores} == {"fid@log-mel", "coverage@log-mel", "tuning", "notes"}
    assert {score["protocol"]["quantised"] for score in scores} == {"int16"}
    floors = {score["metric"]: score["floor"] for score in scores}
    assert (floors["tuning"] < 1, floors["notes"]) == (True, 36)  # real tones are in tune, and all there
    for _ in range(2):  # its own file may be overwritten
        sampled = with_sound.ganzoo("sample", sounding, "--class", "kick", "--n", "4", "--out", tmp_path / "four.wav")
        assert sampled.returncode == 0, sampled.stderr
    with wave.open(str(tmp_path / "four.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 8000, 4 * 4096)
        assert len(set(file.readframes(4096))) > 1


def test_its_sounds_play_in_the_report(sounding, browser):
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((sounding / "report.html").as_uri())
    lengths = page.evaluate("""() => Promise.all([...document.querySelectorAll("audio")].map((audio) =>
      new Promise((resolve, reject) => {
        audio.onloadedmetadata = () => resolve(audio.duration);
        audio.onerror = () => reject(audio.error.message);
        audio.preload = "metadata";
      })))""")
    page.close()
    # A sound of each class beside each of two pictures, and 16 samples with their nearest training sounds.
    assert lengths == pytest.approx([6 * 4096 / 8000] * 2 + [4096 / 8000] * 32)
    assert complaints == []


def test_its_metric_hears_how_far_a_tone_is_from_a_note(with_sound):
    code = """
        import math, torch
        from ganzoo_sound.tones import C4, TIME, pitches
        cents = torch.tensor([0.0, 31.0, 1085.0])  # above C4, in hundredths of a semitone
        waves = torch.sin(2 * math.pi * C4 * 2 ** (cents[:, None] / 1200) * TIME) * torch.exp(-3 * TIME)
        heard = 1200 * (pitches(waves, 8000) / C4).log2()
        print((heard - cents).abs().max().item())
        """
    assert float(with_sound.call("-c", dedent(code)).stdout) < 0.5


def test_spoken_digits_say_what_they_need(with_sound, tmp_path):
    without = f"import os; os.environ.update(PATH='', GANZOO_CACHE={str(tmp_path)!r}); "
    done = with_sound.call("-c", without + "import ganzoo_sound.spoken_digits as d; d.spoken_digits('train', None)")
    assert "Spoken digits need eSpeak NG, which is not installed. Run `apt install espeak-ng`." in done.stderr


@pytest.mark.timeout(900)  # its networks are large by default, and every digit has to be spoken
def test_it_passes_every_check(with_sound):
    assert with_sound.json("check", "ganzoo-sound-plugin")["failures"] == []
