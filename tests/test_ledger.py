"""The size of each package, held against its budget in pyproject.toml: small is a feature."""

import ast
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11
ROOT = Path(__file__).parents[1]
BUDGETS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ganzoo"]["statements"]
TEMPLATES = (".css", ".html", ".js", ".template")
FOREIGN = "onnxruntime.js"


def statements(source: str) -> int:
    """Statements, without docstrings and other bare strings."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    return len([node for node in nodes if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))])


def size(folder: Path) -> int:
    """Statements of a package's modules, and lines of its templates."""
    templates = [path for path in folder.rglob("*") if path.suffix in TEMPLATES and path.name != FOREIGN]
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in templates)
    return lines + sum(statements(path.read_text("utf-8")) for path in folder.rglob("*.py"))


def test_statements_are_counted_without_docstrings():
    assert (
        statements(
            '"""Doc."""\nx = 1\n\ndef f():\n    """Doc."""\n    return x\n\nclass A:\n    y: int\n    """y."""\n'
        )
        == 5
    )


@pytest.mark.parametrize("package", BUDGETS)
def test_a_package_keeps_to_its_budget(package):
    """Raise a budget in the commit that needs more, and say why; lower it when code goes, so that it stays gone."""
    found, budget = size(ROOT / package), BUDGETS[package]
    print(f"{package}: {found:,} of {budget:,} statements")
    assert found <= budget, f"{package} has {found:,} statements and its budget is {budget:,}: see CONTRIBUTING.md"
    assert budget - found < 50, f"{package} has only {found:,} statements: lower its budget of {budget:,}"


def test_every_package_of_ours_has_a_budget():
    packages = {f"plugins/{path.parent.name}" for path in (ROOT / "plugins").glob("*/__init__.py")}
    assert set(BUDGETS) == {"ganzoo", *packages}
