"""A study: a question put to several recipes, with a baseline, seeds, measures and the claims to test.

A study is a YAML file (docs/studies.md). Its rows are the baseline and the variants; a row in a setting is a cell. Rows
are tuned and must pass gates, on validation images, and are then trained with as many seeds as their claims need.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from ganzoo.api.metric import ModelMetric, Scale, ShareOf
from ganzoo.build import build_objective
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
EVERYWHERE: Final = ""
"""The name of the only setting of a study without settings."""
UNCLAIMED: Final = 3
"""Seeds of a row without a claim."""
FRESH: Final = 100
"""The usual first seed. Smaller ones may have been seen when the study was planned; with those, it is exploratory."""
TUNING_SEEDS: Final = 3
"""Seeds of the two best settings of a row that is tuned."""
VALIDATION_SEEDS: Final = 5
"""Seeds by which gates are measured."""
QUICK: Final = ("train.images=1280", "evaluate.samples=500", "evaluate.every_images=640")
"""What ``--quick`` changes in every run: it checks that a study works."""

Place = tuple[str, str]
"""A row and a setting."""
Overrides = Annotated[tuple[str, ...], Field(strict=False)]
Text = Annotated[str, Field(min_length=1, max_length=500), OneLine]
Paper = Annotated[str, Field(min_length=1, max_length=300), OneLine]
Label = Annotated[str, Field(pattern=r"^[^\s,@=][^\n,@=]{0,59}$")]
Short = Annotated[str, Field(min_length=1, max_length=60), OneLine]


def is_range(values: Sequence[Any]) -> bool:
    """Whether values to try are a range, three or more numbers, rather than alternatives."""
    return len(values) > 2 and all(isinstance(one, int | float) for one in values)


def _increasing(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if is_range(values) and not all(low < high for low, high in itertools.pairwise((0, *values))):
        raise combination("Three or more numbers are a range, and must be positive and increase")
    return values


Ranges = dict[str, Annotated[tuple[Any, ...], Field(strict=False, min_length=2), AfterValidator(_increasing)]]
"""Values to try, by key as for ``--set``; three or more numbers are a range, which is extended if an end is best."""


class Variant(Section):
    """A row of a study. A list of overrides is enough: ``ada: [augmentation=ada]``."""

    recipe: str | None = None  # a registered recipe to use instead of the study's baseline
    overrides: Overrides = ()  # changes to it, as for ``--set``
    settings: dict[Label, Overrides] = Field(default_factory=dict)  # further changes in individual settings, by name
    search: Ranges = Field(default_factory=dict)  # that are tried for this row only, besides the study's or instead

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

    def is_reached(self, score: float) -> bool:
        """Whether a score is beyond the threshold."""
        return (self.below is not None and score < self.below) or (self.above is not None and score > self.above)

    def better(self, zoo: Zoo) -> Literal["lower", "higher", "neither"]:
        """Which values are better."""
        return "lower" if self.is_time else zoo.metric(self.metric.partition("@")[0]).better

    def scale(self, zoo: Zoo) -> Scale:
        """How two of its values compare."""
        return "ratio" if self.is_time else zoo.metric(self.metric.partition("@")[0]).scale

    def share_of(self, zoo: Zoo) -> ShareOf:
        """What its values are shares of, if their scale is ``share``."""
        return zoo.metric(self.metric.partition("@")[0]).share_of


def _of_one(names: Any) -> Any:
    return (names,) if isinstance(names, str) else names


class Claim(Section):
    """A claim, as a comparison of two rows."""

    says: Text
    method: Short | None = None  # the row that should be better, in a few words; None uses its name, like ``rival``
    rival: Short | None = None  # the row ``than``, in a few words
    paper: Paper | None = None  # that makes it; None for a hypothesis of one's own
    better: str  # the row that should be better
    than: str = BASELINE  # the row that it should be better than
    on: Annotated[tuple[str, ...], Field(strict=False, min_length=1), BeforeValidator(_of_one)]
    """The measure, or several: then the mean of their logarithms decides, and each alone is shown beside it."""
    than_on: str | None = None  # the measure of the row ``than``, if it differs; both may then be the same row
    at: str | None = None  # the setting; None means the average over all settings
    about: Literal["scores", "failures"] = "scores"  # what is compared: scores, or the share of runs that collapsed
    paired: bool = False  # whether both rows with equal seeds are one training run, whose scores are pairs
    withdrawn: Text | None = None  # why the claim is not tested, in a sentence


class Gates(Section):
    """What must hold, by five seeds on validation images, before a claim is tested."""

    reference: Annotated[Overrides, Field(min_length=1)]
    """Changes to the tuned baseline that should make it at least 20% better: there is room for an improvement."""
    deviation: Annotated[float, Field(gt=0)] | None = None  # below which the logs of a row's seeds must deviate
    above: dict[str, float] = Field(default_factory=dict)  # values that the baseline must exceed, by measure


class Study(Section):
    """The contents of a study's file."""

    name: str  # the file's, without its suffix
    question: Annotated[str, Field(min_length=1, max_length=200)]
    paper: Paper | None = None  # that the question comes from
    repeats: str | None = None  # the registered study whose claims it tests elsewhere; its pages say what differs
    baseline: str  # the registered recipe of the baseline, and of variants that do not name one
    overrides: Overrides = ()
    """Changes to every run. A row's own are applied after them, then the setting's, and finally a variant's for that
    setting."""
    baseline_overrides: Overrides = ()
    """Changes to the baseline's own row. No variant inherits them."""
    settings: dict[Label, Overrides] = Field(default_factory=dict)  # in which every row is trained, by name
    variants: Annotated[dict[Label, Variant], Field(min_length=1)]  # the other rows, by name
    first_seed: Annotated[int, Field(ge=0, le=10**9)] = FRESH  # of every row; the next follow in order
    collapse: Annotated[float, Field(gt=1)] | None = BEYOND
    """A run has collapsed if it has no score, or one this many times worse than the median of the baseline's first five
    seeds in its setting; None for no such bar. Shares, counts and times have none."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Of every run, unless its row or setting sets another; fixed so that all workers train the same runs."""
    threads: Threads = 1  # of every run, for the same reason
    measures: Annotated[tuple[Measure, ...], Field(strict=False, min_length=1)]
    claims: Annotated[tuple[Claim, ...], Field(strict=False)] = ()
    notes: Annotated[tuple[Text, ...], Field(strict=False)] = ()  # what readers of the results need to know
    search: Ranges = Field(default_factory=dict)  # tunes every row first, by the measures of the first claim
    validation: Annotated[int, Field(ge=2, le=10**9)] = 5000  # training images held out to tune rows and for the gates
    gates: Gates | None = None
    tried: tuple[dict[str, Any], ...] = Field(default=(), strict=False)
    """Regimes that were tried before, each as the keys of the file that it had differently."""
    source: str = Field(default="", exclude=True)
    """What ``ganzoo study run`` takes: the path that was given or, if that was absolute, the file's name alone."""
    is_quick: bool = Field(default=False, exclude=True)  # whether it is the small version of a study

    @model_validator(mode="after")
    def _rows(self) -> Study:
        if self.is_tuned and not self.claims:
            raise combination("has a search or gates, but no claim whose measures decide them")
        if BASELINE in self.variants:
            raise combination(f"A variant cannot have the reserved name '{BASELINE}'")
        return self

    @property
    def rows(self) -> dict[str, Variant]:
        """The baseline first, then the variants."""
        return {BASELINE: Variant(overrides=self.baseline_overrides), **self.variants}

    @property
    def setting_names(self) -> tuple[str, ...]:
        """Names of the settings, at least one."""
        return tuple(self.settings) or (EVERYWHERE,)

    @property
    def places(self) -> list[Place]:
        """Every row in every setting."""
        return [(row, setting) for setting in self.setting_names for row in self.rows]

    def settings_of(self, claim: Claim) -> tuple[str, ...]:
        """The settings that a claim is about."""
        return self.setting_names if claim.at is None else (claim.at,)

    @property
    def is_tuned(self) -> bool:
        """Whether validation images decide something before claims are tested."""
        return self.gates is not None or bool(self.search) or any(one.search for one in self.variants.values())

    @property
    def deciding(self) -> list[Measure]:
        """The measures that tune rows: those of the first claim."""
        return [self.measure(name) for name in self.claims[0].on]

    @property
    def regimes(self) -> list[Study]:
        """The study as it was in each regime that was tried before."""
        return [Study.model_validate({**self.model_dump(), **former, "tried": ()}) for former in self.tried]

    def first_seeds(self, row: str, setting: str, claims: Collection[Claim] | None = None) -> int:
        """The number of seeds that a cell gets at once: those of the first look if a claim that is tested is about it.

        ``claims`` are those that are tested; by default, all that are not withdrawn. A row of others gets none.
        """
        if self.is_quick:
            return 2
        claimed = [one for one in self.claims if not one.withdrawn]
        for some, seeds in ((claimed if claims is None else claims, LOOKS[0]), (claimed, 0)):
            if any(one.at in (None, setting) and row in (BASELINE, one.better, one.than) for one in some):
                return seeds
        return UNCLAIMED

    @property
    def is_exploratory(self) -> bool:
        """Whether its seeds may have been seen when it was planned."""
        return self.first_seed < FRESH

    def scaled_down(self) -> Study:
        """The study as ``--quick`` runs it, named accordingly, without gates. Its changes apply after variants'."""
        first = dict(list(self.settings.items())[:1]) or {EVERYWHERE: ()}
        variants = {
            row: variant.model_copy(
                update={"settings": {name: (*variant.settings.get(name, ()), *QUICK) for name in first}, "search": {}}
            )
            for row, variant in self.variants.items()
        }
        claims = tuple(claim for claim in self.claims if claim.at is None or claim.at in first)
        return self.model_copy(
            update={
                "name": f"{self.name}-quick",
                "settings": {name: (*changes, *QUICK) for name, changes in first.items()},
                "variants": variants,
                "claims": claims,
                "search": {key: values[:2] for key, values in list(self.search.items())[:1] if claims},
                "gates": None,
                "tried": (),
                "repeats": None,
                "is_quick": True,
            }
        )

    def measure(self, name: str) -> Measure:
        """The measure with this name, which must exist."""
        return next(measure for measure in self.measures if measure.name == name)

    def cells(self, zoo: Zoo, found: Mapping[Place, Sequence[str]] | None = None) -> list[Cell]:
        """The cells to train and compare, one for each row in each setting.

        ``found`` holds the overrides that tuning found, by row and setting; other rows stay unchanged.
        """
        return [self._cell(*place, (found or {}).get(place, ()), zoo) for place in self.places]

    def ranges(self, row: str) -> Ranges:
        """The values to try for a row, by key."""
        return {**self.search, **self.rows[row].search}

    def trials(self, zoo: Zoo) -> list[Cell]:
        """The first trials of every row; none if nothing is decided on validation images."""
        return [
            self.on_validation(row, setting, changes, zoo)
            for row, setting in (self.places if self.is_tuned else ())
            for changes in combinations(self.ranges(row))
        ]

    def references(self, zoo: Zoo, found: Mapping[Place, Sequence[str]] | None = None) -> list[Cell]:
        """The reference of the gates in each setting, with what tuning found as for ``cells``; none without gates."""
        if self.gates is None:
            return []
        baselines = {setting: (found or {}).get((BASELINE, setting), ()) for setting in self.setting_names}
        return [
            self.on_validation(BASELINE, setting, (*changes, *self.gates.reference), zoo)
            for setting, changes in baselines.items()
        ]

    def on_validation(self, row: str, setting: str, changes: Sequence[str], zoo: Zoo) -> Cell:
        """A row in a setting with further changes, scored on validation images."""
        cell = self._cell(row, setting, changes, zoo, held_out=(f"dataset.validation={self.validation}",))
        gated = self.gates.above if self.gates and row == BASELINE else ()
        for one in (*self.deciding, *map(self.measure, gated)):
            if one.metric not in cell.jobs[0].recipe.evaluate.metrics:
                raise self._error(
                    row,
                    setting,
                    f"the measure '{one.name}', which tunes rows or gates them, does not apply to this one.",
                    "Give another measure, or put another claim first.",
                )
        return cell

    def refuse_unfit(self, zoo: Zoo, data_dir: Path | None = None) -> None:
        """Refuse a measure whose extractor does not fit a row's images; to be called before anything is trained.

        A run would only leave such a score out. A dataset is loaded only if its name does not tell that they fit.
        """
        known: set[str] = set()
        for cell in self.cells(zoo):
            recipe = cell.jobs[0].recipe
            section = recipe.dataset
            extractors = [
                (one, zoo.extractors.get(one.partition("@")[2])) for one in recipe.evaluate.metrics if "@" in one
            ]
            doubtful = [
                metric
                for metric, entry in extractors
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
                raise self._error(*cell.place, reasons[0], how_to_score(dataset.domain, zoo))

    def _cell(
        self, row: str, setting: str, changes: Sequence[str], zoo: Zoo, *, held_out: tuple[str, ...] = ()
    ) -> Cell:
        """A row in a setting with further changes; ``held_out`` is the one that scores it on validation images."""
        variant = self.rows[row]
        pins = [f"train.precision={self.precision}", f"train.threads={self.threads}"]
        in_setting = (*self.settings.get(setting, ()), *variant.settings.get(setting, ()))
        # What is held out comes last, so that no override of the whole dataset moves it to the test images.
        overrides = [*self.overrides, *pins, *variant.overrides, *in_setting, *changes, *held_out]
        source = variant.recipe or self.baseline
        try:
            for change in (*self.overrides, *variant.overrides, *in_setting, *changes):
                _refuse_lost(change, of_all_rows=change in self.overrides)
            # Which metrics apply depends on the loss, the labels and the dataset, so no key may name a metric yet.
            unscored = ["train.until=null", "train.keep_best=null", "evaluate.metrics=[]"]
            recipe = load_recipe(source, zoo, [*overrides, *unscored])
            names = dict.fromkeys(one.metric for one in self.measures)
            metrics = [name for name in names if _fits(name, recipe, zoo)]
            first = job_of(source, zoo, [*overrides, f"evaluate.metrics=[{', '.join(metrics)}]"])
        except GanzooError as error:
            raise self._error(row, setting, error.sentence, error.remedy) from error
        title = f"{self.name}: {row}" + (f", {setting}" if setting else "")
        start, n = self.first_seed, 2 if self.is_quick else LOOKS[-1]
        if held_out:
            start, n, title = 0, VALIDATION_SEEDS, f"{title}, {' '.join((*changes, *held_out))}"
        picture = "" if held_out else f"{self.name} {row} {setting}".strip()
        jobs = [replace(first, title=title, pictured="" if i else picture).with_seed(start + i) for i in range(n)]
        return Cell(row, setting, tuple(jobs), tuple(changes))

    def _error(self, row: str, setting: str, sentence: str, remedy: str) -> GanzooError:
        """An error about a row in a setting."""
        place = f"row '{row}'" + (f" in '{setting}'" if setting else "")
        return GanzooError(f"The study '{self.name}', {place}: {sentence}", remedy)


def combinations(ranges: Ranges) -> dict[tuple[str, ...], dict[str, Any]]:
    """Every combination of values, one for each key: as overrides, and by key."""
    points = [dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())]
    return {tuple(f"{key}={strict.quoted(value)}" for key, value in point.items()): point for point in points}


