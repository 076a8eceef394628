"""What all tables share."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase

from fgd_core.spec.events import JobState
from service.store.tables.json_values import JsonObject


class UtcDateTime(TypeDecorator[datetime]):
    """A time with a time zone. Stored in UTC, because SQLite stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


# SQLite assigns row numbers only in a column of exactly this type.
RowNumber = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The base class of all tables."""

    metadata = MetaData(
        # All constraints get names, because a migration can only drop a constraint by its name.
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: UtcDateTime(),
        JsonObject: JSON(none_as_null=True),
        JobState: String(16),
    }


def table_of(model: type[Base]) -> Table:
    """Return the table of a model, for statements without the ORM."""
    assert isinstance(model.__table__, Table)
    return model.__table__


def index_of_few(name: str, *columns: str, where: str) -> Index:
    """Return an index of the rows that meet a condition: the other rows, however many, cost it nothing."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


def columns(row: Base) -> JsonObject:
    """Return the values of a row by column, for a view that has most of them under the same names."""
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}
