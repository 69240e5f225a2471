"""Discovery over real distributions: metadata and modules on sys.path, as installers leave them there."""

import importlib
import pkgutil
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from ganzoo import Dataset
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, foreign_code
from ganzoo.registry import loading
from ganzoo.registry.loading import OURS, load_zoo
from ganzoo.registry.registry import KINDS
from ganzoo.training.trainer import Trainer
from ganzoo_checks.contract import plugin_checks

ROOT = Path(__file__).parents[1]
RECIPE = "summary: A recipe\npaper: Someone 2020\n"
LOSS = """\
    from ganzoo import hookimpl

    def make(*, slope: float = 1.0):
        return slope

    @hookimpl
    def register_losses(register):
        register("{name}", make, summary="A loss", paper="Someone 2020")
    """


def write_metadata(site, distribution, version, points):
    """What pip leaves of a distribution with these entry points beside its modules."""
    folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text("\n".join(["[ganzoo]", *points]) + "\n")
    importlib.invalidate_caches()


@contextmanager
def installer(site):
    """A function that lays out a distribution of one module a plugin, as pip would have left it."""
    site.mkdir()
    modules = []

    def lay_out(distribution, version="1.0", **plugins):
        points = []
        for name, code in plugins.items():
            module = re.sub(r"[-.]", "_", f"{distribution}_{name}_module")
            modules.append(module)
            (site / f"{module}.py").write_text(dedent(code))
            points.append(f"{name.replace('_', '-')} = {module}")
        write_metadata(site, distribution, version, points)
        return site

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield lay_out
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def install(tmp_path):
    with installer(tmp_path / "site") as lay_out:
        yield lay_out


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Lay out a distribution whose one entry point, ``whole``, names a package."""
    site = tmp_path / "site of packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    known = set(sys.modules)

    def lay_out(name, **files):
        for path, code in {"__init__": "", **files}.items():
            file = site / f"{name}_modules" / f"{path.replace('__in__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(code))
        write_metadata(site, name, "1.0", [f"whole = {name}_modules"])
        return site / f"{name}_modules"

    yield lay_out
    for module in set(sys.modules) - known:
        if "_modules" in module:
            del sys.modules[module]


iter_modules = pkgutil.iter_modules
FEW = ("losses", "losses.hinge", "losses.vanilla", "networks", "networks.mlp", "datasets", "datasets.datasets")


def few_of_ours(path, prefix):
    """A handful, because each test loads them again: test_our_own_plugins_are_all_well has the rest."""
    ours = "ganzoo_plugins."
    modules = iter_modules(path, prefix)
    return (one for one in modules if not one.name.startswith(ours) or one.name.removeprefix(ours) in FEW)


def zoo():
    """A fresh one: the shared one was loaded before the test's distributions were there. It has few of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pkgutil, "iter_modules", few_of_ours)
        return load_zoo.__wrapped__()


def only_problem(found):
    (problem,) = found.problems
    assert "\n" not in problem.sentence
    return problem


def plugin_named(found, name):
    return [plugin for plugin in found.plugins if plugin.name == name]


def test_ours_come_first_then_others_by_distribution_and_name(install):
    install("zebra", a=LOSS.format(name="zebra-a"))
    install("ant", z=LOSS.format(name="ant-z"), b=LOSS.format(name="ant-b"))
    names = [(plugin.distribution.split()[0], plugin.name) for plugin in zoo().plugins]
    ours, others = names[:-3], names[-3:]
    assert others == [("ant", "b"), ("ant", "z"), ("zebra", "a")]
    assert {distribution for distribution, _ in ours} == {OURS}
    assert ours[0] == (OURS, "ganzoo-priors")  # what ganzoo itself registers
    assert ours[2:] == sorted(ours[2:])


def test_a_helper_beside_hooks_may_have_a_name_like_a_hook_s(install):
    install("ant", ant=losses(GOOD_THEN) + "def register_blocks(blocks): ...\n")
    found = zoo()
    assert found.problems == []
    assert "good-loss" in found.losses


