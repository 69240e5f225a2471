"""A study: a question put to several recipes, with a baseline, seeds, measures and the claims to test.

A study is a YAML file (docs/studies.md). Its rows are the baseline and the variants. Each row is trained in every
setting, with as many seeds as its claims need; a row in a setting is a cell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from ganzoo.api.metric import ModelMetric, Scale, ShareOf
from ganzoo.config.checking import how_to_score, wrong_metric, wrong_threshold
from ganzoo.config.loading import Override, load_recipe
from ganzoo.config.schema import (
    MetricName,
    OneLine,
    Recipe,
    Threads,
    combination,
    refuse_unless_mapping,
)
from ganzoo.data import load_part
from ganzoo.errors import GanzooError, nearest
from ganzoo.evaluation.requests import fitting_metrics
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import check_file_name
from ganzoo.registry.strict import Section
from ganzoo_studies.matrix import Job, job_of
from ganzoo_studies.verdicts import BEYOND, LOOKS

BASELINE: Final = "baseline"
TUNED: Final = "tuned"
"""The only variant of a study that has a search but no variants: the baseline with the settings found."""
EVERYWHERE: Final = ""
"""The name of the only setting of a study without settings."""
UNCLAIMED: Final = 3
"""Seeds of a row without a claim."""
FRESH: Final = 100
"""The usual first seed. Smaller ones may have been seen when the study was planned; with those, it is exploratory."""
QUICK: Final = ("train.images=1280", "evaluate.samples=500", "evaluate.every_images=640")
"""What ``--quick`` changes in every run: it checks that a study works."""

Place = tuple[str, str]
"""A row and a setting."""
Overrides = Annotated[tuple[str, ...], Field(strict=False)]
Text = Annotated[str, Field(min_length=1, max_length=500), OneLine]
Paper = Annotated[str, Field(min_length=1, max_length=300), OneLine]
Label = Annotated[str, Field(pattern=r"^[^\s,@=][^\n,@=]{0,59}$")]
Short = Annotated[str, Field(min_length=1, max_length=60), OneLine]


class Variant(Section):
    """A row of a study. A list of overrides is enough: ``ada: [augmentation=ada]``."""

    recipe: str | None = None  # a registered recipe to use instead of the study's baseline
    overrides: Overrides = ()  # changes to it, as for ``--set``
    settings: dict[Label, Overrides] = Field(default_factory=dict)  # further changes in individual settings, by name
    search: Overrides = ()  # further changes to this row's trials, applied after those common to all trials

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, data: Any) -> Any:
        if isinstance(data, list | tuple):
            return {"overrides": data}
        return refuse_unless_mapping(data, "a list of overrides or a mapping")


class Measure(Section):
    """A measure of a run. A metric's name alone means its final score."""

    metric: MetricName
    name: Annotated[str, Field(min_length=1, max_length=60)]  # in claims and tables; the metric by default
    below: float | None = None  # the seconds of training until the score is first lower than this
    above: float | None = None  # the seconds of training until the score is first higher than this

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"metric": data, "name": data}
        refuse_unless_mapping(data, "a metric or a mapping")
        return {"name": data.get("metric"), **data} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _one_point(self) -> Measure:
        if self.below is not None and self.above is not None:
            raise combination("has both 'below' and 'above'")
        if self.name == self.metric and self.is_time:
            raise combination("needs the key 'name', since it is not the final score")
        return self

    @property
    def is_time(self) -> bool:
        """Whether it is a time until a score is reached, which depends on the machine, rather than the final score."""
        return self.below is not None or self.above is not None

    def better(self, zoo: Zoo) -> Literal["lower", "higher", "neither"]:
        """Which values are better."""
        return "lower" if self.is_time else zoo.metric(self.metric.partition("@")[0]).better

    def scale(self, zoo: Zoo) -> Scale:
        """How two of its values compare."""
        return "ratio" if self.is_time else zoo.metric(self.metric.partition("@")[0]).scale

    def share_of(self, zoo: Zoo) -> ShareOf:
        """What its values are shares of, if their scale is ``share``."""
        return zoo.metric(self.metric.partition("@")[0]).share_of


