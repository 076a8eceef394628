"""A study with the runs of its arms, and the answer that its own run reports."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fgd_core.spec.kinds.study import StudySpec
from fgd_core.studies.answers import STUDIES
from tests.studies.drawn import runs
from tests.web.page_server import PageServer, ReportingRun, distill_spec

APS: Mapping[str, Sequence[float]] = {
    "plain": (0.300, 0.310, 0.304),
    "distilled": (0.342, 0.351, 0.339),
    "teacher": (0.420,),
    "temperature 2": (0.322, 0.331),
}
GAIN = {"type": "gain", "num_seeds": 3}
WHY = {"type": "why", "num_seeds": 2, "over": {"method.temperature": [2.0]}}


def started_study(server: PageServer, name: str, study: Mapping[str, Any] = GAIN) -> str:
    """Submit a study, start its runs, and return its id."""
    teacher = server.started(f"teacher of {name}")
    teacher.saves("best.pt", b"weights")
    teacher.ends()
    base = distill_spec("base", teacher.job_id, inherit="nothing")
    del base["name"]
    return server.submit_spec({"kind": "study", "name": name, "base": base, "study": study})


def end_runs(server: PageServer, study_id: str) -> None:
    """Let all runs of a study succeed."""
    for run in server.get(f"/v1/jobs/{study_id}")["study_runs"]:
        reporting = server.run_of(run["job_id"])
        reporting.evaluates(10, APS[run["arm"]][run["seed"]])
        reporting.ends()


def answer(server: PageServer, study_id: str) -> ReportingRun:
    """Report the answer of a study whose runs have ended, and end it."""
    job = server.get(f"/v1/jobs/{study_id}")
    used = [{**run, "ap": APS[run["arm"]][run["seed"]]} for run in job["study_runs"]]
    by_arm: dict[str, list[float]] = {}
    for run in used:
        by_arm.setdefault(run["arm"], []).append(run["ap"])
    drawn = {
        arm: runs(np.array(aps)[:, None] + np.linspace(-0.1, 0.1, 4)[None] * (1 + np.arange(len(aps))[:, None] / 9))
        for arm, aps in by_arm.items()
    }
    spec = StudySpec.model_validate(job["spec"])
    findings = STUDIES[type(spec.study)](spec, drawn)
    report = {
        "type": spec.study.type,
        "sentences": findings.sentences,
        "findings": findings.model_dump(mode="json"),
        "runs": [{name: run[name] for name in ("job_id", "arm", "seed", "ap")} for run in used],
    }
    own = server.run_of(study_id)
    own.report({"kind": "study_reported", "report": report | {"left_out": []}})
    own.ends()
    return own
