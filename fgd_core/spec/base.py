"""The two kinds of records that cross a boundary between processes."""

from pydantic import BaseModel, ConfigDict


class Command(BaseModel):
    """A request. An unknown field is an error, because a run that guesses trains the wrong model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Fact(BaseModel):
    """A fact that happened. An unknown field is ignored, because a reader may be older than the writer."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)