def _fits(metric_name: str, recipe: Recipe, zoo: Zoo) -> bool:
    """Whether a metric applies to a recipe."""
    metric = zoo.metric(metric_name.partition("@")[0])
    if isinstance(metric, ModelMetric):
        return not (metric.needs_unconditional and recipe.conditional) and hasattr(
            build_objective(recipe, zoo), metric.calls
        )
    return recipe.conditional or not metric.needs_labels


@dataclass(frozen=True)
class Cell:
    """A row in a setting, as it stands or with changes."""

    row: str
    setting: str
    jobs: tuple[Job, ...]
    """Its possible runs, one for each seed in order, of which only those that are needed are made."""
    changes: tuple[str, ...] = ()  # overrides that are tried on validation images

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
    own = {"name": path.stem, "source": path.name if Path(source).is_absolute() else str(source), "is_quick": False}
    if taken := [key for key in own if key in data]:
        raise GanzooError(
            f"{path}: the study has no key '{taken[0]}'.", "Leave it out: the file or the command sets it."
        )
    named = {**data, **own}
    try:
        study = Study.model_validate(named)
        _ = study.regimes  # refuses a wrong one
    except ValidationError as error:
        raise _refusal(strict.issues(error, Study, named, filled_in=own.keys()), path) from error
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
    for sentence, remedy in (fault for one in (study, *study.regimes) for fault in _wrong_names(one, zoo)):
        raise GanzooError(f"{path}: {sentence}", remedy)
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


