"""Makes a bucket on an S3 server, or lists one: the server's address, the bucket, `make` or `list`."""

import sys

import boto3

server, bucket, what = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=server,
    region_name="us-east-1",
    aws_access_key_id="test",
    aws_secret_access_key="test",
)
if what == "make":
    s3.create_bucket(Bucket=bucket)
else:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            print(found["Size"], found["Key"])
