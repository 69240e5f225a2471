"""``pytest --ganzoo-plugin NAME``: one test for each check of each thing that a plugin registers.

Without the option nothing is imported and nothing collected. ``-p no:ganzoo`` leaves it out altogether.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ganzoo.checks.catalogue import Case


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("ganzoo").addoption(
        "--ganzoo-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="Check everything that an installed ganzoo plugin registers, one test for each check and thing.",
    )


@pytest.hookimpl(tryfirst=True)  # before -k and xdist choose among them
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the checks behind the tests that were found in files."""
    for name in config.getoption("--ganzoo-plugin"):
        items += PluginChecks.from_parent(session, name=name, nodeid=f"ganzoo-plugin[{name}]").collect()


class PluginChecks(pytest.Collector):
    """The checks of one plugin."""

    def collect(self) -> list[CheckItem]:
        """One item for each check of each thing, in the catalogue's order.

        Raises:
            pytest.UsageError: There is no such plugin.
        """
        from ganzoo.checks.catalogue import cases
        from ganzoo.errors import GanzooError
        from ganzoo.registry.loading import load_zoo

        try:
            found = cases(self.name, load_zoo())
        except GanzooError as error:
            raise pytest.UsageError(f"--ganzoo-plugin: {error}") from error
        return [CheckItem.from_parent(self, name=f"{case.thing}::{case.check}", case=case) for case in found]


class CheckItem(pytest.Item):
    """One check of one thing."""

    def __init__(self, *, case: Case, **given: Any) -> None:
        super().__init__(**given)
        self.case = case

    def runtest(self) -> None:
        """Run it."""
        self.case.run()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The sentence alone, where it is one."""
        from ganzoo.checks.verdict import Broken

        if isinstance(excinfo.value, Broken):
            return f"{excinfo.value.sentence}\n{excinfo.value.remedy}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it is said to be: no file, but a plugin."""
        return self.path, None, f"{self.case.plugin}: {self.name}"
