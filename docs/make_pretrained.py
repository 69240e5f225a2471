"""Writes docs/pretrained.md: what pretrained generators are, and a table of the included ones, from their cards.

Run python docs/make_pretrained.py after adding or replacing one.
"""

from __future__ import annotations

import json
from pathlib import Path

from ganzoo.reports.templates import code, count, figure, markdown, markdown_table

PAGE = Path(__file__).with_name("pretrained.md")
CARDS = Path(__file__).parents[1] / "plugins" / "ganzoo_plugins" / "pretrained"
INTRODUCTION = """# Pretrained generators

`ganzoo sample`, `eval`, `animate --walk` and `export`, and `ganzoo.load`, also accept `zoo:NAME` instead of a run
folder:

```bash
ganzoo list pretrained
ganzoo sample zoo:NAME --out samples.png
ganzoo sample zoo:cgan-mnist --class 7 --out sevens.png
ganzoo eval zoo:NAME
ganzoo animate zoo:NAME --walk --out walk.gif
ganzoo export zoo:NAME --out page.html      # needs pip install '.[export]'
```

## Truncation

`ganzoo sample RUN --truncation 0.8` moves latent codes towards the middle of their prior, so that samples are more
typical of the training images and vary less. In a generator with a mapping network, such as StyleGAN2's, it moves w
towards its mean instead (Karras et al. 2019, arXiv:1812.04948, appendix B), in a conditional one towards the mean of
the class. `run.generator.sample(64, truncation=0.8)` does the same in Python. The scores of runs are always of
untruncated samples; `ganzoo sample RUN -n 10000 --truncation 0.8 --out t.npz && ganzoo eval t.npz` shows the price in
recall and FID.

## Fine-tuning

```bash
ganzoo run dcgan-mnist --init-from zoo:dcgan-mnist
ganzoo run dcgan-mnist --init-from runs/dcgan-mnist --set 'train.freeze=["discriminator.layers.1.*"]'
```

`--init-from` starts training from the weights of a run or of a pretrained generator, if the recipe's networks have
the same sizes. A run provides all its networks and averages; a pretrained generator provides only the generator, so
the discriminator starts from scratch. Optimizers always start from scratch. `train.freeze` names parameters that are
not trained, by patterns with `*`; `ganzoo.load(RUN).assembly.networks` shows their names, which depend on the network.
Freezing the lower layers of the discriminator is FreezeD (Mo et al. 2020, arXiv:2002.10964). Statistics of batch
normalisation keep moving in frozen layers.

Both settings change the weights, so they are part of a run's identity: the SHA-256 of the initial weights counts, not
their location. The run keeps these weights in its first checkpoint.

## Making one

```bash
ganzoo export runs/mine --out my_plugin/my-gan.safetensors
```

writes two files: the weights that samples are drawn with, with matrices in half precision; and `my-gan.json`, the
card. The card contains the scores with their complete protocols, the training images and seconds, the command that
repeats the training, the seed, hardware, versions and the full recipe, all from the run's own record, and how much
half precision changed the samples. A plugin registers the card through `register_pretrained`; see [hooks](hooks.md).
First-party ones are in `plugins/ganzoo_plugins/pretrained/`, each below 3 MiB.

## Included with ganzoo

"""


def page() -> str:
    """The page's text."""
    cards = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(CARDS.glob("*.json"))}
    if not cards:
        return INTRODUCTION + "There are none yet.\n"
    headings = dict.fromkeys(("name", "scores (real vs real)", "trained on", "size", "made by"), "left")
    rows = []
    for name, card in cards.items():
        scores = "<br>".join(
            f"{markdown(score['metric'])} {figure(score['value'])} ({figure(score.get('floor'))})"
            for score in card["scores"]
        )
        training, size = card["training"], f"{card['weights']['bytes'] / 2**20:.2f} MiB"
        trained = f"{count(training['images'])} images of {markdown(card['recipe']['dataset']['name'])}"
        # The precision that `auto` chose on that machine: another machine may choose differently.
        pin = f" --set train.precision={training['precision']}"
        command = training["command"] + ("" if pin in training["command"] else pin)
        rows.append([code(f"zoo:{name}"), scores, trained, size, code(command)])
    how = (
        "All were trained on a CPU, in the number format that their commands name. The leaderboard shows other runs, "
        "some of them in other formats, so scores differ slightly.\n\n"
    )
    return INTRODUCTION + how + markdown_table(headings, rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
