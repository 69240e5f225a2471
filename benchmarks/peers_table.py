"""Makes a table from the results of ``test_peers.py``: ``python benchmarks/peers_table.py results/peers.json``.

The table is written next to the file, as Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo.files import write_atomically
from ganzoo.runs.provenance import in_words
from ganzoo_reports.templates import markdown_table


def main() -> None:
    """Make the table for the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="what `pytest benchmarks/test_peers.py --benchmark-json FILE` wrote")
    file = parser.parse_args().file
    table = markdown(json.loads(file.read_text("utf-8")))
    write_atomically(file.with_suffix(".md"), table.encode())
    print(table)


def markdown(measured: Mapping[str, Any]) -> str:
    """The table, a row for each peer and number format, in the order in which they ran."""
    headings = {"peer": "left", "recipe": "left", "batch": "right", "ganzoo in": "left"}
    headings |= dict.fromkeys(("images/s", "theirs", "times the images/s", "times the FLOP/s"), "right")
    return "\n".join(
        [
            "# Other packages, and a tutorial loop",
            "",
            "Each alternated with ganzoo's nearest recipe, at the same batch size. Ratios are ganzoo's figure over the",
            "peer's, as the median over pairs of rounds, so they differ slightly from the ratio of the two columns.",
            "Networks and losses differ: images/s favours small networks, FLOP/s large ones. Peers always train in",
            "fp32.",
            "",
            f"On {in_words(measured['machine_info']['ganzoo'])}.",
            "",
            markdown_table(headings, [row(one["extra_info"]) for one in measured["benchmarks"]]),
            "",
        ]
    )


def row(found: Mapping[str, Any]) -> list[str]:
    """The cells of a line of the table."""
    version = found["theirs"].get("version", "")
    return [
        f"{found['peer']} {version}".strip(),
        found["recipe"],
        str(found["theirs"]["batch"]),
        found["ours"]["precision"],
        f"{found['images_per_second']:,.0f}",
        f"{found['peer_images_per_second']:,.0f}",
        f"{found['ratio']:.2f}",
        f"{found['flops_ratio']:.2f}",
    ]


if __name__ == "__main__":
    main()