class Claim(Section):
    """A claim, as a comparison of two rows."""

    says: Text
    method: Short | None = None  # the row that should be better, in a few words; None uses its name, like ``rival``
    rival: Short | None = None  # the row ``than``, in a few words
    paper: Paper | None = None  # that makes it; None for a hypothesis of one's own
    better: str  # the row that should be better
    than: str = BASELINE  # the row that it should be better than
    on: Annotated[tuple[str, ...], Field(min_length=1)]
    """The measure, or several: then the mean of their logarithms decides, and each alone is shown beside it."""
    than_on: str | None = None  # the measure of the row ``than``, if it differs; both may then be the same row
    at: str | None = None  # the setting; None means the average over all settings
    about: Literal["scores", "failures"] = "scores"  # what is compared: scores, or the share of runs that collapsed
    paired: bool = False  # whether both rows with equal seeds are one training run, whose scores are pairs
    withdrawn: Text | None = None  # why the claim is not tested, in a sentence

    @model_validator(mode="before")
    @classmethod
    def _of_one(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(on := data.get("on"), str | list):
            return {**data, "on": (on,) if isinstance(on, str) else tuple(on)}
        return data


class Range(Section):
    """The range that a search draws a number from. A list of values alone is a choice."""

    low: float | None = None
    high: float | None = None
    log: bool = False  # whether to sample uniformly in the logarithm
    choices: Annotated[tuple[Any, ...], Field(strict=False)] = ()  # values to choose from, instead of the other three

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, data: Any) -> Any:
        if isinstance(data, list | tuple):
            return {"choices": data}
        return refuse_unless_mapping(data, "a list of choices or a mapping")

    @model_validator(mode="after")
    def _has_ends(self) -> Range:
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise combination("has 'choices', and therefore takes no 'low', 'high' or 'log'")
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise combination("needs 'low' and 'high', with 'low' less than 'high', or a list of choices")
        if self.log and self.low <= 0:
            raise combination("is logarithmic, so 'low' must be positive")
        return self

    def value(self, position: float) -> Any:
        """The value at a position in [0, 1), with three significant digits: its own, or those of the range's width."""
        if self.choices:
            return self.choices[int(position * len(self.choices))]
        assert self.low is not None
        assert self.high is not None
        if self.log:
            number = float(f"{self.low * (self.high / self.low) ** position:.3g}")
        else:
            width = self.high - self.low
            number = round(self.low + position * width, 2 - math.floor(math.log10(width)))
        return min(self.high, max(self.low, number))


class Search(Section):
    """Tunes the settings of each row before it is compared: every row gets the same number of trials."""

    ranges: Annotated[dict[str, Range], Field(min_length=1)]  # by key as for ``--set``
    trials: Annotated[int, Field(ge=2, le=4096)] = 16  # at most, per row; the first is the row unchanged
    seeds: Annotated[int, Field(ge=1, le=100)] = 1  # of each trial
    validation: Annotated[int, Field(ge=2, le=10**9)] = 5000  # training images held out, see ``dataset.validation``
    overrides: Overrides = ()  # changes to every trial, such as a shorter run

    def settings(self) -> list[tuple[str, ...]]:
        """The overrides of each trial: the same list on every machine, however many workers share it.

        A grid if all ranges are lists and there are enough trials. Otherwise a scrambled Sobol sequence, which covers
        the ranges evenly once it has more than a few points (Bergstra & Bengio 2012 compare such sequences with random
        search and grids, https://jmlr.org/papers/v13/bergstra12a.html).
        """
        choices = [one.choices for one in self.ranges.values()]
        points: Iterable[Sequence[Any]]
        if all(choices) and math.prod(map(len, choices)) < self.trials:
            points = itertools.product(*choices)
        else:
            sobol = torch.quasirandom.SobolEngine(len(choices), scramble=True, seed=0)  # type: ignore[no-untyped-call]
            points = [
                [one.value(min(at, 1 - 1e-9)) for one, at in zip(self.ranges.values(), point, strict=True)]
                for point in sobol.draw(self.trials - 1).tolist()
            ]
        changes = [
            tuple(
                f"{key}={strict.dump(value).removesuffix(_END).strip()}"
                for key, value in zip(self.ranges, point, strict=True)
            )
            for point in points
        ]
        return [(), *changes]


