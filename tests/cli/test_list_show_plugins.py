"""``ganzoo list``, ``show`` and ``plugins``, and the behaviour of the command as a whole, as a user runs it."""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from unittest.mock import Mock

import pytest
import yaml

from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, RunError
from ganzoo.registry.registry import KINDS


@pytest.fixture
def broken(install, fresh_zoo):
    """A plugin is installed that raises on import."""
    install("broken", "print('hello')\nraise RuntimeError('a cable is loose')\n", "ganzoo", broken="")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_list_as_json_is_everything_and_nothing_else(call, zoo):
    code, out, err = call("list", "--json")
    assert (code, err) == (0, "")
    listed = json.loads(out)
    assert all(list(entry) == ["name", "kind", "summary", "paper", "plugin"] for entry in listed)
    found = [(entry.kind, entry.name) for registry in zoo.registries() for entry in registry]
    assert [(entry["kind"], entry["name"]) for entry in listed] == found
    assert {"name": "minimax", "kind": "loss", "plugin": "vanilla"}.items() <= {
        key: value for entry in listed if entry["name"] == "minimax" for key, value in entry.items()
    }.items()


@pytest.mark.parametrize("kind", ["loss", "LOSSES"])
def test_list_of_one_kind(done, zoo, kind):
    out, _ = done("list", kind, "--json")
    assert [entry["name"] for entry in json.loads(out)] == [entry.name for entry in zoo.losses]


def test_list_of_recipes_is_one_line_each_and_cuts_no_name(call, zoo, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = call("list", "recipes")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in lines] == [entry.name for entry in zoo.recipes]
    assert max(map(len, lines)) <= 80
    assert "arXiv" not in out


def test_list_into_a_pipe_has_80_columns(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    narrow = call("list", "losses")
    monkeypatch.delenv("COLUMNS")
    assert call("list", "losses") == narrow


def test_list_of_everything_has_a_heading_for_each_kind(call, zoo):
    _, out, err = call("list")
    assert err == ""
    headings = [block.partition("\n")[0] for block in out.strip().split("\n\n")]
    assert headings == [KINDS[registry.kind] for registry in zoo.registries() if any(True for _ in registry)]
    for entry in (zoo.losses.get("minimax"), zoo.recipes.get("vanilla-mnist"), zoo.datasets.get("mnist")):
        assert entry.name in out
        assert entry.summary in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["losses", "wgan"], ["wasserstein"]),  # another name for it
        (["losses", "UNDECIDED"], ["boundary-seeking"]),  # the summary
        (["losses", "Makhzani", "2016"], ["aae"]),  # the paper: each word has to be there
    ],
)
def test_list_searches_names_summaries_and_papers(call, words, expected):
    assert [entry["name"] for entry in json.loads(call("list", *words, "--json")[1])] == expected


def test_list_with_everything_about_each(call, zoo):
    entry = zoo.losses.get("minimax")
    block = f"{entry.name}\n  {entry.summary}\n  {entry.paper}\n  plugin vanilla ({entry.distribution})\n"
    assert block in call("list", "losses", "--long")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lossess"], "Nothing matches 'lossess'. Did you mean 'losses'?"),
        (["lsgan-mnist-x"], "Nothing matches 'lsgan-mnist-x'. Did you mean 'least-squares-mnist'?"),
        (["zzzz"], "Nothing matches 'zzzz'. `ganzoo list` shows all {everything}."),
        (["losses", "recipes"], "Name only one kind, before any other words: `ganzoo list recipes`."),
    ],
)
def test_list_of_something_that_nobody_registered(refused, zoo, words, sentence):
    err = refused("list", *words)
    assert err.endswith(sentence.format(everything=sum(len(list(registry)) for registry in zoo.registries())) + "\n")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lsgan", "Did you mean 'least-squares-mnist'?"),
        ("WGAN_GP", "Did you mean 'wgan-gp-mnist'?"),
        ("dcgan", "Did you mean 'dcgan-mnist'?"),
        ("vanilla", "Did you mean 'vanilla-grid' or 'vanilla-ring' or 'vanilla-mnist'?"),
        ("ring", "Did you mean 'pacgan-ring' or 'vanilla-ring' or 'collapse-ring' or 'unrolled-ring'?"),
        ("zzzz", "`ganzoo list recipes` shows all {recipes}."),
        ("gan", "`ganzoo list recipes` shows all {recipes}."),  # a part of so many that none of them is a guess
    ],
)
def test_a_recipe_by_the_name_that_people_know(call, zoo, name, hint):
    assert call("run", name) == (2, "", f"Unknown recipe '{name}'. {hint.format(recipes=len(zoo.recipes))}\n")


