"""Curves: points of metrics, and buckets that summarise them."""

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base, RowNumber


class MetricSeries(Base):
    """One curve of a job or of a trial."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("job_id", "trial", "name"),)

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    trial: Mapped[str] = mapped_column(String(64), default="")
    name: Mapped[str] = mapped_column(String(200))
    rolled_up_to: Mapped[int] = mapped_column(BigInteger, default=0)
    """Steps below this one are also in `metric_buckets`."""


class MetricPoint(Base):
    """One point of a curve."""

    __tablename__ = "metric_points"
    # The key is the whole row except for one number: stored in the index of the key, a row takes half the space.
    __table_args__ = {"sqlite_with_rowid": False}

    series_id: Mapped[int] = mapped_column(ForeignKey("metric_series.id"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float]


class MetricBucket(Base):
    """The lowest and the highest point of a bucket of steps, so that a long curve can be drawn from few rows."""

    __tablename__ = "metric_buckets"
    __table_args__ = {"sqlite_with_rowid": False}

    series_id: Mapped[int] = mapped_column(ForeignKey("metric_series.id"), primary_key=True)
    bucket: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """First step of the bucket, divided by its number of steps."""
    min_step: Mapped[int] = mapped_column(BigInteger)
    min_value: Mapped[float]
    max_step: Mapped[int] = mapped_column(BigInteger)
    max_value: Mapped[float]
