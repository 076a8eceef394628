"""A data set by its name: what the control plane found under it, held against what lies there now."""

from fgd_core.data.samples import DetectionDataset, Split
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


def change(spec: Registered, split: Split, dataset: DetectionDataset) -> DataError | None:
    """What to say of data that is not what the newest check found; None where it is, or was never checked."""
    known = spec.resolved.fingerprints if spec.resolved is not None else None
    if known is None or getattr(known, split) == dataset.fingerprint:
        return None
    return DataError(
        f"the {split} split of {spec.name!r} is no longer what its check found: images, classes or boxes have changed; "
        f"look at it anew with `fgd data check {spec.name}`, or set data.if_changed to warn",
        name=spec.name,
        split=split,
        checked=getattr(known, split),
        found=dataset.fingerprint,
    )
