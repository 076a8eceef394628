"""The two kinds of record that cross a boundary."""

from pydantic import BaseModel, ConfigDict


class Command(BaseModel):
    """What somebody asks for: a misspelt field is an error, for a run that guesses trains the wrong model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Fact(BaseModel):
    """What happened: an unknown field is left aside, for a reader may be older than the writer."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)
