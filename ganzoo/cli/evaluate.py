"""Scores as a table: which way each is better, the floor beside it, and the protocol below."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo.errors import GanzooError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from rich.table import Table

    from ganzoo.evaluation.evaluator import Judge
    from ganzoo.evaluation.image_io import Pictures
    from ganzoo.registry.loading import Zoo
    from ganzoo.runs.folder import RunFolder
    from ganzoo.runs.generator import TrainedGenerator

Record = dict[str, Any]
ARROWS = {"lower": "↓", "higher": "↑", "neither": "="}


def show_scores(records: Sequence[Record], compared: Sequence[float | None] | None, against: str) -> None:
    """Print scores.

    Args:
        records: As in scores.jsonl.
        compared: For each the value to compare it with, or None; None where nothing is compared.
        against: Where those are from.
    """
    from rich.console import Console

    console = Console()
    console.print(_table(records, compared))
    if compared is not None:
        console.print(f"against: {against}", markup=False, highlight=False, soft_wrap=True)
    for sentence in _warnings(records):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    for line in _protocols(records):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _protocols(records: Sequence[Record]) -> list[str]:
    """What was measured how; metrics of one protocol share a line."""
    from ganzoo.evaluation.protocol import describe

    named: dict[str, dict[str, None]] = {}
    for record in records:
        named.setdefault(describe(record["protocol"]), {})[record["metric"]] = None
    return [
        f"{', '.join(metrics) if len(named) > 1 or len(metrics) < 4 else 'All'}: {told}"
        for told, metrics in named.items()
    ]


def _table(records: Sequence[Record], compared: Sequence[float | None] | None) -> Table:
    from rich.table import Table

    has_weights = any(record["weights"] for record in records)
    table = Table()
    table.add_column("metric", no_wrap=True)
    for heading in ("better", "value", "real-vs-real floor"):
        table.add_column(heading, justify="right")
    if has_weights:
        table.add_column("weights")
    table.add_column("n", justify="right")
    if compared is not None:
        table.add_column("against", justify="right")
    for index, record in enumerate(records):
        cells = _cells(record, has_weights)
        if compared is not None:
            cells.append(_number(compared[index]))
        table.add_row(*cells)
    return table


def _cells(record: Record, has_weights: bool) -> list[str]:
    from ganzoo.evaluation.metrics import METRICS

    value, protocol = _number(record["value"]), record["protocol"]
    if "interval" in record:
        value += " ({} to {})".format(*map(_number, record["interval"]))
    cells = [record["metric"], ARROWS[METRICS[protocol["metric"]].better], value, _number(record["floor"])]
    return [*cells, *([record["weights"] or "-"] if has_weights else []), f"{protocol['n_fake']:,}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _warnings(records: Sequence[Record]) -> list[str]:
    from ganzoo.evaluation.metrics import copies

    found = []
    for record in records:
        protocol = record["protocol"]
        if protocol["metric"] == "memorisation" and copies(
            record["value"], record["floor"], protocol["n_fake"], protocol["n_floor"]
        ):
            found.append(
                f"Training images are copied: {record['value']:.1%} of the samples are suspiciously close to one, "
                f"and {record['floor']:.1%} of real images that were never trained on."
            )
    return found


DATASET = "mnist"
METRICS = ("fid@mnist-cnn",)
EVERYTHING = ("all@mnist-cnn",)
SAMPLES = 10_000

Weights = Literal["ema", "raw"]


def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            help="A run folder, a folder of PNGs, an .npz with uint8 `images` (and `labels`), or module:function, "
            "which is called as function(n, seed) and returns uint8 images."
        ),
    ],
    dataset: Annotated[
        str | None, typer.Option(help="Whose images are the reference; mnist, or the run's own.")
    ] = None,
    split: Annotated[Literal["test", "train"], typer.Option(help="Which of its images.")] = "test",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeat for several; all@mnist-cnn is every metric that applies. fid@mnist-cnn, or the run's own."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every metric that applies, in every extractor asked for.")
    ] = False,
    samples: Annotated[
        int | None, typer.Option(help="Number of images to score; 10000, or the run's own.", min=2)
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="ema or raw: which weights of a run; all it has, if nothing is said. "
            "Or the FILE of a downloaded extractor's weights."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the samples.", min=0)] = 0,
    interval: Annotated[bool, typer.Option("--interval", help="A bootstrap interval for FID; takes seconds.")] = False,
    crop: Annotated[bool, typer.Option("--crop", help="Cut off a border that is black in all images.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="A run or scores file to compare with, measured in the same way.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Append the scores to this file as JSON lines.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where dataset files already are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on standard output.")] = False,
) -> None:
    """Score generated images against real ones. The scores of a run are appended to its scores.jsonl."""
    from ganzoo.runs.comparison import counterparts, read_scores
    from ganzoo.training.device import resolve_device

    kind, file = _weights(weights or [])
    asked = Asked(
        dataset, split, metric, everything, samples, kind, file, seed, interval, crop, resolve_device(device), data_dir
    )
    others = None if against is None else read_scores(against)
    _refuse_unwritable(out)
    records = _of_run(Path(what), asked) if (Path(what) / "run.json").exists() else _of_pictures(what, asked)
    compared = None if others is None or against is None else counterparts(records, others, against)
    if as_json:
        typer.echo(json.dumps({"scores": records}, ensure_ascii=False))
    else:
        show_scores(records, compared, str(against))
    if out is not None:
        _append(out, records)


@dataclass(frozen=True)
class Asked:
    """What the person said; None is left to the run, or to the defaults above."""

    dataset: str | None
    split: Literal["test", "train"]
    metrics: Sequence[str] | None
    everything: bool
    samples: int | None
    weights: Weights | None
    weights_file: Path | None
    seed: int
    interval: bool
    crop: bool
    device: torch.device
    data_dir: Path | None

    def judge(
        self, zoo: Zoo, dataset: str, options: Mapping[str, Any], metrics: Sequence[str], data_dir: Path | None
    ) -> Judge:
        """Who scores, with the given defaults."""
        from ganzoo.evaluation.evaluator import Judge

        name = self.dataset or dataset
        return Judge(
            self._names(metrics),
            zoo.datasets.get(name),
            options if name == dataset else {},
            data_dir,
            zoo,
            self.device,
            split=self.split,
            weights=self.weights_file,
        )

    def _names(self, metrics: Sequence[str]) -> Sequence[str]:
        names = self.metrics or metrics or METRICS
        if not self.everything:
            return names
        return [f"all@{extractor}" for extractor in dict.fromkeys(name.partition("@")[2] for name in names)]


def _weights(given: Sequence[str]) -> tuple[Weights | None, Path | None]:
    """Which weights of a run, and the file of an extractor's weights."""
    kinds: list[Weights] = [kind for kind in ("ema", "raw") if kind in given]
    files = [Path(one) for one in given if one not in ("ema", "raw")]
    if len(files) > 1:
        raise GanzooError(f"{files[0]} and {files[1]} cannot both be the weights.", "Score each extractor by itself.")
    return kinds[0] if len(kinds) == 1 else None, files[0] if files else None


