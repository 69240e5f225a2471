"""Which runs a command line selects."""

from pathlib import Path

import pytest

from ganzoo.config.loading import load_recipe, needs_pictures
from ganzoo.errors import GanzooError
from ganzoo_studies.matrix import jobs_of


def names(zoo, *patterns, **settings):
    return [job.recipe.name for job in jobs_of(zoo, patterns, **settings)]


def test_every_recipe_with_every_dataset_and_seed_in_order(zoo):
    jobs = jobs_of(zoo, ["hinge-mnist", "vanilla-mnist"], datasets=["mnist", "stacked-mnist"], seeds=[3, 1])
    assert [(job.recipe.name, job.dataset, job.seed) for job in jobs] == [
        (recipe, dataset, seed)
        for recipe in ("hinge-mnist", "vanilla-mnist")
        for dataset in ("mnist", "stacked-mnist")
        for seed in (3, 1)
    ]


def test_seeds_share_a_digest_datasets_do_not_and_no_two_share_a_folder_or_a_picture(zoo):
    jobs = jobs_of(zoo, ["vanilla-mnist"], datasets=["mnist", "stacked-mnist"], seeds=[0, 1])
    jobs += jobs_of(zoo, ["vanilla-mnist"], datasets=["mnist"], seeds=[0], overrides=["train.images=1280"])
    assert [jobs[0].digest == job.digest for job in jobs] == [True, True, False, False, False]
    assert len({job.folder(Path("work")) for job in jobs}) == 5
    assert len({job.picture(precision) for job in jobs for precision in ("fp32", "bf16")}) == 10


def test_a_pattern_means_every_name_that_fits_it_once(zoo):
    expected = [entry.name for entry in zoo.recipes if entry.name.startswith("wgan-")]
    assert len(expected) >= 2
    assert names(zoo, "wgan-*") == expected
    assert names(zoo, "wgan-gp-mnist", "wgan-*")[0] == "wgan-gp-mnist"
    assert sorted(names(zoo, "wgan-gp-mnist", "wgan-*")) == expected
    assert names(zoo, "*") == [entry.name for entry in zoo.recipes if not needs_pictures(entry.name, zoo)]
    assert [entry.name for entry in zoo.recipes if needs_pictures(entry.name, zoo)] == [
        "cyclegan",
        "pictures",
        "pix2pix",
    ]


def test_excluded_recipes_and_those_for_another_dataset_are_left_out_unless_named_in_full(zoo):
    everything = names(zoo, "wgan-*")
    assert names(zoo, "wgan-*", exclude=["*-gp-*"]) == [name for name in everything if name != "wgan-gp-mnist"]
    assert names(zoo, "wgan-gp-mnist", exclude=["*-gp-*"]) == ["wgan-gp-mnist"]
    assert names(zoo, "vanilla-*", made_for=["ring"]) == ["vanilla-ring"]


def test_files_and_overrides(zoo, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(load_recipe("vanilla-mnist", zoo).to_yaml())
    (job,) = jobs_of(zoo, [str(path)], overrides=["train.images=2560"])
    assert (job.recipe.name, job.plugin, job.recipe.train.images) == ("mine", None, 2560)
    assert job.command == "ganzoo run mine.yaml --set train.images=2560"  # without the folder: records are shared


@pytest.mark.parametrize(
    ("patterns", "settings", "sentence"),
    [
        (["vanila-mnist"], {}, "Unknown recipe 'vanila-mnist'. Did you mean 'vanilla-mnist'?"),
        (["vanila*"], {}, "No recipe matches 'vanila\\*'. Did you mean 'vanilla"),
        (["vanilla-*"], {"exclude": ["*"]}, "No recipe is left"),
        (["vanilla-mnist"], {"datasets": ["mnits"]}, "Unknown dataset 'mnits'. Did you mean 'mnist'?"),
        (["vanilla-*"], {"made_for": ["mnits"]}, "Unknown dataset 'mnits'. Did you mean 'mnist'?"),
        (["vanilla-mnist"], {"overrides": ["train.imags=1"]}, "Did you mean 'images'?"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_trained(zoo, patterns, settings, sentence):
    with pytest.raises(GanzooError, match=sentence.replace("?", r"\?")):
        jobs_of(zoo, patterns, **settings)
