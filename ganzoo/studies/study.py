"""A study: a question put to several recipes, with a baseline, seeds, measures and the claims to be tested.

A study is a YAML file (docs/studies.md). Its rows are the baseline and the variants. Each row is trained in every
setting with every seed; a row in a setting is a cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import Field, ValidationError, model_validator

from ganzoo.api.metric import ModelMetric, Scale
from ganzoo.config.checking import headline
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import HEADLINE, Images, MetricName, Recipe, Section, combination
from ganzoo.errors import GanzooError, nearest, unknown
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import check_name
from ganzoo.registry.strict import ValidationFailed, issues
from ganzoo.studies.matrix import Job, job_of

BASELINE: Final = "baseline"
TUNED: Final = "tuned"
"""The variant of a study with ranges and no variants: the baseline with the settings that were found."""
EVERYWHERE: Final = ""
"""The name of the only setting of a study without settings."""

Overrides = Annotated[tuple[str, ...], Field(strict=False)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Label = Annotated[str, Field(pattern=r"^[^\s,@=][^\n,@=]{0,59}$")]


class Variant(Section):
    """A row of a study. A list of overrides will do: ``ada: [augmentation=ada]``.

    Attributes:
        recipe: A registered recipe in place of the study's baseline, or None.
        overrides: Changes of it, as behind ``--set``.
        settings: More changes, in the settings of these names, such as a length of training of the row's own.
        search: More changes of its trials, after those of every trial.
    """

    recipe: str | None = None
    overrides: Overrides = ()
    settings: dict[Label, Overrides] = Field(default_factory=dict)
    search: Overrides = ()

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, data: Any) -> Any:
        return {"overrides": data} if isinstance(data, list | tuple) else data


class Measure(Section):
    """What a run is measured by. A metric's name will do, and means its final score.

    Attributes:
        metric: Such as ``fid@mnist-cnn``.
        name: What claims and tables call it; the metric by default.
        at_seconds: The last score within so many seconds of training, evaluation excluded.
        at_images: The last score within so many images.
        below: The seconds of training until the score is first lower than this.
        above: The seconds of training until it is first higher.
    """

    metric: MetricName
    name: Annotated[str, Field(min_length=1, max_length=60)]
    at_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = None
    at_images: Images | None = None
    below: float | None = None
    above: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"metric": data, "name": data}
        return {"name": data.get("metric"), **data} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _one_point(self) -> Measure:
        if sum(one is not None for one in (self.at_seconds, self.at_images, self.below, self.above)) > 1:
            raise combination("has more than one of 'at_seconds', 'at_images', 'below' and 'above'")
        if self.name == self.metric and not self.is_final:
            raise combination("needs the key 'name', since it is not the final score")
        return self

    @property
    def is_final(self) -> bool:
        """Whether it is the metric's final score."""
        return self.at_seconds is None and self.at_images is None and not self.is_time

    @property
    def is_time(self) -> bool:
        """Whether it is a time until a score is reached."""
        return self.below is not None or self.above is not None

    @property
    def is_clocked(self) -> bool:
        """Whether it depends on how fast the machine is."""
        return self.is_time or self.at_seconds is not None

    def better(self, zoo: Zoo) -> Literal["lower", "higher", "neither"]:
        """Which values are better."""
        return "lower" if self.is_time else zoo.metric(self.metric.partition("@")[0]).better

    def scale(self, zoo: Zoo) -> Scale:
        """How two of its values compare."""
        return "ratio" if self.is_time else zoo.metric(self.metric.partition("@")[0]).scale


class Claim(Section):
    """A sentence of a paper, as a comparison of two rows.

    Attributes:
        says: The claim in words.
        paper: Who claims it.
        better: The row that should be better.
        than: The row that it should be better than.
        on: The measure.
        than_on: The measure of the row that it should be better than, where that is another one: ``better`` and
            ``than`` may then be the same row.
        at: The setting; None means the average over all settings.
    """

    says: Text
    paper: Annotated[str, Field(min_length=1, max_length=300)]
    better: str
    than: str = BASELINE
    on: str
    than_on: str | None = None
    at: str | None = None


