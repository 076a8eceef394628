"""A data set by its name: what the control plane found under it, held against what lies there now."""

from fgd_core.data.samples import Split
from fgd_core.errors import DataError, SpecError
from fgd_core.spec.data import FileData, Registered, files_of


def looked_up(spec: Registered) -> FileData:
    """
    Raises:
        SpecError: nobody has looked the name up.
    """
    data = files_of(spec)
    if data is None:
        raise SpecError(
            "the name of a data set means something to a control plane alone; write where the data lies, or hand the "
            "job in with `fgd submit`",
            name=spec.name,
        )
    return data


def is_as_checked(spec: Registered, split: Split, fingerprint: str) -> bool:
    """Whether it is what the newest check found; true too where there was none."""
    known = spec.resolved.fingerprints if spec.resolved is not None else None
    return known is None or getattr(known, split) == fingerprint


def changed(spec: Registered, split: Split, fingerprint: str) -> DataError:
    """What to say of data that is not as it was checked."""
    known = spec.resolved.fingerprints if spec.resolved is not None else None
    return DataError(
        f"the {split} split of {spec.name!r} is no longer what its check found: images, classes or boxes have changed; "
        f"look at it anew with `fgd data check {spec.name}`, or set data.if_changed to warn",
        name=spec.name,
        split=split,
        checked=getattr(known, split, None),
        found=fingerprint,
    )
