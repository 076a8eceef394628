"""Defines the tables. Every change needs a migration; a test compares the two."""

from service.store.tables.access import ApiToken, AuditEntry, Project
from service.store.tables.base import Base, UtcDateTime, columns, table_of
from service.store.tables.curves import MetricBucket, MetricPoint, MetricSeries
from service.store.tables.delivery import LoggerCurve, LoggerPosition, Webhook, WebhookDelivery
from service.store.tables.files import Artifact, Dataset, JobDataset, ModelAlias, ModelName, ModelVersion
from service.store.tables.jobs import Attempt, AttemptStream, Event, Job, JobCount, JobDependency, JobKindCount
from service.store.tables.system import Lease, SchemaFloor

__all__ = [
    "ApiToken",
    "Artifact",
    "Attempt",
    "AttemptStream",
    "AuditEntry",
    "Base",
    "Dataset",
    "Event",
    "Job",
    "JobCount",
    "JobDataset",
    "JobDependency",
    "JobKindCount",
    "Lease",
    "LoggerCurve",
    "LoggerPosition",
    "MetricBucket",
    "MetricPoint",
    "MetricSeries",
    "ModelAlias",
    "ModelName",
    "ModelVersion",
    "Project",
    "SchemaFloor",
    "UtcDateTime",
    "Webhook",
    "WebhookDelivery",
    "columns",
    "table_of",
]