def test_a_plugin_may_be_an_object_in_a_module(install):
    code = """\
        from ganzoo import hookimpl

        class Plugin:
            @hookimpl
            def register_losses(self, register):
                register("object-loss", dict, summary="A loss")

        plugin = Plugin()
        """
    site = install("object-package", objects=code)
    points = site / "object_package-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("_module", "_module:plugin"))
    assert zoo().losses.get("object-loss").plugin == "objects"


IMPORT = "from ganzoo import hookimpl\n"
GOOD_THEN = 'register("good-loss", dict, summary="A loss")\n'


def losses(*body):
    return IMPORT + "@hookimpl\ndef register_losses(register):\n    " + "\n    ".join(body) + "\n"


BROKEN = [
    (
        "raise RuntimeError('a cable\\nis loose')",
        ["could not be imported", "RuntimeError: a cable is loose (broken_0_broken_0_module.py, line 1: `raise"],
    ),
    ("raise SystemExit('gone')", ["could not be imported", "SystemExit: gone"]),
    ("import pytest\npytest.importorskip('not_there_at_all')", ["could not be imported", "Skipped"]),
    ("raise MemoryError('too much')", ["could not be imported", "MemoryError: too much"]),
    ("from ganzoo import GanzooError\nraise GanzooError('No jax here.', 'Install it.')", ["No jax here. Install"]),
    ("import not_there_at_all", ["ModuleNotFoundError", "not_there_at_all"]),
    ("def oops(:", ["SyntaxError"]),
    ("x = 1", ["implements no hook", "register_generators"]),
    ("def register_losses(register): ...", ["implements no hook", "register_losses", "@ganzoo.hookimpl"]),
    (losses(GOOD_THEN) + "def register_priors(register): ...", ["has register_priors without @hookimpl. Decorate"]),
    (
        IMPORT + "@hookimpl\ndef register_loses(register): ...",
        ["'register_loses'", "not a hook", "Did you mean 'register_losses'?"],
    ),
    (IMPORT + "@hookimpl\ndef register_objectives(register): ...", ["Did you mean 'register_losses'?"]),
    (IMPORT + "@hookimpl\ndef register_critics(register): ...", ["Did you mean 'register_discriminators'?"]),
    (IMPORT + "@hookimpl\ndef register_callbacks(register): ...", ["Did you mean 'register_trackers'?"]),
    (IMPORT + "@hookimpl\ndef register_xyz(register): ...", ["Hooks are register_generators, "]),
    (
        IMPORT + "@hookimpl\ndef register_losses(registrar): ...",
        ["failed while registering", "register_losses(registrar)", "{'registrar'}"],
    ),
    (
        losses(GOOD_THEN, "raise ValueError('half way')"),
        ["failed while registering", "ValueError: half way (broken_16_", ".py, line 6: `raise Val"],
    ),
    (losses(GOOD_THEN, "raise SystemExit(3)"), ["failed while registering", "SystemExit: 3"]),
    (losses(GOOD_THEN, "raise BaseException('panic')"), ["failed while registering", "BaseException: panic"]),
    (
        losses(GOOD_THEN, 'register("bad", dict, summary="A loss", aliases="lsgan")'),
        ["'bad'", "aliases='lsgan'", "Write aliases=('lsgan',)"],
    ),
    (losses(GOOD_THEN, 'register("Bad Name", dict, summary="A loss")'), ["'Bad Name'", "malformed"]),
    (losses(GOOD_THEN, 'register("bad", 3, summary="A loss")'), ["'bad' was registered with an instance of int"]),
    (losses(GOOD_THEN, 'register("bad", dict, summary="")'), ["'bad'", "summary"]),
    (
        losses(GOOD_THEN, 'register("bad", dict)'),
        ["The loss 'bad' has no one-line summary. Register it with summary=\"...\"."],
    ),
    (losses(GOOD_THEN, 'register("bad", dict, sumary="A loss")'), ["TypeError: register() got", "'sumary'"]),
    (losses(GOOD_THEN, GOOD_THEN), ["'good-loss'", "already registered"]),
    (losses(GOOD_THEN, 'register("minimax", dict, summary="A loss")'), ["'minimax'", "'vanilla'"]),
    (
        losses(GOOD_THEN, 'register("bad", lambda *, size: size, summary="A loss")'),
        ["loss 'bad'", "'size'", "Annotate"],
    ),
    (
        losses(GOOD_THEN) + "@hookimpl\ndef register_recipes(register):\n    register('/not/there.yaml')\n",
        ["No such file: /not/there.yaml"],
    ),
    (
        losses(GOOD_THEN) + "@hookimpl\ndef register_recipes(register):\n    register('x-mnist.yaml')\n",
        ["recipe x-mnist.yaml is registered by a relative path", 'Write Path(__file__).parent / "x-mnist.yaml" or'],
    ),
    (
        losses(GOOD_THEN) + "@hookimpl\ndef register_recipes(register):\n    register(None)\n",
        ["failed while registering", "TypeError"],
    ),
]
"""The code of a plugin, and words of the sentence about it."""


