"""A recipe for pictures of one's own: ``ganzoo run dcgan --data ./photos``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError, one_line
from ganzoo.registry.loading import Zoo


def recipe_for(data: Path, method: str, zoo: Zoo, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that trains a method on pictures of one's own.

    Args:
        data: A folder of pictures, of one folder for each class, or a zip archive of either.
        method: A recipe's name or file, or a name without its dataset: ``dcgan`` for ``dcgan-mnist``.
        zoo: Where names are looked up.
        overrides: Changes of the form ``a.b=c``.

    Returns:
        The recipe, named after the method and the pictures: ``dcgan-photos``.

    Raises:
        GanzooError: There is no such recipe, folder or archive, or an override is wrong.
    """
    place = data.expanduser().absolute()
    if not place.exists():
        raise GanzooError(f"No such file or folder: {data}.", "Check --data.")
    source = method
    if method not in zoo.recipes and not method.endswith((".yaml", ".yml")):
        longer = [entry.name for entry in zoo.recipes if entry.name.startswith(f"{method}-")]
        named = [name for name in longer if name == f"{method}-{load_recipe(name, zoo).dataset.name}"]
        source = named[0] if len(named) == 1 else method
    base = load_recipe(source, zoo)
    own = load_recipe(source, zoo, [f"dataset={json.dumps(str(place), ensure_ascii=False)}", *overrides])
    slug = re.sub(r"[^a-z0-9]+", "-", place.stem.lower())[:60].strip("-") or "pictures"
    return own.model_copy(
        update={
            "name": f"{base.name.removesuffix(f'-{base.dataset.name}')}-{slug}",
            "summary": f"{base.name} on the pictures of {one_line(place.name)[:100]}",
        }
    )
