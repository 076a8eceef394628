"""A study with the runs of its arms, and the answer that its own run reports."""

from collections.abc import Mapping, Sequence

import numpy as np

from fgd_core.studies.gain import gain
from tests.studies.drawn import runs
from tests.web.page_server import PageServer, ReportingRun, distill_spec

APS: Mapping[str, Sequence[float]] = {"plain": (0.300, 0.310, 0.304), "distilled": (0.342, 0.351, 0.339)}


def started_study(server: PageServer, name: str) -> str:
    """Submit a study of two arms and three seeds, start its runs, and return its id."""
    teacher = server.started(f"teacher of {name}")
    teacher.saves("best.pt", b"weights")
    teacher.ends()
    base = distill_spec("base", teacher.job_id, inherit="nothing")
    del base["name"]
    study = {"type": "gain", "num_seeds": len(APS["plain"])}
    return server.submit_spec({"kind": "study", "name": name, "base": base, "study": study})


def end_runs(server: PageServer, study_id: str) -> None:
    """Let all runs of a study succeed."""
    for run in server.get(f"/v1/jobs/{study_id}")["study_runs"]:
        reporting = server.run_of(run["job_id"])
        reporting.evaluates(10, APS[run["arm"]][run["seed"]])
        reporting.ends()


def answer(server: PageServer, study_id: str) -> ReportingRun:
    """Report the answer of a study whose runs have ended, and end it."""
    drawn = {
        arm: runs(np.array(aps)[:, None] + np.linspace(-0.1, 0.1, 4)[None] * (1 + np.arange(3)[:, None] / 9))
        for arm, aps in APS.items()
    }
    findings = gain(drawn)
    used = [
        {"job_id": run["job_id"], "arm": run["arm"], "seed": run["seed"], "ap": APS[run["arm"]][run["seed"]]}
        for run in server.get(f"/v1/jobs/{study_id}")["study_runs"]
    ]
    report = {"type": "gain", "sentences": findings.sentences, "findings": findings.model_dump(mode="json")}
    run = server.run_of(study_id)
    run.report({"kind": "study_reported", "report": report | {"runs": used, "left_out": []}})
    run.ends()
    return run
