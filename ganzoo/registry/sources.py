"""The source of a class or function from a script or notebook, complete: with the imports, functions, constants and
base classes that it refers to, and nothing else of its script or notebook.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from symtable import symtable
from typing import Any

FUTURE = "from __future__ import annotations"  # so that annotations do not depend on the order of definitions
IMPORTS = ("import ", "from ")
# What may leave a name as it was, or adds to what it means: these, and `W = W * 2`, `SIZES["z"] = 8`, `import a.b`.
ADDING = (ast.AugAssign, ast.Import, ast.If, ast.For, ast.While, ast.Try, ast.With)
PARTS = (ast.Subscript, ast.Attribute)


def whole(texts: Iterable[str], names: Sequence[str]) -> str:
    """The statements that bind these names and what they refer to, imports first. Texts that are no Python are ignored.

    A name that is bound more than once, as by a notebook's cell that was edited, has its last meaning.

    Raises:
        LookupError: One of these names, or one that they refer to, is not bound.
    """
    every = [statement for text in texts for statement in _statements(text)]
    found: dict[str, None] = {}  # each after what it refers to
    seen: set[str] = set()

    def visit(name: str) -> None:
        binding = [one for one in every if name in one[1] and name not in seen]
        seen.add(name)
        anew = [at for at, one in enumerate(binding) if name not in one[2]]
        for statement, _, refers in binding[anew[-1] if anew else 0 :]:
            for reference in sorted(refers):
                visit(reference)
            found[statement] = None

    for name in ("*", *names):
        visit(name)
    wanted = set(names) if any("*" in one[1] for one in every) else seen - {"*"}
    if missing := wanted.difference(vars(sys.modules["builtins"]), *(one[1] for one in every)):
        raise LookupError(f"nothing binds {', '.join(sorted(missing))}")
    imports = _formatted([one for one in found if one.startswith(IMPORTS) and one != FUTURE])
    return "\n\n\n".join([imports, *(one for one in found if not one.startswith(IMPORTS))]) + "\n"


def _formatted(imports: Sequence[str]) -> str:
    """Imports as formatters have them: those of one module together, Python's own ones first."""
    names: dict[str, list[str]] = {}
    for line in sorted(imports, key=lambda line: (line.startswith("from "), line)):
        module, _, name = line.partition(" import ")
        names.setdefault(module, []).append(name)
    lines = [f"{module} import {', '.join(some)}" if some[0] else module for module, some in names.items()]
    standard = [line for line in lines if line.split()[1].partition(".")[0] in sys.stdlib_module_names]
    others = [line for line in lines if line not in standard]
    return "\n\n".join(filter(None, [FUTURE, "\n".join(standard), "\n".join(others)]))


def _statements(text: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """The statements of a module, none if it is no Python, each with the names that it binds or changes and those of
    the module that it reads, also within its functions and classes, or adds to. An import of several names is several;
    one of all binds ``*``. What a script does only as the main program is left out.
    """
    body, lines = list[ast.stmt](), text.split("\n")
    with suppress(SyntaxError, ValueError):
        symtable(text, "", "exec")  # refuses more than the parser
        body = ast.parse(text).body
    for node in [node for node in body if not (isinstance(node, ast.If) and "__name__" in ast.unparse(node.test))]:
        first = min(one.lineno for one in (node, *getattr(node, "decorator_list", ())))
        lined = "\n".join(lines[first - 1 : node.end_lineno])
        ast.increment_lineno(node, 1 - first)
        parts = [lined if node.lineno > 1 else ast.get_source_segment(lined, node) or ""]
        if isinstance(node, ast.Import):
            parts = [ast.unparse(ast.Import([alias])) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = [ast.unparse(ast.ImportFrom(node.module, [alias], node.level)) for alias in node.names]
        for part in parts:
            tables = [symtable(part, "", "exec")]
            for table in tables:
                tables += table.get_children()
            own = tables[0].get_symbols()
            binds = {one.get_name() for one in own if one.is_assigned() or one.is_imported()}
            changes = {one.get_name() for one in own if one.is_assigned() and one.is_referenced()}
            changes |= {ast.unparse(one.value) for one in getattr(node, "targets", ()) if isinstance(one, PARTS)}
            binds |= changes | ({"*"} if part.endswith(" import *") else set())
            refers = {one.get_name() for table in tables for one in table.get_symbols() if one.is_global()}
            yield part, binds, refers - binds | (binds if isinstance(node, ADDING) or "*" in binds else changes)


def source(factory: Callable[..., Any]) -> str | None:
    """The complete source of a class or function at the top level of a script, module or notebook.

    None if Python does not have it: of a lambda, or of what was typed into the interpreter.
    """
    name, module = getattr(factory, "__qualname__", ""), sys.modules.get(getattr(factory, "__module__", None) or "")
    functions = [one for one in (factory, *getattr(factory, "__dict__", {}).values()) if inspect.isfunction(one)]
    files = [getattr(module, "__file__", None), *(inspect.unwrap(one).__code__.co_filename for one in functions[:1])]
    linecache.checkcache()
    texts = ["".join(linecache.getlines(file)) for file in dict.fromkeys(files) if file]
    own = [statement for text in texts for statement, binds, _ in _statements(text) if name in binds]
    with suppress(LookupError):
        # In IPython, a cell is a file of its own; `In` has every cell, also one that failed before it bound the name.
        return whole([*texts, *getattr(module, "In", ()), *own[-1:]], [name])
    return None
