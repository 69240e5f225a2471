"""``ganzoo eval``: score a run, or pictures from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo.cli.terminal import AllowCode, AllowPaths, AsJson, DataDir, WhichCheckpoint, print_json, say
from ganzoo.errors import NO_SPACE, GanzooError, RunError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from ganzoo.api.dataset import Part
    from ganzoo.evaluation.protocol import Protocol
    from ganzoo.registry.loading import Zoo
    from ganzoo.runs.folder import RunFolder, Which

Record = dict[str, Any]
MAX_BYTES_OF_A_SCORE = 1_000_000
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
    from ganzoo.registry.loading import load_zoo
    from ganzoo.reproducibility import resolve_device
    from ganzoo.runs.generator import refuse_name
    from ganzoo.runs.schemas import refuse_exported
    from ganzoo.runs.weights import zoo_name
    from ganzoo.training.tuning import settle_threads

    comparison = None if against is None else Comparison(against)
    if out is not None:
        _refuse_unsuitable(out)
    for name in metric or ():
        if "," in name:
            apart = " ".join(f"--metric {one.strip()}" for one in name.split(",") if one.strip())
            raise GanzooError(f"--metric takes one metric, not '{name}'.", f"Repeat it: {apart}.")
    arguments = Arguments(
        dataset,
        split,
        metric,
        everything,
        samples,
        weights,
        checkpoint,
        extractor_weights,
        seed,
        interval,
        anyway,
        crop,
        resolve_device(device),
        data_dir,
        comparison or (lambda coming: None),
    )
    if arguments.device.type == "cpu":
        settle_threads()
    run: RunFolder | None = None
    if zoo_name(what) is not None:
        _, records = _score_run(Path(what), arguments)  # not added to its card, which never changes
    elif (Path(what) / "run.json").exists():
        run, records = _score_run(Path(what), arguments)
    else:
        refuse_exported(Path(what))
        refuse_name(what, load_zoo())
        records = _score_pictures(what, arguments)
    # Saved before they are shown, since standard output may be closed by now.
    unsaved = [error for error in (_add_to_run(run, records), _append(out, records)) if error is not None]
    if as_json:
        print_json({"scores": records})
    else:
        show_scores(records, None if comparison is None else comparison.beside(records), str(against))
    for error in unsaved[:-1]:
        _warn(str(error))
    if unsaved:
        raise unsaved[-1]


class Comparison:
    """Scores of another run or file to compare with, if they were measured in the same way.

    Args:
        against: The run or scores file.
    """

    def __init__(self, against: Path) -> None:
        from ganzoo.runs.folder import scores_in

        self._against = against
        self._others = scores_in(against)
        self._found: dict[tuple[str, str | None], float | None] = {}

    def __call__(self, coming: Sequence[tuple[str, Protocol]]) -> None:
        """Find the counterparts of upcoming scores, and warn about missing ones before minutes are spent on scoring."""
        from ganzoo.evaluation.protocol import counterparts

        values, refused = counterparts(coming, self._others, self._against)
        self._found.update({(name, how["weights"]): value for (name, how), value in zip(coming, values, strict=True)})
        for sentence in refused:
            _warn(sentence)

    def beside(self, records: Sequence[Record]) -> list[float | None]:
        """The counterpart of each score."""
        return [self._found.get((record["metric"], record["weights"])) for record in records]


def _refuse_unsuitable(out: Path) -> None:
    """Refuse, before minutes are spent on scores, a file that cannot be created or holds something else."""
    from ganzoo.files import parse_json

    if out.is_dir() or not out.parent.is_dir():
        raise GanzooError(f"The scores cannot be written to {out}.", "Give a file in a folder that exists.")
    if out.is_symlink() or not out.is_file():
        return  # appending refuses a link, once the scores are shown
    try:
        with out.open("rb") as file:
            first = file.readline(MAX_BYTES_OF_A_SCORE)
        known = parse_json(first) if first else {"metric": ""}
    except ValueError:
        known = None
    except OSError as error:
        raise GanzooError(f"{out} cannot be read ({error.strerror}).", "Give another --out.") from error
    if not isinstance(known, dict) or "metric" not in known:
        raise GanzooError(f"{out} holds something other than scores, so none are appended.", "Give another --out.")


@dataclass(frozen=True)
class Arguments:
    """The command's arguments. None leaves the choice to the run, or to the defaults above.

    ``compare`` is called with the names and protocols of upcoming scores, and warns about those it cannot compare.
    """

    dataset: str | None
    split: Part | None
    metrics: Sequence[str] | None
    everything: bool
    samples: int | None
    weights: Weights | None
    checkpoint: Which
    extractor_weights: Path | None
    seed: int
    interval: bool
    anyway: bool
    crop: bool
    device: torch.device
    data_dir: Path | None
    compare: Callable[[Sequence[tuple[str, Protocol]]], None]

    def metric_names(self, default: Sequence[str], dataset: str, zoo: Zoo) -> Sequence[str]:
        """The metrics, or every metric of their extractors; ``headline`` means the dataset's headline metrics."""
        from ganzoo.config.checking import required_headline
        from ganzoo.registry.registry import HEADLINE

        names = [
            one
            for name in self.metrics or default
            for one in (required_headline(dataset, zoo) if name == HEADLINE else (name,))
        ]
        if not self.everything:
            return names
        by_extractor = [name for name in names if "@" in name] or required_headline(dataset, zoo)
        extractors = dict.fromkeys(name.partition("@")[2] for name in by_extractor)
        return [*(f"all@{extractor}" for extractor in extractors), *(name for name in names if "@" not in name)]