@pytest.fixture(scope="module")
def with_broken(tmp_path_factory):
    """Everything that is registered where each of them is installed, and one that is well."""
    with installer(tmp_path_factory.mktemp("broken") / "site") as install:
        for number, (code, _) in enumerate(BROKEN):
            install(f"broken-{number}", **{f"broken_{number}": code})
        install("other-package", other=LOSS.format(name="other-loss"))
        return zoo()


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, (_, words) in enumerate(BROKEN)])
def test_a_broken_plugin_is_one_sentence(with_broken, number, words):
    name = f"broken-{number}"
    (problem,) = [problem for problem in with_broken.problems if problem.plugin == name]
    assert problem.distribution == f"{name} 1.0"
    assert "\n" not in problem.sentence
    assert all(word in problem.sentence for word in [f"'{name}'", f"{name} 1.0", *words]), problem.sentence
    assert plugin_named(with_broken, name) == []


def test_nothing_of_broken_plugins_is_kept_and_all_of_the_others(with_broken):
    assert len(with_broken.problems) == len(BROKEN)
    assert "good-loss" not in with_broken.losses
    assert "other-loss" in with_broken.losses
    assert with_broken.losses.get("minimax").plugin == "vanilla"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", [".yaml, line "]),
        ("paper: x\n", ["summary"]),
        ("summary: x\npaper: 3\n", ["paper"]),
        ("", ["empty"]),
    ],
)
def test_a_broken_recipe_is_refused_with_its_plugin(install, content, words):
    code = IMPORT + (
        "from pathlib import Path\n@hookimpl\ndef register_recipes(register):\n"
        "    for path in sorted(Path(__file__).parent.glob('*.yaml')):\n        register(path)\n"
    )
    site = install("broken-package", broken=code)
    (site / "a-good.yaml").write_text(RECIPE)
    (site / "b-broken.yaml").write_text(content)
    found = zoo()
    assert all(word in only_problem(found).sentence for word in ["b-broken", *words]), only_problem(found)
    assert "a-good" not in found.recipes


def test_an_unknown_name_points_to_refused_plugins(install):
    install("broken-package", broken="raise RuntimeError")
    with pytest.raises(GanzooError, match=r"Unknown loss 'brokn'.*'broken'.*`ganzoo plugins`"):
        zoo().losses.get("brokn")


def test_two_entry_points_of_one_name_are_both_named(install):
    install("ant", twin=LOSS.format(name="ant-loss"))
    install("bee", twin=LOSS.format(name="bee-loss"))
    found = zoo()
    words = ("'twin'", "ant 1.0", "bee 1.0", "Rename one of the entry points")
    assert all(word in only_problem(found).sentence for word in words)
    assert "ant-loss" in found.losses
    assert "bee-loss" not in found.losses


def external(found):
    theirs = [plugin for plugin in found.plugins if plugin.distribution.split()[0] != OURS]
    return {plugin.name: [entry.name for entry in plugin.registered] for plugin in theirs}


def test_a_package_s_modules_with_hooks_are_plugins_named_after_them(package):
    package(
        "ant",
        second_one=LOSS.format(name="second"),
        deep__in____init__="",
        deep__in__first=LOSS.format(name="first"),
        helper="def help(): ...",
        _private="raise RuntimeError('imported')",
        borrows="from torch.nn.utils.parametrize import register_parametrization",
    )
    found = zoo()
    assert found.problems == []
    assert external(found) == {"first": ["first"], "second-one": ["second"]}
    entry = found.losses.get("second")
    assert (entry.plugin, entry.distribution) == ("second-one", "ant 1.0")