_END = "...\n"
"""The marker that YAML writes after a document that is a single value."""


class Study(Section):
    """The contents of a study's file."""

    name: str  # the file's, without its suffix
    question: Annotated[str, Field(min_length=1, max_length=200)]
    paper: Paper | None = None  # that the question comes from
    baseline: str  # the registered recipe of the baseline, and of variants that do not name one
    overrides: Overrides = ()
    """Changes to every run. A row's own are applied after them, then the setting's, and finally a variant's for that
    setting."""
    baseline_overrides: Overrides = ()
    """Changes to the baseline's own row, and to ``tuned`` in a study without variants. No variant inherits them."""
    settings: dict[Label, Overrides] = Field(default_factory=dict)  # in which every row is trained, by name
    variants: dict[Label, Variant] = Field(default_factory=dict)  # the other rows, by name
    first_seed: Annotated[int, Field(ge=0, le=10**9)] = FRESH  # of every row; the next follow in order
    collapse: Annotated[float, Field(gt=1)] | None = BEYOND
    """A run has collapsed if it has no score, or one this many times worse than the median of the baseline's first five
    seeds in its setting; None for no such bar. Shares, counts and times have none."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Of every run, unless its row or setting sets another; fixed so that all workers train the same runs."""
    threads: Threads = 1  # of every run, for the same reason
    measures: Annotated[tuple[Measure, ...], Field(strict=False, min_length=1)]  # the first decides a search
    claims: Annotated[tuple[Claim, ...], Field(strict=False)] = ()
    notes: Annotated[tuple[Text, ...], Field(strict=False)] = ()  # what readers of the results need to know
    search: Search | None = None  # tunes the rows first
    _source: Path | None = PrivateAttr(default=None)
    _is_quick: bool = PrivateAttr(default=False)

    @model_validator(mode="before")
    @classmethod
    def _without_seeds(cls, data: Any) -> Any:
        if former := [key for key in ("seeds", "baseline_seeds") if isinstance(data, dict) and key in data]:
            looks = ", ".join(map(str, LOOKS))
            raise combination(f"has '{former[0]}', but rows now get seeds until their claims are decided, at {looks}")
        return data

    @model_validator(mode="after")
    def _rows(self) -> Study:
        if not self.variants and self.search is None:
            raise combination("Give the study variants or a search")
        if BASELINE in self.variants:
            raise combination(f"A variant cannot have the reserved name '{BASELINE}'")
        return self

    @property
    def source(self) -> str:
        """What ``ganzoo study run`` takes: the path that was given or, if that was absolute, the file's name alone."""
        if self._source is None:
            return self.name
        return self._source.name if self._source.is_absolute() else str(self._source)

    @property
    def rows(self) -> dict[str, Variant]:
        """The baseline first, then the variants."""
        baseline = Variant.model_validate({"overrides": self.baseline_overrides})
        return {BASELINE: baseline, **(self.variants or {TUNED: baseline})}

    @property
    def setting_names(self) -> tuple[str, ...]:
        """Names of the settings, at least one."""
        return tuple(self.settings) or (EVERYWHERE,)

    def is_tuned(self, row: str) -> bool:
        """Whether a search tunes the row: true of every row or, in a study without variants, only of `tuned`."""
        return self.search is not None and (row == TUNED or bool(self.variants))

    def first_seeds(self, row: str, setting: str) -> int:
        """The number of seeds that a cell gets at once: those of the first look, or fewer if no claim is about it."""
        if self._is_quick:
            return 2
        rows = {
            one
            for claim in self.claims
            if not claim.withdrawn and claim.at in (None, setting)
            for one in (BASELINE, claim.better, claim.than)
        }
        return LOOKS[0] if row in rows else UNCLAIMED

    @property
    def is_exploratory(self) -> bool:
        """Whether its seeds may have been seen when it was planned."""
        return self.first_seed < FRESH

    def scaled_down(self) -> Study:
        """The study as ``--quick`` runs it, named accordingly. Its changes apply last, after variants and trials."""
        first = dict(list(self.settings.items())[:1]) or {EVERYWHERE: ()}
        search = self.search and self.search.model_copy(
            update={"trials": 2, "seeds": 1, "overrides": (*self.search.overrides, *QUICK)}
        )
        variants = {
            row: variant.model_copy(
                update={"settings": {name: (*variant.settings.get(name, ()), *QUICK) for name in first}, "search": ()}
            )
            for row, variant in self.variants.items()
        }
        small = self.model_copy(
            update={
                "name": f"{self.name}-quick",
                "settings": {name: (*changes, *QUICK) for name, changes in first.items()},
                "variants": variants,
                "claims": tuple(claim for claim in self.claims if claim.at is None or claim.at in first),
                "search": search,
            }
        )
        small._is_quick = True
        return small

    def measure(self, name: str) -> Measure:
        """The measure with this name, which must exist."""
        return next(measure for measure in self.measures if measure.name == name)

    def cells(self, zoo: Zoo, found: Mapping[Place, Sequence[str]] | None = None) -> list[Cell]:
        """The cells to train and compare, one for each row in each setting.

        ``found`` holds the overrides that a search found, by row and setting; other rows stay unchanged.
        """
        return [
            Cell(row, setting, self._jobs(row, setting, (found or {}).get((row, setting), ()), zoo))
            for setting in self.setting_names
            for row in self.rows
        ]

    def trials(self, zoo: Zoo) -> list[Cell]:
        """All trials of the search; empty if the study has none."""
        if self.search is None:
            return []
        search = self.search
        # Last, so that no override of the whole dataset moves the trials to the test images.
        held_out = f"dataset.validation={search.validation}"
        trials = []
        for number, changes in enumerate(search.settings()):
            for setting in self.setting_names:
                for row, variant in self.rows.items():
                    if self.is_tuned(row):
                        changed = (*changes, *search.overrides, *variant.search, held_out)
                        shown = f"trial {number} ({' '.join(changes) or 'unchanged'})"
                        jobs = tuple(
                            replace(job, title=f"{job.title}, {shown}")
                            for job in self._jobs(row, setting, changed, zoo, trials=search.seeds)
                        )
                        trials.append(Cell(row, setting, jobs, number, changes))
        return trials

    def refuse_unfit(self, zoo: Zoo, data_dir: Path | None = None) -> None:
        """Refuse a measure whose extractor does not fit a row's images; to be called before anything is trained.

        A run would only leave such a score out. A dataset is loaded only if its name does not tell that they fit.
        """
        known: set[str] = set()
        for cell in self.cells(zoo):
            recipe = cell.jobs[0].recipe
            section = recipe.dataset
            extractors = {metric: metric.partition("@")[2] for metric in recipe.evaluate.metrics}
            entries = {metric: zoo.extractors.get(name) for metric, name in extractors.items() if name}
            doubtful = [
                metric
                for metric, entry in entries.items()
                # Without downloaded weights, a run fails.
                if not getattr(entry.factory, "downloads", False) and section.name not in entry.domains
            ]
            key = f"{section.model_dump_json()} {doubtful} {recipe.evaluate.anyway}"
            if not doubtful or key in known:
                continue
            known.add(key)
            entry = zoo.datasets.get(section.name)
            dataset = load_part(entry, section.options, data_dir, "train", section.validation, section.count)
            _, reasons, _ = fitting_metrics(doubtful, zoo, dataset, anyway=recipe.evaluate.anyway)
            if reasons:
                sentence = f"The study '{self.name}', {_place(cell.row, cell.setting)}: {reasons[0]}"
                raise GanzooError(sentence, how_to_score(dataset.domain, zoo))

    def _jobs(
        self, row: str, setting: str, changes: Sequence[str], zoo: Zoo, *, trials: int | None = None
    ) -> tuple[Job, ...]:
        """The jobs of a cell or, with ``trials``, that many jobs of a trial, scored only by the deciding measure."""
        variant = self.rows[row]
        pins = [f"train.precision={self.precision}", f"train.threads={self.threads}"]
        in_setting = (*self.settings.get(setting, ()), *variant.settings.get(setting, ()))
        overrides = [*self.overrides, *pins, *variant.overrides, *in_setting, *changes]
        source = variant.recipe or self.baseline
        try:
            for change in (*self.overrides, *variant.overrides, *in_setting, *changes):
                _refuse_lost(change, of_all_rows=change in self.overrides)
            # Which metrics apply depends on the loss, the labels and the dataset, so no key may name a metric yet.
            unscored = ["train.until=null", "train.keep_best=null", "evaluate.metrics=[]"]
            recipe = load_recipe(source, zoo, [*overrides, *unscored])
            names = dict.fromkeys(one.metric for one in (self.measures if trials is None else self.measures[:1]))
            metrics = [name for name in names if _fits(name, recipe, zoo)]
            if trials is not None and not metrics:
                raise GanzooError(
                    f"The search is decided by '{self.measures[0].metric}', which does not apply to this row.",
                    "Put another measure first.",
                )
            first = job_of(source, zoo, [*overrides, f"evaluate.metrics=[{', '.join(metrics)}]"])
        except GanzooError as error:
            sentence = f"The study '{self.name}', {_place(row, setting)}: {error.sentence}"
            raise GanzooError(sentence, error.remedy) from error
        title = f"{self.name}: {row}" + (f", {setting}" if setting else "")
        start, n = (self.first_seed, 2 if self._is_quick else LOOKS[-1]) if trials is None else (0, trials)
        first, *others = (replace(first, title=title, pictured="").with_seed(start + i) for i in range(n))
        return (replace(first, pictured=f"{self.name} {row} {setting}".strip()), *others)


