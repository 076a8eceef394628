"""Finds jobs by a part of their name through an index of trigrams: every three successive characters.

PostgreSQL has a GIN index over `job_name_trigrams(name)`, a function of ours, because the extension pg_trgm may not be
installed. SQLite has a table of its full-text search, which triggers fill from `jobs`; an SQLite without it has no
index. Migration 0011 creates both.
"""

import re

from sqlalchemy import ColumnElement, Select, Text, column, func, or_, select, table, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import CompoundSelect

from service.store.tables import Job
from service.store.write_session import WriteSession

_TRIGRAM = 3
_ID = re.compile(r"[0-9a-f]+", re.ASCII)
_BEHIND_EVERY_DIGIT = "g"
_NAMES, _INDEX = "job_search_names", "job_search"

_names = table(_NAMES, column("number"), column("job_id"))
_index = table(_INDEX, column("rowid"))


def matches(wanted: str) -> ColumnElement[bool]:
    """Return whether a text is a part of a job's name or the beginning of its id, case-insensitive."""
    return or_(Job.name.icontains(wanted, autoescape=True), Job.id.istartswith(wanted, autoescape=True))


async def candidates(session: WriteSession, wanted: str) -> Select[str] | CompoundSelect[str] | None:
    """Return a query for the ids of all jobs that a text may match; None if no index answers it."""
    if len(wanted) < _TRIGRAM:
        return None
    if session.get_bind().dialect.name == "postgresql":
        grams = func.job_name_trigrams(wanted, type_=ARRAY(Text))
        by_name = select(Job.id).where(func.job_name_trigrams(Job.name, type_=ARRAY(Text)).contains(grams))
    elif await _has_index(session):
        # A phrase in quotes: the operators of full-text search have no meaning inside.
        phrase = '"' + wanted.replace('"', '""') + '"'
        found = select(_index.c.rowid).where(text(f"{_INDEX} MATCH :phrase").bindparams(phrase=phrase))
        by_name = select(_names.c.job_id.label("id")).where(_names.c.number.in_(found))
    else:
        return None
    prefix = wanted.lower()
    if _ID.fullmatch(prefix) is None:
        return by_name
    return by_name.union(select(Job.id).where(Job.id >= prefix, Job.id < prefix + _BEHIND_EVERY_DIGIT))


async def _has_index(session: WriteSession) -> bool:
    schema = table("sqlite_master", column("name"))
    return await session.scalar(select(schema.c.name).where(schema.c.name == _INDEX)) is not None