def test_a_package_with_hooks_is_one_plugin_and_its_modules_are_its_own_business(package):
    package("ant", __init__=LOSS.format(name="whole-loss"), part=LOSS.format(name="part-loss"), torn="1 / 0")
    found = zoo()
    assert found.problems == []
    assert external(found) == {"whole": ["whole-loss"]}


@pytest.mark.parametrize("distribution", ["ant-package 1.0", "ant-package"])  # without a version: not installed
def test_a_package_is_checked_by_its_name_whether_or_not_its_version_is_known(distribution):
    found = loading.Zoo(plugins=[loading.PluginInfo("ant", distribution, [], "ant_module")])
    for name in ("ant-package", "Ant_Package", "ANT"):
        assert {check.plugin for check in plugin_checks(name, found)} == {"ant"}
    with pytest.raises(GanzooError, match="Did you mean 'ant-package'?"):
        plugin_checks("ant-packages", found)
    with pytest.raises(GanzooError, match="Unknown plugin ''"):
        plugin_checks("", found)


def test_a_subpackage_with_hooks_is_one_plugin_and_broken_modules_are_named(package):
    inner = {"deep__in____init__": LOSS.format(name="deep-loss"), "deep__in__part": LOSS.format(name="part-loss")}
    torn = {"torn_one": losses(GOOD_THEN, "1 / 0"), "torn__in____init__": "1 / 0", "torn__in__part": LOSS}
    package("ant", **inner, **torn, well=LOSS.format(name="well-loss"))
    found = zoo()
    assert {(problem.plugin, problem.distribution) for problem in found.problems} == {
        ("torn-one", "ant 1.0"),
        ("torn", "ant 1.0"),
    }
    assert external(found) == {"deep": ["deep-loss"], "well": ["well-loss"]}


def test_a_package_that_leads_to_no_plugin_is_a_problem(package):
    package("ant", helper="def help(): ...")
    problem = only_problem(zoo())
    assert problem.plugin == "whole"
    assert "implements no hook" in problem.sentence


def test_two_modules_of_one_name_are_both_named(package):
    inner = {"a__in____init__": "", "a__in__twin": LOSS.format(name="a"), "b__in____init__": ""}
    package("ant", **inner, b__in__twin=LOSS.format(name="b"))
    found = zoo()
    sentence = only_problem(found).sentence
    assert all(word in sentence for word in ("'twin'", "ant_modules.a.twin", "ant_modules.b.twin")), sentence
    assert external(found) == {"twin": ["a"]}


def test_the_allow_list_takes_entry_points_and_packages_and_imports_no_others(package, monkeypatch):
    package("ant", __init__="raise RuntimeError('imported all the same')")
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-bench")
    assert zoo().problems == []
    assert "ant_modules" not in sys.modules
    for word in ("whole", "ant"):
        monkeypatch.setenv("GANZOO_PLUGINS", word)
        assert "imported all the same" in only_problem(zoo()).sentence


