"""A run that evaluates, trains for TRAINING seconds, and then does other work for OTHER seconds or until it is stopped:
`python relaying_run.py TRAINING OTHER`."""

import signal
import sys
import threading
import time

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.data import Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import Evaluated, Progress
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.results import Scores
from workers.metrics.relay import MetricsRelay

stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
spec = TrainSpec(name="relayed", detector=RetinaNet(), data=Shapes(num_train=8, num_val=4))
assignment = Assignment(attempt_id="j-1", number=1, job_id="j", spec=spec, job_uri=None)
relay = MetricsRelay(assignment, lambda: 7)
missing = dict.fromkeys(name for name, field in Scores.model_fields.items() if field.is_required())
relay.observe(Evaluated(epoch=1, step=0, scores=Scores.model_validate(missing | {"ap": 0.5})))
for step in range(1, int(sys.argv[1]) + 1):
    relay.observe(
        Progress(
            epoch=1,
            epochs=2,
            step=step,
            steps=1000,
            images_per_s=8.0,
            eta_s=3.0,
            learning_rate=0.1,
            values={"loss": 1.5},
            data_wait=0.25,
        )
    )
    if stopped.wait(1.0):
        break
stopped.wait(float(sys.argv[2]))
print("stopped by itself" if stopped.is_set() else "ended by itself", f"after {time.process_time():.2f} s of work")
