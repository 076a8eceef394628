"""Other pictures of the images of a data set."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.data import DatasetName, DataSpec, FileData, InputSpec, PictureFolders, files_of
from fgd_core.spec.derivations import Derivation
from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.kinds.teacher import Teacher


class DeriveDataSpec(AnyJob):
    """Make another picture of each image of a data set, and register the data set with these pictures.

    A job that is stopped or killed goes on with the images that have no picture yet.
    """

    kind: Literal["derive_data"] = "derive_data"
    data: DataSpec
    """The data set whose images get a picture."""
    teacher: Teacher
    """The detector that the pictures are made with; its AP is not checked."""
    derivation: Derivation = Derivation()
    """How the pictures are made."""
    dataset: DatasetName
    """The name under which the data set is registered together with its pictures, for distillations to use."""
    folder: str
    """Folder that receives the pictures, in `train` and `val`: a new one, or that of an earlier job with the same
    settings. Later jobs must find it at the same path."""
    with_val: bool = False
    """Whether the validation images get pictures too; only teachers that see these pictures need them."""
    input: InputSpec = InputSpec()
    """The size at which the teacher sees the images, best the size of the distillation."""
    num_samples: int = Field(default=12, ge=1, le=60)
    """Number of images per split that are drawn with their boxes."""

    def derived(self) -> FileData | None:
        """Return the data with its new pictures; None if its name is not resolved yet."""
        files = files_of(self.data)
        if files is None:
            return None
        folders = PictureFolders(train=f"{self.folder}/train", val=f"{self.folder}/val" if self.with_val else None)
        return files.model_copy(update={"pictures": {**files.pictures, self.derivation.picture: folders}})
