"""Where the bytes of jobs lie: a folder, or a bucket of an S3 service. Nothing else opens files of jobs.

Everything here blocks: call it through `threads.run`.

    base     what a storage can do
    folder   on a disk, which runs may share
    s3       in a bucket, through fsspec
    urls     which of them a setting means
    paths    names within a storage, and which of them are a job's
    errors   what a full disk, a missing bucket or a service that is away mean
"""