def _place(row: str, setting: str) -> str:
    return f"row '{row}'" + (f" in '{setting}'" if setting else "")


def _fits(metric_name: str, recipe: Recipe, zoo: Zoo) -> bool:
    """Whether a metric applies to a recipe. True for an unknown metric: loading the recipe then refuses it."""
    name = metric_name.partition("@")[0]
    if name not in zoo.metrics:
        return True
    metric = zoo.metric(name)
    if isinstance(metric, ModelMetric):
        gets_labels = metric.needs_unconditional and recipe.conditional
        objective = zoo.losses.get(recipe.loss.name).prototype(recipe.loss.initial_options())
        return hasattr(objective, metric.calls) and not gets_labels
    return recipe.conditional or not metric.needs_labels


@dataclass(frozen=True)
class Cell:
    """A row in a setting, or a trial of a search for it."""

    row: str
    setting: str
    jobs: tuple[Job, ...]
    """Its possible runs, one for each seed in order, of which only those that are needed are made; or all runs of a
    trial, which are scored on the validation images."""
    number: int = 0  # of the trial; 0 is the row unchanged
    changes: tuple[str, ...] = ()  # the trial's overrides

    @property
    def place(self) -> Place:
        """Its row and setting."""
        return self.row, self.setting


def load_study(source: str | Path, zoo: Zoo) -> Study:
    """Read and check a study, given by its registered name or the path of a YAML file.

    Raises:
        GanzooError: The study is invalid; the message names the file, the key and the probable intention.
    """
    path = Path(source)
    if str(source) in zoo.studies or path.suffix not in (".yaml", ".yml"):
        path = zoo.studies.get(str(source)).create()
    data = strict.read_mapping(path)
    check_file_name("study", path)
    if "name" in data:
        raise GanzooError(f"{path}: the study has no key 'name'.", "A study takes its name from its file.")
    named = {**data, "name": path.stem}
    try:
        study = Study.model_validate(named)
    except ValidationError as error:
        raise _refusal(strict.issues(error, Study, named, filled_in=("name",)), path) from error
    wrong = [
        strict.ValidationIssue.of(fault, "measures", index)
        for index, measure in enumerate(study.measures)
        if (fault := wrong_metric(measure.metric, zoo))
    ]
    wrong += [
        strict.ValidationIssue(("measures", index), wrong_way)
        for index, measure in enumerate(study.measures)
        if (wrong_way := wrong_threshold(measure.metric, measure.below, measure.above, zoo))
    ]
    if wrong:
        raise _refusal(wrong, path)
    for sentence, remedy in _wrong_names(study, zoo):
        raise GanzooError(f"{path}: {sentence}", remedy)
    study._source = Path(source)
    return study


