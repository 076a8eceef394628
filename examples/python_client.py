"""Trains a teacher and its student from Python, and compares them. Takes about a minute on two cores.

First start a server with `fgd up`. FGD_SERVER and FGD_TOKEN select another server.
"""

import copy
from pathlib import Path
from typing import Any

from service.client.client import FgdClient

# The same fields as in a YAML file; examples/demo explains each.
TEACHER: dict[str, Any] = {
    "kind": "train",
    "name": "teacher from python",
    "detector": {
        "type": "retinanet",
        "backbone": {"name": "resnet18", "stem_width": 16},
        "fpn_width": 32,
        "head_norm": "group",
        "anchor_base_size_px": 16,
    },
    "data": {"type": "shapes", "num_train": 96, "num_val": 32, "image_size_px": 64},
    "input": {"shorter_px": 64, "longer_px": 64},
    "training": {
        "epochs": 2,
        "batch_size": 16,
        "optimizer": {"type": "adamw", "learning_rate": 0.004},
        "schedule": {"type": "cosine"},
        "warmup_steps": 5,
        "evaluate_every": 1,
    },
    "resources": {"cpus": 1},
}


def student_of(teacher_id: str) -> dict[str, Any]:
    """Return the spec of a smaller detector that also learns from the teacher's feature maps."""
    spec = copy.deepcopy(TEACHER)
    student = spec.pop("detector")
    student["backbone"]["stem_width"] = 8
    return spec | {
        "kind": "distill",
        "name": "student from python",
        "student": student,
        # The job waits until the teacher is done. Such a short training gives an AP that is too low for a check, so
        # `keys` only checks that its weights can be loaded.
        "teacher": {"checkpoint": f"job:{teacher_id}/best", "gate": "keys"},
        "method": {"type": "fgd", "scale": 0.2, "temperature": 4},
    }


def main() -> None:
    with FgdClient() as client:
        teacher = client.submit(TEACHER)
        student = client.submit(student_of(teacher.job_id))
        for job in (teacher, student):
            print(f"{job.name} {job.job_id}")
            # Yields every event once and in order until the job ends, even if the server restarts.
            for event in client.events(job.job_id):
                if event.kind == "epoch_finished":
                    done = event.data
                    print(f"  epoch {done['epoch']} of {done['epochs']}: loss {done['values']['loss']:.3g}")
            client.wait(job.job_id)  # raises FailedJobError with the cause if the job did not succeed
        report = client.report(teacher.job_id, beside=[student.job_id])
        for each in report.jobs:
            if each.result is not None and each.result.scores.ap is not None:
                print(f"{each.name}: AP {each.result.scores.ap:.3f}, {each.result.num_parameters:,} parameters")
        Path("report.html").write_bytes(client.report_as("html", teacher.job_id, beside=[student.job_id]))
        print("written: report.html")


if __name__ == "__main__":
    main()