NAMED: Mapping[str, str] = {"better": "row", "than": "row", "on": "measure", "than_on": "measure", "at": "setting"}
"""What the keys of a claim name."""


def _wrong_names(study: Study, zoo: Zoo) -> Iterator[tuple[str, str]]:
    """What is wrong with the question and the names in a study, each as a sentence and a remedy."""
    if "\n" in study.question or not study.question.endswith("?"):
        yield "question must be one line that ends with a question mark.", ""
    measures = [measure.name for measure in study.measures]
    known: Mapping[str, Collection[str]] = {
        "row": study.rows,
        "measure": measures,
        "setting": study.settings,
        "study": [one.name for one in zoo.studies],
    }
    if len(set(measures)) < len(measures):
        yield "two measures have the same name.", "Give one of them another 'name'."
    named = [("gates.above", "measure", name) for name in (study.gates.above if study.gates else ())]
    named += [("repeats", "study", study.repeats)] if study.repeats else []
    for row, variant in study.variants.items():
        named += [(f"variants.{row}.settings", "setting", name) for name in variant.settings]
    for index, claim in enumerate(study.claims):
        for key, kind in NAMED.items():
            names = getattr(claim, key)
            named += [(f"claims.{index}.{key}", kind, name) for name in _of_one(names) or ()]
    for where, kind, name in named:
        if name not in known[kind]:
            yield f"{where} is '{name}', but there is no such {kind}.", nearest(name, known[kind])
    for index, claim in enumerate(study.claims):
        if claim.better == claim.than and claim.than_on in (None, *claim.on):
            yield f"claims.{index} compares '{claim.better}' with itself.", ""
        first, *others = map(study.measure, (*claim.on, claim.than_on or claim.on[0]))
        if first.better(zoo) == "neither":
            yield f"claims.{index}.on is '{first.name}', for which neither higher nor lower is better.", ""
        for other in others:
            if (first.better(zoo), first.scale(zoo)) != (other.better(zoo), other.scale(zoo)):
                sentence = f"compares '{first.name}' with '{other.name}', which are different kinds of number."
                yield f"claims.{index} {sentence}", ""