def test_a_file_whose_suffix_is_wrong_or_left_out_is_suggested_and_not_read(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("not: a recipe")
    (tmp_path / "mine.yml.txt").write_text("")
    for command in ("run", "show"):
        assert call(command, "mine") == (2, "", "Unknown recipe 'mine'. Did you mean the file mine.yaml?\n")
        assert call(command, "mine.yml") == (2, "", "No such file: mine.yml. Did you mean mine.yaml?\n")


def test_show_prints_a_recipe_that_can_be_saved_and_run(call, zoo, tmp_path):
    code, out, err = call("show", "vanilla-mnist", "--set", "train.seed=7", "--set", "networks.generator.hidden=[8]")
    assert (code, err) == (0, "")
    path = tmp_path / "vanilla-mnist"  # a recipe's file, whatever its suffix
    path.write_text(out)
    recipe = load_recipe(path, zoo)
    assert recipe == load_recipe("vanilla-mnist", zoo, ["train.seed=7", "networks.generator.hidden=[8]"])
    # 100 x 8 + 8 and 8 x 784 + 784, one hidden layer without normalisation.
    assert "# generator: 7,864 parameters" in out
    code, again, _ = call("show", path)
    first, *rest = again.splitlines()
    assert code == 0
    assert out.startswith(f"{first}\n#\n# The original GAN")
    assert out.endswith("\n".join(rest) + "\n")


def test_show_writes_no_colours_into_a_file(call, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in call("show", "vanilla-ring")[1]


def test_show_prefers_the_recipe_to_a_pretrained_generator_of_that_name(call):
    told = "This is the recipe; see also `ganzoo show zoo:dcgan-mnist`.\n"
    code, out, err = call("show", "dcgan-mnist", "--json")
    assert (code, err) == (0, told)
    assert call("show", "dcgan-mnist", "--kind", "recipe", "--json") == (0, out, "")
    code, out, err = call("show", "dcgan-mnist", "--kind", "pretrained", "--json")
    assert (code, err, json.loads(out)["kind"]) == (0, "", "pretrained")


def test_show_and_study_show_look_for_a_dataset_where_the_user_keeps_it(done, refused, call, tmp_path):
    sentence = f"The files of dataset 'mnist' are not in {tmp_path}."
    out, err = done("show", "vanilla-mnist", "--data-dir", tmp_path)
    assert err.startswith(f"No parameter counts: {sentence}")
    assert "parameters" not in out.splitlines()[1]
    assert json.loads(call("show", "vanilla-mnist", "--data-dir", tmp_path, "--json")[1])["parameters"] is None
    err = refused("study", "show", "losses", "--data-dir", tmp_path)
    assert err.startswith(sentence)


def test_show_counts_the_parameters_of_every_network(call):
    shown = json.loads(call("show", "infogan-mnist", "--json")[1])
    assert shown["name"] == "infogan-mnist"
    assert set(shown["parameters"]) == {"generator", "discriminator", "recognition"}
    assert shown["recipe"]["loss"]["categorical_weight"] == 1.0


def test_show_of_a_part(call):
    code, out, err = call("show", "gradient-penalty")
    assert (code, err) == (0, "")
    told, _, description = out.partition("\n\n")
    assert description.strip()
    facts = yaml.safe_load(told)
    assert (facts["kind"], facts["plugin"]) == ("regularizer", "wgan-gp")
    assert facts["options"]["weight"] == {"type": "float >= -1000000000 <= 1000000000", "default": 10.0}
    assert "Gulrajani" in facts["paper"]


EQUATIONS = {
    "hinge": "    min_D  E_x[max(0, 1 - D(x))] + E_z[max(0, 1 + D(G(z)))]        min_G  -E_z[D(G(z))]",
    "non-saturating": "    non-saturating:  -E[log D(G(z))]     =  E[softplus(-s_fake)]      (section 3; ",
    "vanilla-mnist": "#     min_G max_D V(D, G) = E_x[log D(x)] + E_z[log(1 - D(G(z)))]",
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_show_prints_the_equation_of_its_module_and_breaks_only_prose(call, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = call("show", name)
    assert any(line.startswith(EQUATIONS[name]) for line in out.splitlines())
    shown = json.loads(call("show", name, "--json")[1])["equation"]
    assert EQUATIONS[name].lstrip("# ") in shown
    assert all(len(line) <= 58 for line in shown.splitlines() if line[:1] != " ")
    assert "The paper's k" not in shown  # the prose that follows
    assert "Soft margin" not in shown


def test_show_of_a_part_whose_module_has_no_equation(call):
    assert json.loads(call("show", "image-folder", "--json")[1])["equation"] == ""
    assert call("show", "mlp")[1].count("D(x) = w · a(") == 1  # one module registers all three


def test_show_of_a_pretrained_generator_is_its_recipe_and_its_scores(call, zoo, tmp_path):
    code, out, err = call("show", "zoo:cgan-mnist")
    card = json.loads(zoo.pretrained.get("cgan-mnist").create().read_text())
    assert (code, err) == (0, "")
    first, *comments = [line for line in out.splitlines() if line.startswith("#")]
    assert first.startswith(f"# zoo:cgan-mnist: trained on {card['training']['images']:,} images in ")
    scores, networks = comments[: len(card["scores"])], comments[len(card["scores"]) :]
    assert [line.split()[1] for line in scores] == [score["metric"] for score in card["scores"]]
    assert all(" real vs real " in line for line in scores)
    assert [line.split()[1] for line in networks] == [f"{role}:" for role in card["run"]["parameters"]]
    (tmp_path / "cgan-mnist.yaml").write_text(out)
    assert load_recipe(tmp_path / "cgan-mnist.yaml", zoo).plain() == card["recipe"]
    shown = json.loads(call("show", "zoo:cgan-mnist", "--json")[1])
    assert (shown["name"], shown["recipe"], shown["scores"]) == ("zoo:cgan-mnist", card["recipe"], card["scores"])


def test_show_of_a_name_that_several_kinds_have(call):
    _, out, _ = call("show", "mlp")
    assert [line for line in out.splitlines() if line.startswith("kind:")] == [
        "kind: generator",
        "kind: discriminator",
        "kind: encoder",
    ]
    told = "Several kinds have the name 'mlp': generator, discriminator, encoder. Choose with --kind.\n"
    assert call("show", "mlp", "--json") == (2, "", told)
    shown = json.loads(call("show", "mlp", "--kind", "discriminators", "--json")[1])
    assert shown["options"]["hidden"] == {"type": "list of int >= 1 <= 65536", "default": [512, 256]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dcgann"], "Unknown name 'dcgann'. Did you mean 'dcgan'?"),
        (["minimax", "--kind", "generator"], "Unknown generator 'minimax'."),
        (["minimax", "--kind", "looses"], "Unknown kind 'looses'. Did you mean 'losses'?"),
        (["minimax", "--set", "a=b"], "--set only changes recipes, not minimax. Leave it out."),
        (["dcgan-mnist", "--kind", "pretrained", "--set", "a=b"], "--set only changes recipes, not dcgan-mnist."),
        (["zoo:dcgan-mnist", "--set", "a=b"], "--set only changes recipes, not zoo:dcgan-mnist."),
        (["zoo:dcgan-mnits"], "Unknown pretrained generator 'dcgan-mnits'. Did you mean 'dcgan-mnist'?"),
        (["vanilla-mnist", "--set", "train.imags=1"], "--set train.imags=1: train has no key 'imags'."),
        (["missing.yaml"], "No such file: missing.yaml."),
        (
            ["vanilla-ring", "--set", "optimizers.genrator.lr=1e-3"],
            "Recipe 'vanilla-ring' sets an optimizer for 'genrator', but has no such network. Did you mean",
        ),
        (
            ["vanilla-ring", "--set", "phases.foo.repeat=2"],
            "Recipe 'vanilla-ring' changes the phase 'foo', which its loss does not have. Known: discriminator, gen",
        ),
    ],
)
def test_show_refusals(refused, arguments, sentence):
    err = refused("show", *arguments)
    assert err.startswith(sentence)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "name"),
    [("train", "run"), ("resume", "run --resume"), ("generate", "sample"), ("score", "eval"), ("lst", "list")],
)
def test_other_words_for_commands(refused, word, name):
    err = refused(word, "vanilla-mnist")
    assert err.startswith(f"No such command '{word}'. Did you mean '{name}'? Try `")
    assert err.count("\n") == 1


def test_plugins_that_are_all_well(call):
    code, out, err = call("plugins")
    assert (code, err) == (0, "")
    assert all(word in out for word in ("vanilla", "ganzoo-bench 0.1.0", "loss minimax", "recipe vanilla-mnist"))
    assert json.loads(call("plugins", "--json")[1])["problems"] == []


def test_plugins_shows_the_broken_one_and_fails_and_elsewhere_it_is_a_warning_beside_clean_json(done, broken, call):
    code, out, err = call("plugins", "--json")
    assert code == 1
    shown = json.loads(out)
    assert [problem["plugin"] for problem in shown["problems"]] == ["broken"]
    assert "vanilla" in [plugin["plugin"] for plugin in shown["plugins"]]
    assert "RuntimeError: a cable is loose" in err
    assert "Traceback" not in err
    out, err = done("list", "--json")
    assert json.loads(out)
    assert err.count("could not be imported: RuntimeError: a cable is loose") == 1


def test_the_leaderboard_warns_of_a_plugin_whose_studies_it_cannot_show(broken, call, tmp_path):
    (tmp_path / "results" / "studies").mkdir(parents=True)
    (tmp_path / "results" / "studies" / "runs.jsonl").touch()
    (tmp_path / "results" / "runs.jsonl").write_text('{"schema": 99}\n')
    code, _, err = call("leaderboard", tmp_path / "results")
    assert code == 2
    assert err.count("could not be imported: RuntimeError: a cable is loose") == 1
    assert err.endswith("This one reads schema 3: give another results folder.\n")


def test_help_and_version_need_no_torch():
    code = """\
        import sys
        from ganzoo.cli import main
        try:
            main()
        finally:
            heavy = {"torch", "torchvision", "torch_fidelity", "numpy", "PIL", "pydantic"} & set(sys.modules)
            assert not heavy, heavy
        """
    command = [sys.executable, "-c", dedent(code)]
    shown = subprocess.run([*command, "--help"], check=True, capture_output=True, text=True).stdout
    assert all(command in shown for command in ("run", "list", "show", "plugins", "sample", "eval"))
    assert (
        subprocess.run([*command, "--version"], check=True, capture_output=True, text=True).stdout == "ganzoo 0.1.0\n"
    )


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (GanzooError("A thing is wrong.", "Mend it."), 2, "A thing is wrong. Mend it."),
        (RunError("It went wrong."), 1, "It went wrong."),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "The disk is full. Free some space, and try again."),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 1, "Cannot open /a/b: Permission denied. Check"),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_what_goes_wrong_becomes_a_sentence_and_a_code(call, monkeypatch, raised, code, sentence):
    monkeypatch.setattr("ganzoo.registry.loading.load_zoo", Mock(side_effect=raised))
    found, out, err = call("list")
    assert (found, out) == (code, "")
    assert err.startswith(sentence)
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_to_stop_that_a_library_swallows_is_not_reported_as_its_failure(call, monkeypatch, number, code):
    def fail():
        with suppress(BaseException):
            os.kill(os.getpid(), number)
        raise ImportError("cannot import name 'ndarray' from partially initialized module 'numpy'")

    monkeypatch.setattr("ganzoo.registry.loading.load_zoo", fail)
    assert call("list") == (code, "", "Interrupted.\n" if code == 130 else "")


@pytest.mark.parametrize("command", ["run vanilla-ring --out", "report --device", "study run few-images --out"])
def test_an_option_without_a_value_is_not_the_working_folder(call, command):
    words, option = command.split()[:-1], command.split()[-1]
    sentence = f"{option} is empty. Give it a value, or leave it out.\n"
    assert call(*words, option, "") == (2, "", sentence)
    assert call(*words, option, "", "--json") == (2, "", sentence)
    assert call(*words, f"{option}=")[2] == sentence


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],  # which needs no torch
        *(pytest.param(rest, marks=pytest.mark.full) for rest in (["list"], ["list", "--json"], ["show", "minimax"])),
    ],
)
def test_a_full_disk_is_a_sentence(arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ganzoo", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("The disk is full")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--version"], pytest.param(["list", "--json"], marks=pytest.mark.full)])
def test_a_reader_who_leaves_is_no_traceback(arguments):
    command = [sys.executable, "-m", "ganzoo", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_mistake_of_ours_keeps_its_traceback(call, monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr("ganzoo.registry.loading.load_zoo", fail)
    code, out, err = call("list")
    assert (code, out) == (1, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert "in fail\n    raise ZeroDivisionError" in err
    assert err.endswith("\nZeroDivisionError\n")
