"""``ganzoo eval``: score a run, a folder of PNGs or an .npz file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from ganzoo.evaluation.generator import TrainedGenerator
    from ganzoo.evaluation.judge import Judge
    from ganzoo.plugins import Zoo

DATASET = "mnist"
METRICS = ("fid@mnist-cnn",)
SAMPLES = 10_000

Record = dict[str, Any]
Weights = Literal["ema", "raw"]


def evaluate(
    what: Annotated[Path, typer.Argument(help="A run folder, a folder of PNGs, or an .npz with uint8 `images`.")],
    dataset: Annotated[
        str | None, typer.Option(help="Whose test images are the reference; mnist, or the run's own.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Repeat for several; fid@mnist-cnn, or the run's own.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Number of images to score; 10000, or the run's own.", min=2)
    ] = None,
    weights: Annotated[
        Weights | None, typer.Option(help="Which weights of a run; all it has, if nothing is said.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the samples.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where dataset files already are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on standard output.")] = False,
) -> None:
    """Score generated images against real ones. The scores of a run are appended to its scores.jsonl."""
    from ganzoo.training.precision import resolve_device

    asked = Asked(dataset, metric, samples, weights, seed, resolve_device(device), data_dir)
    records = _of_run(what, asked) if (what / "run.json").exists() else _of_pictures(what, asked)
    if as_json:
        typer.echo(json.dumps({"scores": records}, ensure_ascii=False))
    else:
        _show(records)


@dataclass(frozen=True)
class Asked:
    """What the person said; None is left to the run, or to the defaults above."""

    dataset: str | None
    metrics: Sequence[str] | None
    samples: int | None
    weights: Weights | None
    seed: int
    device: torch.device
    data_dir: Path | None

    def judge(self, zoo: Zoo, dataset: str, options: Mapping[str, Any], metrics: Sequence[str]) -> Judge:
        """Who scores, with the given defaults."""
        from ganzoo.evaluation.judge import Judge

        name = self.dataset or dataset
        entry = zoo.datasets.get(name)
        return Judge(
            self.metrics or metrics,
            entry,
            options if name == dataset else {},
            self.data_dir,
            zoo,
            self.device,
        )


def _of_run(what: Path, asked: Asked) -> list[Record]:
    """The scores of each kind of weights, which are appended to the run's own."""
    from ganzoo.evaluation.generator import load
    from ganzoo.plugins import load_zoo

    zoo = load_zoo()
    generator = load(what, zoo=zoo, device=asked.device)
    recipe, known = generator.recipe, generator.run.info.get("data_dir")
    if asked.data_dir is None and known is not None:
        asked = replace(asked, data_dir=Path(known))
    judge = asked.judge(zoo, recipe.dataset.name, recipe.dataset.options, recipe.evaluate.metrics)
    samples = asked.samples or recipe.evaluate.samples
    records = []
    for weights in (asked.weights,) if asked.weights else generator.weights:
        records += _of_weights(generator, judge, weights, samples, asked.seed)
    generator.run.append_score(*records)
    return records


def _of_weights(generator: TrainedGenerator, judge: Judge, weights: Weights, samples: int, seed: int) -> list[Record]:
    images = generator.sample(samples, seed=seed, weights=weights)
    state = generator.checkpoint.state
    return [
        measured.record(images=state["images"], seconds=round(float(state["seconds"]), 3))
        for measured in judge.score(images, sample_seed=seed, weights=weights)
    ]


def _of_pictures(what: Path, asked: Asked) -> list[Record]:
    from ganzoo.evaluation.sources import read_pictures
    from ganzoo.plugins import load_zoo

    pictures = read_pictures(what)
    if asked.weights is not None:
        raise GanzooError(f"{what} is no run, so it has no '{asked.weights}' weights.", "Leave --weights out.")
    judge = asked.judge(load_zoo(), DATASET, {}, METRICS)
    pictures = pictures.fitted(judge.shape).at_most(asked.samples or SAMPLES, asked.seed)
    for note in pictures.notes:
        typer.echo(note, err=True)
    return [measured.record() for measured in judge.score(pictures.images)]


def _show(records: Sequence[Record]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ganzoo.evaluation.protocol import describe

    console, table = Console(), Table()
    for heading in ("metric", "value", "real-vs-real floor", "weights", "n"):
        table.add_column(heading, justify="left" if heading in ("metric", "weights") else "right")
    for record in records:
        n = f"{record['protocol']['n_fake']:,}"
        value, floor = f"{record['value']:.4g}", f"{record['floor']:.4g}"
        table.add_row(record["metric"], value, floor, record["weights"] or "-", n)
    console.print(table)
    for told in dict.fromkeys(f"{record['metric']}: {describe(record['protocol'])}" for record in records):
        console.print(told, markup=False, highlight=False, soft_wrap=True)
