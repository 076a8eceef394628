"""Where PyTorch's compiler fails, the run fails by the compiler's name; nothing falls back."""

import os
import subprocess
import sys
from pathlib import Path

RUN = """
import sys
from pathlib import Path

from fgd_core.runs import execute
from tests.library import RecordingContext, train_spec

finished = execute(train_spec(training={"compile": True}), RecordingContext(Path(sys.argv[1])))
assert finished.error is not None, finished
assert finished.error.code == "compiler", finished.error
assert "set training.compile to false" in finished.error.message
assert "/nonexistent" in finished.error.details["cause"]
"""


def test_without_a_c_compiler_a_run_on_the_cpu_names_the_setting_to_change(tmp_path: Path) -> None:
    repository = Path(__file__).parents[2]
    # The compiler reads the variables when it is loaded; an empty cache has no code from before.
    environment = {**os.environ, "CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", RUN, str(tmp_path)], cwd=repository, env=environment, check=True)
