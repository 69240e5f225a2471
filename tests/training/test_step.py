"""The adversarial step is one function on one screen."""

import ast
import inspect

from ganzoo.training import step

LINES = 40


def test_the_step_comes_first_fits_on_one_screen_and_checks_nothing():
    body = ast.parse(inspect.getsource(step)).body
    first = next(node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    assert first.name == "adversarial_step"
    assert first.end_lineno - first.lineno + 1 <= LINES
    named = {node.id for node in ast.walk(first) if isinstance(node, ast.Name)}
    assert "isinstance" not in named
    assert not any(isinstance(node, ast.Raise | ast.Try | ast.Assert) for node in ast.walk(first))
    calls = [ast.unparse(node.func) for node in ast.walk(first) if isinstance(node, ast.Call)]
    order = ["state.sampler.next", "phase.loss", ".backward", "optimizer.inner.step", "state.ema.update"]
    source = ast.unparse(first)
    assert all(any(call.endswith(part) for call in calls) for part in order)
    assert sorted(order, key=source.index) == order, "in order of execution, from batches to average"
