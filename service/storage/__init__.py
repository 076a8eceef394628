"""Stores the files of jobs in a folder or in a bucket of an S3 service. No other package opens files of jobs.

All calls block: run them through `threads.run`.

    base       what a storage can do
    folder     files in a folder, which runs may share
    s3         files in a bucket, through s3_files (one object) and s3_bucket (boto3 and its errors)
    choosing   the storage of the settings, and its check at the start of a server
    paths      names inside a storage, and which files belong to a job
    errors     a full disk, a missing bucket, an unreachable service
"""
