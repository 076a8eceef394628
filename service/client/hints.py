"""Commands that people type who come from other tools, and where fgd has what they look for."""

from collections.abc import Mapping

_LISTS = "`fgd jobs` lists jobs, `fgd show ID` says all about one, `fgd watch` follows them live."
_SUBMITS = "Jobs are handed in with `fgd submit SPEC`; the spec says `kind: {}`. Begin with one of the folder examples."
_PAGES = "There are pages at the server's address: /docs and /ray/. `fgd report ID --html FILE` writes one on a job."
_PREDICTS = "fgd trains and scores detectors, and predicts nothing; `kind: evaluate` in a spec scores a checkpoint."
_STARTS = "`fgd up` starts the server and a local Ray."
_STOPS = "Ctrl-C where `fgd up` runs stops the server; `fgd cancel ID` stops a job."

HINTS: Mapping[str, str] = {
    **dict.fromkeys(("status", "list", "ls", "ps", "top", "get", "info", "describe"), _LISTS),
    **{kind: _SUBMITS.format(kind) for kind in ("train", "distill", "evaluate")},
    **dict.fromkeys(("run", "create", "launch", "fit"), _SUBMITS.format("train")),
    **dict.fromkeys(("eval", "test", "score", "val"), _SUBMITS.format("evaluate")),
    **dict.fromkeys(("tune", "search", "optimize", "study"), _SUBMITS.format("sweep")),
    **dict.fromkeys(("ui", "web", "dashboard", "gui", "board", "docs", "ray"), _PAGES),
    **dict.fromkeys(("predict", "infer", "inference", "detect", "export"), _PREDICTS),
    **dict.fromkeys(("start", "serve", "server", "init", "install"), _STARTS),
    **dict.fromkeys(("stop", "down", "kill", "shutdown", "exit", "quit"), _STOPS),
    **dict.fromkeys(("rm", "remove"), "`fgd delete ID` deletes a job that is over."),
    **dict.fromkeys(("log", "tail", "output", "events"), "`fgd logs ID` shows them, with -f live."),
    **dict.fromkeys(("metrics", "results", "summary", "plot"), "`fgd report ID` shows scores, with --html as a page."),
    **dict.fromkeys(("check", "validate", "lint", "dataset", "datasets"), "`fgd data` checks and lists data sets."),
    **dict.fromkeys(("models", "methods", "detectors", "options"), "`fgd catalogue` lists all that a spec can say."),
    **dict.fromkeys(("login", "auth", "config", "configure"), "FGD_SERVER names the server, FGD_TOKEN your token."),
    **dict.fromkeys(("version",), "`fgd --version` says it."),
    **dict.fromkeys(("help", "man"), "`fgd --help` lists all commands, `fgd COMMAND --help` explains one."),
}