def test_our_wheel_ships_recipes_and_data_with_the_modules():
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    with builder.config.set_build_data({"artifacts": [], "force_include": {}, "build_hooks": ()}):
        shipped = {file.distribution_path for file in builder.recurse_included_files()}
    ours = ROOT / "plugins"
    present = {path for path in (ours / "ganzoo_plugins").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {path.suffix for path in present} >= {".py", ".yaml", ".xz", ".safetensors"}
    left_out = {path for path in present if path.relative_to(ours).as_posix() not in shipped}
    # Most pretrained weights are downloaded on request.
    assert {(path.parent.name, path.suffix) for path in left_out} == {("pretrained", ".safetensors")}


def test_the_allow_list_concerns_others_alone(install, monkeypatch):
    install("ant-package", ant=LOSS.format(name="ant-loss"))
    install("bee.package", bee=LOSS.format(name="bee-loss"), fly=LOSS.format(name="fly-loss"))
    install("cow-package", cow="raise RuntimeError('imported all the same')")

    def allowed(value):
        monkeypatch.setenv("GANZOO_PLUGINS", value)
        found = zoo()
        assert found.problems == []
        assert "minimax" in found.losses
        return {name for name in ("ant-loss", "bee-loss", "fly-loss") if name in found.losses}

    assert allowed("ant") == {"ant-loss"}
    assert allowed(" ant , bee ,") == {"ant-loss", "bee-loss"}
    assert allowed("Bee_Package") == {"bee-loss", "fly-loss"}
    assert allowed("ant-package,ganzoo-bench") == {"ant-loss"}
    assert allowed("") == set()


def test_a_name_in_the_allow_list_that_matches_nothing(install, monkeypatch):
    install("ant-package", ant=LOSS.format(name="ant-loss"))
    monkeypatch.setenv("GANZOO_PLUGINS", "ant-packag")
    with pytest.raises(GanzooError, match=r"'ant-packag'\. Did you mean 'ant-package'\? GANZOO_PLUGINS names it\."):
        zoo()
    monkeypatch.setenv("GANZOO_PLUGINS", "zzzz")
    with pytest.raises(GanzooError, match=r"'zzzz'\. Known: .*ant-package.*\. GANZOO_PLUGINS names it\. Unset it, or"):
        zoo()


def test_a_malformed_entry_point_is_a_problem(install, call, monkeypatch):
    site = install("odd-package", odd=LOSS.format(name="odd-loss"))
    (site / "odd_package-1.0.dist-info" / "entry_points.txt").write_text("[ganzoo]\nbad = odd:::\n")
    sentence = only_problem(zoo()).sentence
    assert "has the malformed entry point 'odd:::'. Write package.module." in sentence
    monkeypatch.setattr("ganzoo.registry.loading.load_zoo", lambda: 1 / 0)
    code, _, err = call("list")
    assert (code, "ZeroDivisionError" in err) == (1, True)  # not an error in saying whose mistake it is


@pytest.mark.parametrize(("value", "on"), [("1", True), ("true", True), ("0", False), ("", False), ("false", False)])
def test_external_plugins_can_be_switched_off(install, monkeypatch, value, on):
    install("ant-package", ant=LOSS.format(name="ant-loss"))
    monkeypatch.setenv("GANZOO_DISABLE_EXTERNAL_PLUGINS", value)
    found = zoo()
    assert ("ant-loss" in found.losses) is not on
    assert "minimax" in found.losses


def test_what_a_plugin_prints_stays_off_standard_output(install, capsys):
    install("loud-package", loud="print('importing')\n" + losses("print('registering')", GOOD_THEN))
    assert "good-loss" in zoo().losses
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "importing" in captured.err
    assert "registering" in captured.err


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("raise KeyboardInterrupt", KeyboardInterrupt),
        ("raise SystemExit(143)", SystemExit),
        (losses("raise SystemExit(143)"), SystemExit),
    ],
)
def test_a_signal_while_plugins_load_ends_the_command_and_is_not_the_plugin_s_fault(install, code, ended):
    install("slow-package", slow=code)
    with pytest.raises(ended):
        zoo()


PROXY = """\
    class Proxy:
        @property
        def __class__(self):
            raise RuntimeError("outside of a request")

    request = Proxy()
    """


def test_a_plugin_s_object_that_breaks_when_it_is_looked_at_is_a_problem(install):
    site = install("odd-package", odd=PROXY, well=LOSS.format(name="well-loss"))
    points = site / "odd_package-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("odd_module", "odd_module:request"))
    found = zoo()
    assert "RuntimeError: outside of a request" in only_problem(found).sentence
    assert external(found) == {"well": ["well-loss"]}


@pytest.mark.parametrize("file", ["entry_points.txt", "METADATA"])
def test_a_package_with_damaged_metadata_is_a_sentence(install, file):
    site = install("odd-package", odd=LOSS.format(name="odd-loss"))
    (site / "odd_package-1.0.dist-info" / file).write_bytes(b"\xff\xfe = x\n")
    with pytest.raises(GanzooError, match=r"The metadata of an installed package is damaged \(.*reinstall it"):
        zoo()


def test_our_own_plugins_are_all_well():
    found = load_zoo()
    assert found.problems == []
    assert {plugin.name for plugin in found.plugins} >= {"vanilla", "mlp", "datasets"}
    assert len({registry.kind for registry in found.registries()}) == len(KINDS)