class Range(Section):
    """Where a search looks for a number. A list of values will do for a choice.

    Attributes:
        low: The lowest value.
        high: The highest value.
        log: Equal factors are equally likely, not equal differences.
        integer: Whole numbers only.
        choices: Values to choose from, in place of the other four.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: Annotated[tuple[Any, ...], Field(strict=False)] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, data: Any) -> Any:
        if isinstance(data, list | tuple):
            return {"choices": data}
        if isinstance(data, dict):  # 1 and 0.5 are both numbers
            return {k: float(v) if k in ("low", "high") and type(v) is int else v for k, v in data.items()}
        return data

    @model_validator(mode="after")
    def _has_ends(self) -> Range:
        if self.choices:
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise combination("needs 'low' and 'high', low being less, or a list of choices")
        if self.log and self.low <= 0:
            raise combination("is logarithmic, so 'low' must be positive")
        return self

    def value(self, position: float) -> Any:
        """The value at a position in [0, 1)."""
        if self.choices:
            return self.choices[int(position * len(self.choices))]
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            low, high = self.low - 0.5, self.high + 0.5
        else:
            low, high = self.low, self.high
        if self.log:
            low = max(low, self.low / 2)
            found = low * (high / low) ** position
        else:
            found = low + position * (high - low)
        return min(int(self.high), max(int(self.low), round(found))) if self.integer else float(f"{found:.3g}")


class Search(Section):
    """Settings to be found for each row before it is compared: every row gets the same number of trials.

    Attributes:
        ranges: Where to look, by the key that ``--set`` would have.
        trials: For each row; the first one is the row as it stands.
        seeds: Of each trial.
        validation: Training images that are set apart to judge trials by, see ``dataset.validation``.
        overrides: Changes of every trial, such as a shorter training.
    """

    ranges: Annotated[dict[str, Range], Field(min_length=1)]
    trials: Annotated[int, Field(ge=2, le=4096)] = 16
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    validation: Annotated[int, Field(ge=2, le=10**9)] = 5000
    overrides: Overrides = ()

    def settings(self) -> list[tuple[str, ...]]:
        """The overrides of each trial: the same list on every machine, however many workers share it.

        A scrambled Sobol sequence (Bergstra & Bengio 2012 compare such with random search and grids,
        https://jmlr.org/papers/v13/bergstra12a.html) covers the ranges evenly at any length.
        """
        sobol = torch.quasirandom.SobolEngine(len(self.ranges), scramble=True, seed=0)  # type: ignore[no-untyped-call]
        changes = [
            tuple(
                f"{key}={strict.dump(found.value(min(position, 1 - 1e-9))).removesuffix(_END).strip()}"
                for (key, found), position in zip(self.ranges.items(), point.tolist(), strict=True)
            )
            for point in sobol.draw(self.trials - 1)
        ]
        return [(), *changes]


_END = "...\n"
"""What YAML writes after a document that is a single value."""


class Quick(Section):
    """The study in small, to see that it works: ``--quick``. It is trained in its first setting alone.

    Attributes:
        overrides: Changes of every training.
        seeds: Of every row.
        trials: Of a search.
    """

    overrides: Overrides = ("train.images=1280", "evaluate.samples=500", "evaluate.every_images=640")
    seeds: Annotated[int, Field(ge=2, le=100)] = 2
    trials: Annotated[int, Field(ge=2, le=100)] = 2


class Study(Section):
    """What a study's file holds.

    Attributes:
        name: The file's name without its ending.
        question: One line, ending with a question mark.
        paper: Whose question it is, or None.
        baseline: The registered recipe of the baseline, and of variants that name none.
        overrides: Changes of every training. Those of a variant come after them, then those of a setting, and last
            those of a variant in a setting.
        settings: Under which every row is trained: overrides by name. None: as it stands.
        variants: The other rows, by name.
        seeds: Of each variant.
        baseline_seeds: Of the baseline, which every variant is compared with; twice ``seeds`` by default.
        precision: Of every training whose row or setting says nothing else, so that all workers make the same runs.
        threads: CPU threads of every training, for the same reason.
        measures: What is measured; the first decides a search.
        claims: What is tested.
        notes: What a reader of the results has to know, a sentence or two each.
        search: Tunes the rows first.
        quick: What ``--quick`` does.
    """

    name: str
    question: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\n]*\?$")]
    paper: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    baseline: str
    overrides: Overrides = ()
    settings: dict[Label, Overrides] = Field(default_factory=dict)
    variants: dict[Label, Variant] = Field(default_factory=dict)
    seeds: Annotated[int, Field(ge=2, le=1000)] = 5
    baseline_seeds: Annotated[int, Field(ge=2, le=1000)] | None = None
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    measures: Annotated[tuple[Measure, ...], Field(strict=False, min_length=1)]
    claims: Annotated[tuple[Claim, ...], Field(strict=False)] = ()
    notes: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    search: Search | None = None
    quick: Quick = Field(default_factory=lambda: Quick.model_validate({}))

    @model_validator(mode="after")
    def _rows(self) -> Study:
        if not self.variants and self.search is None:
            raise combination("Give the study variants, or a search")
        for name in (BASELINE, *([TUNED] if not self.variants else [])):
            if name in self.variants:
                raise combination(f"The name '{name}' of a variant is taken")
        return self

    @property
    def rows(self) -> dict[str, Variant]:
        """The baseline first, then the variants."""
        plain = Variant.model_validate({})
        return {BASELINE: plain, **(self.variants or {TUNED: plain})}

    @property
    def setting_names(self) -> tuple[str, ...]:
        """At least one."""
        return tuple(self.settings) or (EVERYWHERE,)

    def is_tuned(self, row: str) -> bool:
        """Whether a search looks for the row's settings: for all rows, or where there are no variants, for `tuned`."""
        return self.search is not None and (row == TUNED or bool(self.variants))

    def seeds_of(self, row: str) -> int:
        """How many seeds a row is trained with."""
        return self.baseline_seeds or 2 * self.seeds if row == BASELINE else self.seeds

    def with_seeds(self, n: int) -> Study:
        """The study with n seeds of each variant, and twice as many of the baseline."""
        return self.model_copy(update={"seeds": n, "baseline_seeds": None})

    def in_small(self) -> Study:
        """The study as ``--quick`` runs it; its name says so. What it changes comes last, after variants and trials."""
        short = self.quick.overrides
        first = dict(list(self.settings.items())[:1]) or {EVERYWHERE: ()}
        search = self.search and self.search.model_copy(
            update={"trials": self.quick.trials, "seeds": 1, "overrides": (*self.search.overrides, *short)}
        )
        plain: dict[str, Any] = {"settings": {}, "search": ()}
        variants = {row: variant.model_copy(update=plain) for row, variant in self.variants.items()}
        return self.model_copy(
            update={
                "name": f"{self.name}-quick",
                "settings": {name: (*changes, *short) for name, changes in first.items()},
                "variants": variants,
                "claims": tuple(claim for claim in self.claims if claim.at is None or claim.at in first),
                "seeds": self.quick.seeds,
                "baseline_seeds": self.quick.seeds,
                "search": search,
            }
        )

    def measure(self, name: str) -> Measure:
        """The measure of that name.

        Raises:
            GanzooError: There is none.
        """
        for measure in self.measures:
            if measure.name == name:
                return measure
        raise unknown("measure", name, [measure.name for measure in self.measures])

    def cells(self, zoo: Zoo, found: Mapping[tuple[str, str], Sequence[str]] | None = None) -> list[Cell]:
        """What is trained and compared, one cell for each row in each setting.

        Args:
            zoo: Where names are looked up.
            found: The settings that a search found, by row and setting; the rows stay as they stand without.

        Raises:
            GanzooError: A recipe is unknown, or refused with its overrides.
        """
        return [
            Cell(row, setting, self._jobs(row, setting, (found or {}).get((row, setting), ()), zoo))
            for setting in self.setting_names
            for row in self.rows
        ]

    def trials(self, zoo: Zoo) -> list[Trial]:
        """Everything that a search tries; empty where the study has none."""
        if self.search is None:
            return []
        search = self.search
        apart = (f"dataset.validation={search.validation}", *search.overrides)
        trials = []
        for number, changes in enumerate(search.settings()):
            for setting in self.setting_names:
                for row, variant in self.rows.items():
                    if self.is_tuned(row):
                        jobs = self._jobs(row, setting, (*changes, *apart, *variant.search), zoo, trials=search.seeds)
                        trials.append(Trial(row, setting, number, changes, jobs))
        return trials

    def _jobs(
        self, row: str, setting: str, changes: Sequence[str], zoo: Zoo, *, trials: int | None = None
    ) -> tuple[Job, ...]:
        """The trainings of a cell; or so many of a trial, which is scored only by what decides it."""
        variant = self.rows[row]
        pins = [f"train.precision={self.precision}", f"train.threads={self.threads}"]
        in_setting = (*self.settings.get(setting, ()), *variant.settings.get(setting, ()))
        given = [*self.overrides, *pins, *variant.overrides, *in_setting, *changes]
        source = variant.recipe or self.baseline
        try:
            # What decides which metrics fit is the loss, the labels and the dataset; no key may name a metric yet.
            unscored = ["train.until=null", "train.keep_best=null", "evaluate.metrics=[]"]
            recipe = load_recipe(source, zoo, [*given, *unscored])
            metrics = self._metrics(self.measures if trials is None else self.measures[:1], recipe, zoo)
            first = job_of(source, zoo, [*given, f"evaluate.metrics=[{', '.join(metrics)}]"])
        except GanzooError as error:
            where = f"row '{row}'" + (f" in '{setting}'" if setting else "")
            raise GanzooError(f"The study '{self.name}', {where}: {error.sentence}", error.remedy) from error
        title = f"{self.name}: {row}" + (f", {setting}" if setting else "")
        first = replace(first, title=title, pictured=f"{self.name} {row} {setting}".strip())
        return tuple(first.with_seed(seed) for seed in range(self.seeds_of(row) if trials is None else trials))

    def _metrics(self, measures: Sequence[Measure], recipe: Recipe, zoo: Zoo) -> list[str]:
        """The metrics to ask of a cell: those that need labels or an encoder only where there are some."""
        names = [
            name
            for measure in measures
            for name in (headline(recipe.dataset.name, zoo) if measure.metric == HEADLINE else (measure.metric,))
        ]
        return [name for name in dict.fromkeys(names) if _fits(name, recipe, zoo)]


def _fits(name: str, recipe: Recipe, zoo: Zoo) -> bool:
    """Whether a metric can be asked of a recipe; an unknown one is refused with the recipe, in words."""
    metric = name.partition("@")[0]
    if metric not in zoo.metrics:
        return True
    found = zoo.metric(metric)
    if isinstance(found, ModelMetric):
        gets_labels = found.needs_unconditional and recipe.conditional
        return hasattr(zoo.losses.get(recipe.loss.name).factory, found.calls) and not gets_labels
    return recipe.conditional or not found.needs_labels


@dataclass(frozen=True)
class Cell:
    """A row in a setting.

    Attributes:
        row: ``baseline`` or a variant.
        setting: The setting's name.
        jobs: Its trainings, one for each seed.
    """

    row: str
    setting: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Trial:
    """What a search tries for a row in a setting.

    Attributes:
        row: ``baseline`` or a variant.
        setting: The setting's name.
        number: Of the trial; 0 is the row as it stands.
        changes: Its overrides.
        jobs: Its trainings, scored on the validation images.
    """

    row: str
    setting: str
    number: int
    changes: tuple[str, ...]
    jobs: tuple[Job, ...]


def load_study(source: str | Path, zoo: Zoo) -> Study:
    """Read and check a study.

    Args:
        source: A registered name, or the path of a YAML file.
        zoo: Where names are looked up.

    Raises:
        GanzooError: Anything is wrong with it, naming the file, the key and what was probably meant.
    """
    path = _find(source, zoo)
    data = strict.read_mapping(path)
    check_name("study", path.stem)
    if "name" in data:
        raise GanzooError(f"{path}: the study has no key 'name'.", "A study takes its name from its file.")
    given = {**data, "name": path.stem}
    try:
        study = Study.model_validate(given)
    except ValidationError as error:
        found = issues(error, Study, given)
        raise ValidationFailed(found, [f"{path}: {issue.sentence('the study')}" for issue in found]) from error
    study = _with_headline(study, zoo)
    for sentence, remedy in _wrong_names(study, zoo):
        raise GanzooError(f"{path}: {sentence}", remedy)
    return study


def _find(source: str | Path, zoo: Zoo) -> Path:
    path = Path(source)
    if str(source) not in zoo.studies and path.suffix in (".yaml", ".yml"):
        return path
    return zoo.studies.get(str(source)).create()


def _with_headline(study: Study, zoo: Zoo) -> Study:
    """``headline`` among the measures stands for the headline metrics of the baseline's dataset."""
    if all(measure.metric != HEADLINE for measure in study.measures):
        return study
    first = study.settings.get(study.setting_names[0], ())
    dataset = load_recipe(study.baseline, zoo, [*study.overrides, *first]).dataset.name
    names = [
        one
        for measure in study.measures
        for one in (headline(dataset, zoo) if measure.metric == HEADLINE else (measure,))
    ]
    measures = dict.fromkeys(Measure.model_validate(one) if isinstance(one, str) else one for one in names)
    return study.model_copy(update={"measures": tuple(measures)})


def _wrong_names(study: Study, zoo: Zoo) -> Iterator[tuple[str, str]]:
    """What a study names that does not exist, as a sentence and a remedy."""
    names = [measure.name for measure in study.measures]
    if len(set(names)) < len(names):
        yield "two measures have the same name.", "Give one of them another 'name'."
    for measure in study.measures:
        zoo.metrics.get(measure.metric.partition("@")[0])
    if study.search is not None and study.measures[0].better(zoo) == "neither":
        yield (
            f"its search is decided by '{names[0]}', of which neither more nor less is better.",
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
        if claim.better == claim.than and claim.than_on in (None, claim.on):
            yield f"{where} compares '{claim.better}' with itself.", ""
        for key, measure_name in (("on", claim.on), ("than_on", claim.than_on)):
            if measure_name is None:
                continue
            if measure_name not in names:
                yield f"{where}.{key} is '{measure_name}', but there is no such measure.", nearest(measure_name, names)
            elif study.measure(measure_name).better(zoo) == "neither":
                yield f"{where}.{key} is '{measure_name}', of which neither more nor less is better.", ""
        if claim.at is not None and claim.at not in study.settings:
            yield f"{where}.at is '{claim.at}', but there is no such setting.", nearest(claim.at, study.settings)
