"""The command line shows what a job will reach: at its submission, while it runs, and in its report."""

from fgd_core.spec.base import Fact
from fgd_core.spec.events import EpochFinished, Evaluated, RunFinished
from fgd_core.spec.results import RunResult
from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer
from tests.reports.recorded_jobs import STUDENT, distill_spec, scores, train_spec

EPOCHS = 10


def trained(server: LiveServer, job_id: str, final: float) -> None:
    """Report a whole training whose AP grows in a straight line."""
    run = server.run_of(job_id)
    run.start()
    events: list[Fact] = []
    for epoch in range(1, EPOCHS + 1):
        at = {"epoch": epoch, "step": 5 * epoch}
        speed = {"images_per_s": 8.0, "eta_s": 3.0, "learning_rate": 0.1, "values": {}}
        ended = EpochFinished.model_validate({**at, **speed, "epochs": EPOCHS, "steps": 5 * EPOCHS})
        events += [ended, Evaluated.model_validate({**at, "scores": scores(final * epoch / EPOCHS)})]
    result = RunResult(scores=scores(final), num_parameters=1, images_per_s=1.0, num_images=10, device="cpu")
    run.report(*events, RunFinished(outcome="succeeded", result=result))


def test_a_prediction_is_shown_before_while_and_after_a_job_runs(
    fgd: Fgd, server: LiveServer, client: FgdClient
) -> None:
    spec = train_spec("student", STUDENT, epochs=EPOCHS)
    path = server.settings.home / "spec.json"
    path.write_text(spec.model_dump_json())
    first = fgd("submit", path, "--server", server.url)
    assert "Predicted" not in first.out
    trained(server, next(client.jobs()).job_id, 0.30)

    dry = fgd("submit", path, "--dry-run", "--server", server.url).out
    assert "nothing was submitted" in dry and "Predicted AP 0.30" in dry and "Expected cost of 1 training" in dry
    refused = fgd("submit", path, "--dry-run", "--set", "resources.cpus=99", "--server", server.url)
    assert (refused.exit_code, "resources.cpus" in refused.err) == (1, True)
    assert len(list(client.jobs())) == 1
    submitted = fgd("submit", path, "--set", "seed=1", "--server", server.url)
    assert "Predicted AP 0.30" in submitted.out
    assert "from 1 run with other seeds" in " ".join(submitted.out.split())
    assert "from 1 earlier run" in " ".join(submitted.out.split())
    job_id = next(client.jobs()).job_id
    trained(server, job_id, 0.31)
    watched = fgd("watch", job_id, "--server", server.url)
    # Once, after the first evaluation.
    assert watched.out.count("Predicted AP") == 1
    assert watched.out.index("Predicted AP") < watched.out.index("epoch 2/10")
    for command in ("show", "report"):
        text = " ".join(fgd(command, job_id, "--server", server.url).out.split())
        assert "At its first tenth, student was predicted to reach AP 0." in text
        assert "it reached 0.310, inside the interval of 80%" in text
        # The first job was no check: nothing was known before it.
        assert "earlier runs on this data held" not in text


def test_the_method_is_said_that_a_spec_gets(fgd: Fgd, server: LiveServer, client: FgdClient) -> None:
    path = server.settings.home / "spec.json"
    path.write_text(train_spec("teacher", STUDENT, epochs=EPOCHS).model_dump_json())
    assert "method" not in fgd("submit", path, "--server", server.url).out
    named = distill_spec("student", next(client.jobs()).job_id, epochs=EPOCHS)
    for left_out, said in (
        ({"method"}, "method cwd, scale auto, temperature 1.0"),
        (set(), "method fgd, scale 0.05, temperature 0.5"),
    ):
        path.write_text(named.model_dump_json(exclude=left_out))
        for options in (["--dry-run"], []):
            assert f"  {said}\n" in fgd("submit", path, *options, "--server", server.url).out
    assert [job.kind for job in client.jobs()] == ["distill", "distill", "train"]
