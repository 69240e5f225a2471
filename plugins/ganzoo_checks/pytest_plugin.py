"""``pytest --ganzoo-plugin NAME``: one test for each check of everything that a plugin registers.

Without the option it imports and collects nothing. ``-p no:ganzoo`` disables it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ganzoo_checks.catalogue import PluginCheck


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("ganzoo").addoption(
        "--ganzoo-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="Check everything that an installed ganzoo plugin registers, one test per check.",
    )


@pytest.hookimpl(tryfirst=True)  # before -k and xdist select tests
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Append the checks to the collected tests."""
    for name in config.getoption("--ganzoo-plugin"):
        items += PluginChecks.from_parent(session, name=name, nodeid=f"ganzoo-plugin[{name}]").collect()


class PluginChecks(pytest.Collector):
    """The checks of one plugin."""

    def collect(self) -> list[CheckItem]:
        """One item per check, in catalogue order.

        Raises:
            pytest.UsageError: The plugin is unknown.
        """
        from ganzoo.errors import GanzooError
        from ganzoo.registry.loading import load_zoo
        from ganzoo_checks.catalogue import plugin_checks

        try:
            checks = plugin_checks(self.name, load_zoo())
        except GanzooError as error:
            raise pytest.UsageError(f"--ganzoo-plugin: {error}") from error
        return [CheckItem.from_parent(self, name=f"{case.thing}::{case.check}", case=case) for case in checks]


class CheckItem(pytest.Item):
    """One check."""

    def __init__(self, *, case: PluginCheck, **options: Any) -> None:
        super().__init__(**options)
        self.case = case

    def runtest(self) -> None:
        """Run the check."""
        self.case.run()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A failed check without a traceback."""
        from ganzoo_checks.entries import CheckFailed

        if isinstance(excinfo.value, CheckFailed):
            return f"{excinfo.value.sentence}\n{excinfo.value.remedy}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Named after the plugin rather than a file."""
        return self.path, None, f"{self.case.plugin}: {self.name}"
