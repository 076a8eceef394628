"""Lists all of our modules that are loaded by a string, because import-linter does not see these imports.

The tests find each such string in the source, compare the strings with this list, import each module, and check the
list against the same contracts as ordinary imports.
"""

from collections.abc import Mapping

BY_NAME: Mapping[str, frozenset[str]] = {
    "fgd_core.models": frozenset(
        {"fgd_core.export.checkpoint_engine", "fgd_core.export.program_engine", "fgd_core.prediction.onnx_engine"}
    ),
    "fgd_core.runs": frozenset({"fgd_core.runs.exporting"}),
    "fgd_core.methods.parts.passes_for": frozenset({"fgd_core.methods.parts.map_kernels"}),
    # It loads torchvision, and PyTorch's compiler where that is needed.
    "fgd_core.no_compiler": frozenset(),
    "service.client.cli": frozenset(
        f"service.client.commands.{module}"
        for module in (
            *("audit", "catalogue", "compare", "control", "data", "delete", "demo", "gc", "jobs", "logs"),
            *("projects", "queue", "recipes", "report", "reproduce", "show", "submit", "sweep", "tokens", "verify"),
            *("watch", "webhooks", "predict", "export", "models", "weights"),
        )
    ),
    "service.client.commands.sweep": frozenset({"service.client.optuna_export"}),
    "service.client.verification": frozenset({"service.client.recomputing"}),
    "service.loggers.choosing": frozenset(f"service.loggers.{kind}" for kind in ("mlflow", "tensorboard", "wandb")),
    "service.api.routes.disputed_images": frozenset({"service.compare.disputed"}),
    "service.reports.worst_images": frozenset({"service.compare.detections"}),
    "service.server.commands.up": frozenset({"service.server.control_plane", "service.server.options", "service.logs"}),
    "service.storage.choosing": frozenset({"service.storage.s3"}),
    "service.store.migrate": frozenset({"migrations"}),
    "service.tracing": frozenset({"service.tracing.otlp"}),
    "workers.remote.imported": frozenset(),
    "workers.runs": frozenset({"fgd_core.runs", "workers.studying", "workers.training.driver", "workers.tuning.sweep"}),
    "workers.tracing": frozenset({"workers.tracing.spans"}),
    "workers.training.driver": frozenset({"fgd_core.runs"}),
    "workers.training.group": frozenset({"workers.training.launch"}),
    "workers.tuning.sweep": frozenset({"fgd_core.runs", "workers.tuning.shared_teacher"}),
    # It loads searchers that are not ours.
    "workers.tuning.tune_searcher": frozenset(),
}
"""Module → modules that it loads into its own process."""

BY_NAME_WITH_SERVICE: Mapping[str, frozenset[str]] = {
    "service.client.cli": frozenset(
        f"service.server.commands.{command}" for command in ("backup", "migrate", "restore", "up")
    ),
    "service.client.commands.tokens": frozenset({"service.server.first_token"}),
    # It loads Pillow.
    "service.client.coco2017": frozenset(),
    "service.client.exits": frozenset({"service.server.options"}),
}
"""The same, for what the `fgd` command loads only where the extra `service` is installed. The client itself must not
import the server, so these rows are not held against the contracts."""

PROCESSES: Mapping[str, frozenset[str]] = {
    "service.client.child": frozenset({"service.client.cli"}),
    "service.client.commands.predict": frozenset({"fgd_core"}),
    "service.client.commands.weights": frozenset({"fgd_core"}),
    "service.compare.process": frozenset({"service.compare", "service.compare.sweep_report"}),
    "service.dispatcher.growing": frozenset({"workers.demand"}),
    "service.dispatcher.local": frozenset({"ray.scripts.scripts"}),
    "service.dispatcher.submitting": frozenset({"workers"}),
    "workers.metrics.relay": frozenset({"workers.metrics"}),
}
"""Module → modules that it starts as `python -m …`, in separate processes. The dispatcher's entry point runs in
Ray's image; local Ray, `fgd weights` and, for checkpoints, `fgd predict` need the workers' packages in
addition to the service's."""
