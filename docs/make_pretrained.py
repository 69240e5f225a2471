"""Writes docs/pretrained.md: what pretrained generators are, and a table of the included ones, from their cards.

Run python docs/make_pretrained.py after adding or replacing one. Of one that draws classes, first run

    ganzoo eval zoo:NAME --metric classification-accuracy-score --out results/cas.jsonl

which appends what its samples are worth to a classifier; the last such line counts.
"""

from __future__ import annotations

import json
from pathlib import Path

from ganzoo.files import read_lines
from ganzoo.formatting import figure
from ganzoo_reports.templates import code, markdown, markdown_table

PAGE = Path(__file__).with_name("pretrained.md")
ROOT = Path(__file__).parents[1]
CARDS = ROOT / "plugins" / "ganzoo_plugins" / "pretrained"
WORTH = ROOT / "results" / "cas.jsonl"
INTRODUCTION = """# Pretrained generators

`ganzoo sample`, `eval`, `animate --walk --out`, `export` and `show`, and `ganzoo.load`, accept `zoo:NAME` instead of
a run folder:

```bash
ganzoo list pretrained
ganzoo show zoo:flagship-mnist
ganzoo sample zoo:flagship-mnist --class 7 --out sevens.png
ganzoo eval zoo:flagship-mnist
ganzoo export zoo:flagship-mnist --out page.html      # needs pip install '.[export]'
```

A wheel has the weights of `dcgan-mnist` and `flagship-mnist`, a clone (`pip install -e .`) all. `ganzoo download NAME`
fetches others from the release, or from the address in `GANZOO_PRETRAINED_URL`, which may begin with `file://`.

## Truncation

`ganzoo sample RUN --truncation 0.8` moves latent codes towards the middle of their prior: samples are more typical, and
vary less. With a mapping network, such as StyleGAN2's, it moves w towards its mean (Karras et al. 2019,
arXiv:1812.04948, appendix B), or the mean of the class. Scores are without it.

## Fine-tuning

```bash
ganzoo run --data ./photos --set dataset.size=32 --init-from zoo:faces
ganzoo run dcgan-mnist --init-from zoo:dcgan-mnist
ganzoo run dcgan-mnist --init-from runs/dcgan-mnist --set 'train.freeze=["discriminator.layers.1.*"]'
```

The recipe's networks must have the same sizes. A run provides all networks and averages; `faces` and `characters` bring
their discriminators, the other pretrained generators have none. Optimizers start from scratch. `train.freeze` names
parameters that are not trained (`ganzoo.load(RUN).assembly.networks` shows their names); freezing the lower layers of D
is FreezeD (Mo et al. 2020, arXiv:2002.10964). Statistics of batch normalisation keep moving in frozen layers.

## Making one

```bash
ganzoo export runs/mine --out my_plugin/my-gan.safetensors --summary "Birds by J. Doe (CC0)"
ganzoo export runs/mine --format hub --out my-gan && hf upload USER/my-gan my-gan
```

The first writes the weights, with matrices in half precision, those of the discriminator as
`my-gan-discriminator.safetensors`, and `my-gan.json`, the card: scores, recipe, command, and how much half precision
changed the samples. A plugin registers it through `register_pretrained` ([hooks](hooks.md)).
The second writes a folder for the Hugging Face Hub: exact weights, the card, and a page with samples and scores; add a
licence. After `hf download USER/my-gan --local-dir my-gan`, `my-gan` draws the same samples as the run, bit for bit.

## Included with ganzoo

`eval` of `faces` and `characters` needs `.[worlds]`. `faces` learned from drawings after "Open Peeps" by
Pablo Stanley, `characters` from those after "Pixel Art" by DiceBear, both CC0, the others from MNIST.
CAS, `classification-accuracy-score`: that of a classifier trained on samples. `ganzoo show zoo:NAME` has more.

"""


def page() -> str:
    """The page's text."""
    cards = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(CARDS.glob("*.json"))}
    if not cards:
        return INTRODUCTION + "There are none yet.\n"
    worth = read_lines(WORTH, lambda score: "what" in score)
    headings = dict.fromkeys(("name", "scores (real vs real)"), "left")
    rows = []
    for name, card in cards.items():
        shown = [score for score in card["scores"] if score["metric"].startswith("fid@")]
        shown += [{**score, "metric": "CAS"} for score in worth if score["what"] == f"zoo:{name}"][-1:]
        scores = [f"{markdown(one['metric'])} {figure(one['value'])} ({figure(one.get('floor'))})" for one in shown]
        rows.append([code(f"zoo:{name}"), "<br>".join(scores)])
    return INTRODUCTION + markdown_table(headings, rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