def _of_run(what: Path, asked: Asked) -> list[Record]:
    """The scores of each kind of weights, which are appended to the run's own."""
    from ganzoo.registry.loading import load_zoo
    from ganzoo.runs.generator import load

    zoo = load_zoo()
    generator = load(what, zoo=zoo, device=asked.device)
    recipe, known = generator.recipe, generator.run.info.get("data_dir")
    data_dir = asked.data_dir or (None if known is None else Path(known))
    judge = asked.judge(zoo, recipe.dataset.name, recipe.dataset.options, recipe.evaluate.metrics, data_dir)
    samples = asked.samples or recipe.evaluate.samples
    records = []
    for weights in (asked.weights,) if asked.weights else generator.weights:
        records += _of_weights(generator, judge, weights, samples, asked)
    _keep(generator.run, records)
    return records


def _keep(run: RunFolder, records: Sequence[Record]) -> None:
    """Add scores to the run's own. A run that others may only read is no reason not to show what was measured."""
    try:
        run.append_score(*records)
    except OSError as error:
        sentence = (
            f"The scores were not added to {run.path} ({error.strerror}); they are shown here, and --out keeps them."
        )
        typer.secho(one_line(sentence), fg="yellow", err=True)


def _of_weights(
    generator: TrainedGenerator, judge: Judge, weights: Weights, samples: int, asked: Asked
) -> list[Record]:
    images, labels = generator.sample_labelled(samples, seed=asked.seed, weights=weights)
    state = generator.checkpoint.state
    measured = judge.score(images, sample_seed=asked.seed, weights=weights, labels=labels, interval=asked.interval)
    return [one.record(images=state["images"], seconds=round(float(state.get("seconds", 0.0)), 3)) for one in measured]


def _of_pictures(what: str, asked: Asked) -> list[Record]:
    from ganzoo.registry.loading import load_zoo

    if asked.weights is not None:
        raise GanzooError(f"{what} is no run, so it has no '{asked.weights}' weights.", "Leave --weights out.")
    pictures, seed = _pictures(what, asked)
    judge = asked.judge(load_zoo(), DATASET, {}, METRICS, asked.data_dir)
    pictures = pictures.fitted(judge.shape, crop=asked.crop).at_most(asked.samples or SAMPLES, asked.seed)
    for note in pictures.notes:
        typer.echo(note, err=True)
    scores = judge.score(pictures.images, sample_seed=seed, labels=pictures.labels, interval=asked.interval)
    return [measured.record() for measured in scores]


def _pictures(what: str, asked: Asked) -> tuple[Pictures, int | None]:
    """The pictures, and the seed they were drawn with where that is known."""
    from ganzoo.evaluation.image_io import call, is_function, read_pictures

    if is_function(what):
        return call(what, asked.samples or SAMPLES, asked.seed), asked.seed
    return read_pictures(Path(what)), None


def _refuse_unwritable(out: Path | None) -> None:
    """Before minutes are spent on scores that cannot be kept."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise GanzooError(f"The scores cannot be written to {out}.", "Give a file in a folder that exists.")


def _append(out: Path, records: Sequence[Record]) -> None:
    from ganzoo.files import append_lines

    try:
        append_lines(out, records, durable=True)
    except OSError as error:
        raise GanzooError(
            f"The scores cannot be written to {out} ({error.strerror}).", "Give another --out."
        ) from error