def load_studies(names: Iterable[str], zoo: Zoo, *, quick: bool) -> list[Study]:
    """The named studies, each once, or their small versions."""
    studies = [load_study(name, zoo) for name in dict.fromkeys(names)]
    return [study.scaled_down() if quick else study for study in studies]


def _refusal(problems: Sequence[strict.ValidationIssue], path: Path) -> strict.ValidationFailed:
    return strict.ValidationFailed(problems, [f"{path}: {issue.sentence('the study')}" for issue in problems])


OWN: Mapping[tuple[str, str], str] = {
    ("train", "precision"): "precision",
    ("train", "threads"): "threads",
    ("train", "seed"): "first_seed",
    ("evaluate", "metrics"): "measures",
}
"""Keys of a recipe that a study sets itself, each with the study's own key."""


def _refuse_lost(change: str, *, of_all_rows: bool) -> None:
    """Refuse an override that the study would silently replace.

    Those of a row or a setting are applied after the study's precision and threads; seed and metrics are applied last.
    """
    override = Override.parse(change)
    section, *below = override.path
    if section == "trackers":
        raise GanzooError(f"'{change}' names trackers, which only a recipe or a command may do.", "Leave it out.")
    for key in below[:1] or (override.value if isinstance(override.value, dict) else ()):
        own = OWN.get((section, key))
        if own in ("first_seed", "measures") or (own is not None and of_all_rows):
            raise GanzooError(f"'{change}' would be lost.", f"Use the study's key '{own}'.")


