"""A chain through the whole system: one job, which a kill does not change, with one report.

`test_through_server` has a chain that loses its node.
"""

from pathlib import Path

import pytest
import torch
from chain_runs import chain, run
from whole import all_events

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from service.client.client import FgdClient
from tests.library import RecordingContext
from tests.tiers import slow

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]


@slow("tests/end_to_end/test_through_server.py::TestThroughServer::test_a_chain_that_lost_its_node")
def test_a_chain_that_is_killed_in_its_second_stage_ends_as_an_undisturbed_one(
    client: FgdClient, teacher: str, tmp_path: Path
) -> None:
    spec = chain(teacher)
    killed = run(client, spec, tmp_path / "killed", kill_in="2")
    run(client, spec, tmp_path / "undisturbed")
    for name in ("best.pt", "stages/1/best.pt", "stages/2/best.pt", "stages/control/best.pt"):
        ours, theirs = (read_checkpoint(tmp_path / each / name)[0] for each in ("killed", "undisturbed"))
        assert ours.record == theirs.record
        assert all(torch.equal(ours.state[key], theirs.state[key]) for key in ours.state)

    events = all_events(client, killed)
    assert [event.sequence for event in events] == [*range(1, len(events) + 1)]
    finished = [event.data["stage"] for event in events if event.kind == "stage_finished"]
    assert finished == ["1", "2", "control"]
    report = client.report(killed).jobs[0]
    assert [stage.stage for stage in report.stages] == finished
    assert report.result is not None
    assert b"Stages of tiny chain" in client.report_as("html", killed)

    best = EvaluateSpec(name="scored", checkpoint=str(tmp_path / "undisturbed/best.pt"), data=spec.data)
    scored = execute(best, RecordingContext(tmp_path / "scored"))
    assert scored.result is not None and report.result.scores == scored.result.scores
