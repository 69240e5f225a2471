"""``ganzoo eval``: score a run, or pictures from elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo.cli.terminal import AllowCode, AllowPaths, AsJson, DataDir, WhichCheckpoint, print_json, say
from ganzoo.errors import NO_SPACE, GanzooError, RunError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ganzoo.evaluation.protocol import Protocol
    from ganzoo.registry.loading import Zoo
    from ganzoo.runs.folder import RunFolder

    Compare = Callable[[Sequence[tuple[str, Protocol]]], None]

Record = dict[str, Any]
DATASET = "mnist"
SAMPLES = 10_000

Weights = Literal["ema", "raw"]


def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            help="A run folder, zoo:NAME, a folder of PNGs, an .npz with uint8 `images` (and `labels`), or "
            "module:function, which is called as function(n, seed) and returns uint8 images."
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Reference: a dataset's name, or a folder or zip archive of your own pictures; by default the run's "
            "own, or mnist."
        ),
    ] = None,
    split: Annotated[
        Literal["test", "train", "validation"] | None,
        typer.Option(
            help="Which of its images to compare with; validation means the training images that dataset.validation "
            "holds out. By default the split that the run itself was scored against, or test."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric to compute, such as fid@mnist-cnn; may be repeated. all@mnist-cnn means every metric that "
            "applies, headline the dataset's headline metrics. By default the run's own metrics, or headline."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every metric that applies, with every requested extractor.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(help="Number of images to score; by default the run's own, or 10000.", min=2, max=1_000_000),
    ] = None,
    weights: Annotated[
        Weights | None, typer.Option(help="Averaged (ema) or raw weights of a run; both by default.")
    ] = None,
    checkpoint: WhichCheckpoint = "last",
    extractor_weights: Annotated[
        Path | None, typer.Option(help="File with the weights of a downloaded extractor.", metavar="FILE")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the samples.", min=0, max=2**63 - 1)] = 0,
    interval: Annotated[
        bool, typer.Option("--interval/--no-interval", help="Compute the 95% interval of each score.")
    ] = True,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Also use extractors that were fitted to another dataset; this marks the scores for good."
        ),
    ] = False,
    crop: Annotated[bool, typer.Option("--crop", help="Crop a border that is black in all images.")] = False,
    against: Annotated[
        Path | None,
        typer.Option(help="A run or scores file to compare with; scores measured differently are not compared."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Append the scores to this file as JSON lines.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_dir: DataDir = None,
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    as_json: AsJson = False,
) -> None:
    """Score generated images against real ones. The scores of a run are appended to its scores.jsonl."""
    from ganzoo.cli.console import show_scores
    from ganzoo.config.checking import required_headline
    from ganzoo.config.loading import find_dataset
    from ganzoo.data import VALIDATION
    from ganzoo.evaluation.evaluate import call, is_function, read_pictures
    from ganzoo.evaluation.evaluate import evaluate as evaluate_images
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.evaluation.protocol import counterparts
    from ganzoo.evaluation.requests import parse_metrics
    from ganzoo.files import locked_append, read_lines
    from ganzoo.registry.loading import load_zoo
    from ganzoo.registry.registry import HEADLINE
    from ganzoo.reproducibility import resolve_device
    from ganzoo.runs.folder import scores_in
    from ganzoo.runs.generator import load, refuse_name, zoo_name
    from ganzoo.training.tuning import settle_threads

    for name in metric or ():
        if "," in name:
            apart = " ".join(f"--metric {one.strip()}" for one in name.split(",") if one.strip())
            raise GanzooError(f"--metric takes one metric, not '{name}'.", f"Repeat it: {apart}.")
    if out is not None:  # before minutes are spent on scores
        if out.is_dir() or not out.parent.is_dir():
            raise GanzooError(f"The scores cannot be written to {out}.", "Give a file in a folder that exists.")
        known = out.is_file() and not out.is_symlink() and out.stat().st_size  # a link is refused when it is written
        if known and not read_lines(out, lambda record: "metric" in record):
            raise GanzooError(f"{out} holds something other than scores, so none are appended.", "Give another --out.")
    others = None if against is None else scores_in(against)
    beside: dict[tuple[str, str | None], float | None] = {}

    def compare(coming: Sequence[tuple[str, Protocol]]) -> None:
        """Find the counterparts of upcoming scores, and warn about missing ones before minutes are spent on scoring."""
        if others is None or against is None:
            return
        values, refused = counterparts(coming, others, against)
        for (metric, protocol), value in zip(coming, values, strict=True):
            beside[metric, protocol["weights"]] = value
        for sentence in refused:
            _warn(sentence)

    zoo, place = load_zoo(), resolve_device(device)
    if place.type == "cpu":
        settle_threads()
    run: RunFolder | None = None
    is_published = zoo_name(what) is not None
    if is_published or (Path(what) / "run.json").exists():
        if crop:
            raise GanzooError(f"--crop is for pictures from elsewhere, but {what} is a run.", "Leave it out.")
        generator = load(what, checkpoint=checkpoint, zoo=zoo, device=place)
        run = None if is_published else generator.run  # a card never changes
        recipe, state = generator.recipe, generator.checkpoint.state
        real, options, own = zoo.datasets.get(recipe.dataset.name), recipe.dataset.options, True
        if dataset not in (None, real.name):
            real, options = find_dataset(dataset, zoo)
            own = real.name == recipe.dataset.name and options["path"] == recipe.dataset.options["path"]
        default = () if metric else (own and recipe.evaluate.metrics) or required_headline(real.name, zoo)
        evaluator = Evaluator(
            _metric_names(metric or default, everything, real.name, zoo),
            real,
            recipe.dataset.options if own else options,
            generator.run.data_dir(recipe) if own else data_dir,
            zoo,
            place,
            split=split or (recipe.dataset.scored_split if own else "test"),
            validation=recipe.dataset.validation if own else VALIDATION if split == "validation" else 0,
            count=recipe.dataset.count if own else 0,
            anyway=anyway or recipe.evaluate.anyway,
            extractor_weights=extractor_weights,
            objective=generator.assembly.objective,
        )
        n = samples or recipe.evaluate.samples
        kinds = (weights,) if weights else generator.weights
        compare([(one.name, evaluator.protocol(one, n, seed, kind)) for kind in kinds for one in evaluator.requests])
        records = []
        for kind in kinds:
            images, labels = generator.sample_labelled(n, seed=seed, weights=kind)
            model = generator.model(kind)
            scores = evaluator.score(
                images, sample_seed=seed, weights=kind, labels=labels, interval=interval, model=model
            )
            seconds = round(float(state.get("seconds", 0.0)), 3)
            records += [score.record(images=state["images"], seconds=seconds) for score in scores]
    else:
        if weights is not None:
            raise GanzooError(f"{what} is not a run, so it has no '{weights}' weights.", "Leave --weights out.")
        if checkpoint != "last":
            raise GanzooError(f"{what} is not a run, so it has no checkpoints.", "Leave --checkpoint out.")
        refuse_name(what, zoo)
        name = find_dataset(dataset or DATASET, zoo)[0].name
        names = _metric_names(metric or (HEADLINE,), everything, name, zoo)
        parse_metrics(names, zoo)  # refuse a misspelt name before a function spends minutes on drawing
        function, n = is_function(what), samples or SAMPLES
        pictures = call(what, n, seed) if function else read_pictures(Path(what))
        scores = evaluate_images(
            pictures.at_most(n, seed, "requested" if samples else "default"),
            names,
            dataset or DATASET,
            split=split or "test",
            anyway=anyway,
            device=place,
            data_dir=data_dir,
            sample_seed=seed if function else None,
            interval=interval,
            crop=crop,
            extractor_weights=extractor_weights,
            note=partial(say, err=True),
            check=compare,
        )
        records = [score.record() for score in scores]
    # Saved before they are shown, since standard output may be closed by now.
    unsaved = []
    if run is not None:
        unsaved += _unsaved(partial(run.append_score, *records), f"added to {run.path}", len(records))
    if unsaved and not isinstance(unsaved[0], RunError):
        _warn(str(unsaved.pop()))  # the run may be one that this user can only read
    if out is not None:
        unsaved += _unsaved(partial(locked_append, out, records, durable=True), f"written to {out}", len(records))
    if as_json:
        print_json({"scores": records})
    else:
        compared = [beside.get((record["metric"], record["weights"])) for record in records]
        show_scores(records, None if against is None else compared, str(against))
    for error in unsaved[:-1]:
        _warn(str(error))
    if unsaved:
        raise unsaved[-1]


def _unsaved(append: Callable[[], object], where: str, n: int) -> list[GanzooError]:
    """Append scores, all or none; returns an error that can wait until the scores are shown."""
    try:
        append()
    except GanzooError as error:
        return [error]
    except OSError as error:
        kind = RunError if error.errno in NO_SPACE else GanzooError
        sentence = f"None of the {n} scores were {where} ({error.strerror})."
        return [kind(sentence, "They are shown above; give another --out.")]
    return []


def _metric_names(metrics: Sequence[str], everything: bool, dataset: str, zoo: Zoo) -> Sequence[str]:
    """The metrics, or every metric of their extractors; ``headline`` means the dataset's headline metrics."""
    from ganzoo.config.checking import required_headline
    from ganzoo.registry.registry import HEADLINE

    names = [one for name in metrics for one in (required_headline(dataset, zoo) if name == HEADLINE else (name,))]
    if not everything:
        return names
    by_extractor = [name for name in names if "@" in name] or required_headline(dataset, zoo)
    extractors = dict.fromkeys(name.partition("@")[2] for name in by_extractor)
    return [*(f"all@{extractor}" for extractor in extractors), *(name for name in names if "@" not in name)]


def _warn(sentence: str) -> None:
    say(one_line(sentence), err=True, colour="yellow")