FAULTY = """\
    import torch
    from ganzoo import AdversarialLoss, Regularizer, hookimpl

    class Faulty(AdversarialLoss):
        def __init__(self, *, fault: str) -> None:
            super().__init__()
            self.fault = fault

        def discriminator(self, real, fake):
            if self.fault == "a name":
                return undefined + real.mean()
            vector = fake - real
            found = {"a vector": vector, "a float": 1.0, "nothing": None, "no gradient": vector.mean().detach()}
            return found[self.fault]

        def generator(self, real, fake):
            return fake.mean()

    class Vectors(Regularizer):
        def penalty(self, context):
            return context.critic(context.real)

    @hookimpl
    def register_losses(register):
        register("faulty", Faulty, summary="A loss with a fault", paper="Someone 2020")

    @hookimpl
    def register_regularizers(register):
        register("vectors", Vectors, summary="A penalty that is no scalar", paper="Someone 2020")
    """


SHORT = ["train.images=16", "train.batch_size=8", "evaluate.metrics=[]", "train.device=cpu", "train.precision=fp32"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("loss={name: faulty, fault: a vector}", "The loss in the phase 'discriminator' is a tensor of shape (8,);"),
        ("loss={name: faulty, fault: a float}", "The loss in the phase 'discriminator' is of type float;"),
        ("loss={name: faulty, fault: nothing}", "The loss in the phase 'discriminator' is of type NoneType;"),
        ("loss={name: faulty, fault: no gradient}", "The loss in the phase 'discriminator' is a number without a"),
        ("regularizers=[vectors]", "The phase 'discriminator' logs 'vectors', a tensor of shape (8,)."),
        ("regularizers=[{name: vectors, every_steps: 2}]", "The phase 'discriminator/vectors' logs 'penalty',"),
    ],
)
def test_a_loss_or_penalty_that_cannot_be_minimised_is_refused(install, change, sentence):
    install("faulty-package", faulty=FAULTY)
    found = zoo()
    data = Dataset("mnist", "train", torch.zeros(16, 1, 28, 28, dtype=torch.uint8))
    trainer = Trainer(load_recipe("vanilla-mnist", found, [*SHORT, change]), found, dataset=data)
    with pytest.raises(GanzooError) as caught:
        trainer.step()
    assert caught.value.sentence.startswith(sentence)


def test_the_line_of_a_plugin_that_fails_in_training_is_told_without_a_traceback(install, call, tmp_path, monkeypatch):
    install("faulty-package", faulty=FAULTY)
    monkeypatch.setattr(loading, "load_zoo", zoo)
    words = (word for one in [*SHORT, "loss={name: faulty, fault: a name}"] for word in ("--set", one))
    code, _, err = call("run", "vanilla-mnist", "--out", tmp_path / "run", *words)
    where = "faulty_package_faulty_module.py, line 11: `return undefined + real.mean()`"
    assert err.splitlines()[-1] == f"NameError: name 'undefined' is not defined ({where})."
    assert code == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("error", ["TimeoutError", "BrokenPipeError", "ConnectionError"])
def test_so_is_the_line_where_its_connection_fails(install, call, monkeypatch, error):
    code = f"def post():\n    raise {error}('no server')\n"
    install("faulty-package", faulty=code)
    monkeypatch.setattr(
        "ganzoo.cli.app", lambda **options: importlib.import_module("faulty_package_faulty_module").post()
    )
    monkeypatch.setattr("ganzoo.cli.discard", lambda descriptor: None)
    where = f"faulty_package_faulty_module.py, line 2: `raise {error}('no server')`"
    assert call("plugins") == (1, "", f"{error}: no server ({where}).\n")


def test_a_plugin_below_a_folder_called_torch_is_named_with_its_line(tmp_path):
    module = tmp_path / "torch" / "mine.py"
    module.parent.mkdir()
    module.write_text("1 / 0\n")
    with pytest.raises(GanzooError, match=r"\(mine\.py, line 1: `1 / 0`\)"), foreign_code("It failed", "", plugin=True):
        exec(compile(module.read_text(), str(module), "exec"), {})