def _score_run(what: Path, arguments: Arguments) -> tuple[RunFolder, list[Record]]:
    """A run, and its scores with each kind of weights."""
    from ganzoo.config.checking import required_headline
    from ganzoo.config.loading import find_dataset
    from ganzoo.data import VALIDATION
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.registry.loading import load_zoo
    from ganzoo.runs.generator import load

    if arguments.crop:
        raise GanzooError(f"--crop is for pictures from elsewhere, but {what} is a run.", "Leave it out.")
    zoo = load_zoo()
    generator = load(what, checkpoint=arguments.checkpoint, zoo=zoo, device=arguments.device)
    recipe = generator.recipe
    dataset, options, own = zoo.datasets.get(recipe.dataset.name), recipe.dataset.options, True
    if arguments.dataset not in (None, dataset.name):
        dataset, options = find_dataset(arguments.dataset, zoo)
        own = dataset.name == recipe.dataset.name and options["path"] == recipe.dataset.options["path"]
    split: Part = arguments.split or (recipe.dataset.scored_split if own else "test")
    default = () if arguments.metrics else (own and recipe.evaluate.metrics) or required_headline(dataset.name, zoo)
    evaluator = Evaluator(
        arguments.metric_names(default, dataset.name, zoo),
        dataset,
        recipe.dataset.options if own else options,
        generator.run.data_dir(recipe) if own else arguments.data_dir,
        zoo,
        arguments.device,
        split=split,
        validation=recipe.dataset.validation if own else VALIDATION if split == "validation" else 0,
        count=recipe.dataset.count if own else 0,
        anyway=arguments.anyway or recipe.evaluate.anyway,
        extractor_weights=arguments.extractor_weights,
        objective=generator.assembly.objective,
    )
    samples = arguments.samples or recipe.evaluate.samples
    kinds = (arguments.weights,) if arguments.weights else generator.weights
    arguments.compare(
        [
            (request.name, evaluator.protocol(request, samples, arguments.seed, kind))
            for kind in kinds
            for request in evaluator.requests
        ]
    )
    state = generator.checkpoint.state
    seconds = round(float(state.get("seconds", 0.0)), 3)
    records = []
    for kind in kinds:
        images, labels = generator.sample_labelled(samples, seed=arguments.seed, weights=kind)
        scores = evaluator.score(
            images,
            sample_seed=arguments.seed,
            weights=kind,
            labels=labels,
            interval=arguments.interval,
            model=generator.model(kind),
        )
        records += [score.record(images=state["images"], seconds=seconds) for score in scores]
    return generator.run, records


def _score_pictures(what: str, arguments: Arguments) -> list[Record]:
    """The scores of pictures from a folder, a file or a function."""
    from ganzoo.config.loading import find_dataset
    from ganzoo.evaluation.evaluate import evaluate as evaluate_images
    from ganzoo.evaluation.image_io import call, is_function, read_pictures
    from ganzoo.evaluation.requests import parse_metrics
    from ganzoo.registry.loading import load_zoo
    from ganzoo.registry.registry import HEADLINE

    if arguments.weights is not None:
        raise GanzooError(f"{what} is not a run, so it has no '{arguments.weights}' weights.", "Leave --weights out.")
    if arguments.checkpoint != "last":
        raise GanzooError(f"{what} is not a run, so it has no checkpoints.", "Leave --checkpoint out.")
    zoo, named = load_zoo(), arguments.dataset or DATASET
    metrics = arguments.metric_names((HEADLINE,), find_dataset(named, zoo)[0].name, zoo)
    parse_metrics(metrics, zoo)  # refuse a misspelt name before a function spends minutes on drawing
    function, n = is_function(what), arguments.samples or SAMPLES
    pictures = call(what, n, arguments.seed) if function else read_pictures(Path(what))
    pictures = pictures.at_most(n, arguments.seed, "requested" if arguments.samples else "default")
    scores = evaluate_images(
        pictures,
        metrics,
        named,
        split=arguments.split or "test",
        anyway=arguments.anyway,
        device=arguments.device,
        data_dir=arguments.data_dir,
        sample_seed=arguments.seed if function else None,
        interval=arguments.interval,
        crop=arguments.crop,
        extractor_weights=arguments.extractor_weights,
        note=partial(say, err=True),
        check=arguments.compare,
    )
    return [score.record() for score in scores]


def _add_to_run(run: RunFolder | None, records: Sequence[Record]) -> GanzooError | None:
    """Append scores to those of their run, all or none; returns an error that can wait until the scores are shown."""
    if run is None:
        return None
    try:
        run.append_score(*records)
    except GanzooError as error:
        return error
    except OSError as error:
        sentence = f"None of the {len(records)} scores were added to {run.path} ({error.strerror})."
        if error.errno in NO_SPACE:
            return RunError(sentence, "They are shown above; free some space and score the run again.")
        # The run may be one that this user can only read.
        _warn(f"{sentence} They are shown here; --out FILE saves them elsewhere.")
    return None


def _append(out: Path | None, records: Sequence[Record]) -> GanzooError | None:
    """Append scores to a file, all or none; returns an error that can wait until the scores are shown."""
    from ganzoo.files import append_lines, locked_append

    if out is None:
        return None
    try:
        if out.exists() and not out.is_file():  # a device or pipe, next to which no lock file should be left
            append_lines(out, records)
        else:
            locked_append(out, records, durable=True)
    except GanzooError as error:
        return error
    except OSError as error:
        kind = RunError if error.errno in NO_SPACE else GanzooError
        return kind(
            f"None of the {len(records)} scores were written to {out} ({error.strerror}).",
            "They are shown above; give another --out.",
        )
    return None


def _warn(sentence: str) -> None:
    say(one_line(sentence), err=True, colour="yellow")