def _wrong_names(study: Study, zoo: Zoo) -> Iterator[tuple[str, str]]:
    """What is wrong with the question and the names in a study, each as a sentence and a remedy."""
    if "\n" in study.question or not study.question.endswith("?"):
        yield "question must be one line that ends with a question mark.", ""
    names = [measure.name for measure in study.measures]
    if len(set(names)) < len(names):
        yield "two measures have the same name.", "Give one of them another 'name'."
    if study.search is not None and study.measures[0].better(zoo) == "neither":
        yield (
            f"its search is decided by '{names[0]}', for which neither higher nor lower is better.",
            "Put another measure first.",
        )
    for row, variant in study.variants.items():
        for setting in variant.settings:
            if setting not in study.settings:
                yield (
                    f"the variant '{row}' names the setting '{setting}', but there is no such setting.",
                    nearest(setting, study.settings),
                )
    for index, claim in enumerate(study.claims):
        where = f"claims.{index}"
        for key, row in (("better", claim.better), ("than", claim.than)):
            if row not in study.rows:
                yield f"{where}.{key} is '{row}', but there is no such row.", nearest(row, study.rows)
        if claim.better == claim.than and claim.than_on in (None, *claim.on):
            yield f"{where} compares '{claim.better}' with itself.", ""
        for key, measure_name in (*(("on", on) for on in claim.on), ("than_on", claim.than_on or claim.on[0])):
            if measure_name not in names:
                yield f"{where}.{key} is '{measure_name}', but there is no such measure.", nearest(measure_name, names)
            elif study.measure(measure_name).better(zoo) == "neither":
                yield f"{where}.{key} is '{measure_name}', for which neither higher nor lower is better.", ""
        first = study.measure(claim.on[0])
        for other in map(study.measure, (*claim.on, claim.than_on or claim.on[0])):
            if (first.better(zoo), first.scale(zoo)) != (other.better(zoo), other.scale(zoo)):
                yield f"{where} compares '{first.name}' with '{other.name}', which are different kinds of number.", ""
        if claim.at is not None and claim.at not in study.settings:
            yield f"{where}.at is '{claim.at}', but there is no such setting.", nearest(claim.at, study.settings)
