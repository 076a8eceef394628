"""Data sets, the files that jobs saved, and models that name them."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base
from service.store.tables.json_values import JsonObject


class Dataset(Base):
    """A registered data set. Its content is described by the result of its newest check."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("project", "name"), Index(None, "created_at", "id"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    project: Mapped[str] = mapped_column(String(64))
    data: Mapped[JsonObject]
    """The location of its files: a `FileData`."""
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100), default="")
    check_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    """Job of the newest check; None if there is none or it was deleted."""
    checked_at: Mapped[datetime | None]
    """When the check reported `outcome`."""
    outcome: Mapped[JsonObject | None]
    """A `DataSetChecked`."""
    fingerprints: Mapped[JsonObject | None]
    """Fingerprint of each split; None if admission rejects training on the data set."""
    check_error: Mapped[JsonObject | None]
    """Error of the newest check."""


class JobDataset(Base):
    """A job whose spec names a registered data set."""

    __tablename__ = "job_datasets"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True, index=True)


class Artifact(Base):
    """A file that a job saved."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    uri: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    saved_at: Mapped[datetime]


class ModelName(Base):
    """The name of a model, which stays when its versions are deleted: no number is given to two files."""

    __tablename__ = "model_names"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    last_version: Mapped[int]
    """The highest number that a version has had."""


class ModelVersion(Base):
    """A version of a model: a name for a file of a job."""

    __tablename__ = "model_versions"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Counts from 1 within the model."""
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    artifact: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the file when the version was made."""
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(100))


class ModelAlias(Base):
    """A name of a version that may move to another one, such as `production`."""

    __tablename__ = "model_aliases"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    alias: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int]
