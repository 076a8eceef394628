"""What control planes share: leases, and the oldest code that works on this schema."""

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base


class Lease(Base):
    """A lease: one control plane at a time holds it, until it expires."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(100))
    fencing_token: Mapped[int] = mapped_column(BigInteger)
    """Grows with each new holder; writes with an older token are rejected."""
    expires_at: Mapped[datetime]


class SchemaFloor(Base):
    """One row: the oldest revision whose code still works on this schema.

    A migration that only adds keeps it, so that servers of the previous version continue during a rolling update. A
    migration that removes something raises it, and older servers do not start any more.
    """

    __tablename__ = "schema_floor"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
