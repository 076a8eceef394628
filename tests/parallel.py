"""Runs tests in several processes, which are forked when the tests are collected: `pytest --processes 6`.

The processes of pytest-xdist each import and collect all tests: 22 s of CPU time per process, here once for all. A
process asks for tests when it has finished its last ones, so no test waits for a long one while another process has
nothing to do.
"""

import random
import warnings
from collections.abc import Iterable
from io import StringIO
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest._io import TerminalWriter

Tests = list[int]
"""Indices of tests that run in one process, one after another."""

_forking = get_context("fork")


def run(session: pytest.Session, queue: Iterable[Tests], count: int) -> None:
    """Run the tests of the queue in `count` processes, in its order, and report their results in this process.

    Raises:
        pytest.Session.Interrupted, pytest.Session.Failed: pytest stops early, for example because of `-x`.
    """
    pool = _Pool(session, queue)
    try:
        for _ in range(count):
            pool.start_process()
        while pool.processes:
            pool.answer()
    finally:
        pool.end()
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)


class _Process:
    """A process that runs tests, as the pool sees it."""

    def __init__(self, session: pytest.Session, folder: Path, others: list[Connection]) -> None:
        self.tests: Tests = []
        """Those that it has not finished."""
        self.connection, its_end = _forking.Pipe()
        self._process = _forking.Process(target=_serve, args=(session, folder, its_end, [*others, self.connection]))
        self._process.start()
        its_end.close()

    def join(self) -> int | None:
        """Wait for the end of the process; returns its exit code, or the negative number of a signal."""
        self.connection.close()
        self._process.join()
        return self._process.exitcode


class _Pool:
    def __init__(self, session: pytest.Session, queue: Iterable[Tests]) -> None:
        self.processes: dict[Connection, _Process] = {}
        self._session = session
        self._queue = iter(queue)
        self._folder: Path = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        self._num_started = 0

    def start_process(self) -> None:
        self._num_started += 1
        process = _Process(self._session, self._folder / f"process-{self._num_started}", list(self.processes))
        self.processes[process.connection] = process

    def answer(self) -> None:
        """Wait for messages of the processes and answer them."""
        for connection in wait(list(self.processes)):
            process = self.processes[connection]  # type: ignore[index]
            try:
                kind, data = process.connection.recv()
            except (EOFError, ConnectionError):
                self._bury(process)
            else:
                getattr(self, f"_{kind}")(process, data)

    def end(self) -> None:
        """Wait for the processes: they end when this one answers no more."""
        for process in self.processes.values():
            process.join()

    def _ready(self, process: _Process, _: None) -> None:
        stops = self._session.shouldfail or self._session.shouldstop
        process.tests = [] if stops else next(self._queue, [])
        process.connection.send(process.tests)

    def _report(self, process: _Process, data: dict[str, Any]) -> None:
        config = self._session.config
        report = config.hook.pytest_report_from_serializable(config=config, data=data)
        config.hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            process.tests = process.tests[1:]

    def _warning(self, _: _Process, recorded: dict[str, Any]) -> None:
        self._session.config.hook.pytest_warning_recorded.call_historic(kwargs=recorded)

    def _bury(self, process: _Process) -> None:
        """If a test ended its process, report it as failed, and run the tests after it in another process."""
        del self.processes[process.connection]
        code = process.join()
        if process.tests:
            died, *others = process.tests
            self._queue = iter([others, *self._queue] if others else [*self._queue])
            item = self._session.items[died]
            message = f"the process of this test ended with exit code {code}"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", message, "call")
            item.config.hook.pytest_runtest_logreport(report=report)
            self.start_process()


def _serve(session: pytest.Session, folder: Path, connection: Connection, others: list[Connection]) -> None:
    """Run tests until the pool has none left or answers no more."""
    # A copy of the pool's end of a connection would keep that connection open.
    for other in others:
        other.close()
    _separate(session.config, folder)
    session.config.pluginmanager.register(_Reporter(session.config, connection))
    try:
        while tests := _next(connection):
            items = [session.items[index] for index in tests]
            # At the end of a group, pytest keeps only the fixtures of the session.
            for item, following in zip(items, [*items[1:], session], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    finally:
        session._setupstate.teardown_exact(None)


def _next(connection: Connection) -> Tests:
    try:
        connection.send(("ready", None))
        tests: Tests = connection.recv()
    except (EOFError, ConnectionError):
        return []
    return tests


def _separate(config: pytest.Config, folder: Path) -> None:
    """Separate what the processes must not share: terminal, files with captured output, folders, random numbers."""
    config.pluginmanager.unregister(name="terminalreporter")
    # pytest-timeout writes to the terminal before it fails a test that hangs.
    config.pluginmanager.register(SimpleNamespace(_tw=TerminalWriter(StringIO())), "terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()
    folder.mkdir(mode=0o700)
    config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
    random.seed()


class _Reporter:
    """Sends what pytest reports in this process to the pool."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self._config = config
        self._connection = connection

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._connection.send(("report", data))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        # Not the warning itself: it may hold objects that cannot be sent.
        text = f"{warning_message.category.__name__}: {warning_message.message}"
        sent = warnings.WarningMessage(text, UserWarning, warning_message.filename, warning_message.lineno)
        recorded = {"warning_message": sent, "when": when, "nodeid": nodeid, "location": location}
        self._connection.send(("warning", recorded))
