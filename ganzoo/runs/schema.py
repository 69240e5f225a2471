"""Numbers of the forms in which a run is written: older ones are read, newer ones are refused with a sentence."""

from __future__ import annotations

from ganzoo.errors import GanzooError

RUN = 1
CHECKPOINT = 1
SCORE = 1


class NewerError(GanzooError):
    """What a newer ganzoo wrote, in a form that this one does not know."""


def refuse_newer(schema: object, known: int, what: str) -> None:
    """Refuse what this ganzoo cannot read.

    Args:
        schema: The number found in it.
        known: The newest that is read; all older ones are too.
        what: The beginning of a sentence.

    Raises:
        NewerError: It is newer.
        GanzooError: It is no number of a schema.
    """
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 0:
        raise GanzooError(f"{what} is damaged: its schema is {schema!r}.")
    if schema > known:
        raise NewerError(
            f"{what} was made by a newer ganzoo (schema {schema}; this one reads up to {known}).",
            "Update ganzoo: pip install -U ganzoo-bench.",
        )
