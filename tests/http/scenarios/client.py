"""Makes the calls that are read from its input, a JSON object a line, with grpcio: client.py ADDRESS."""

import json
import sys

import grpc

REQUEST_ID = ("x-request-id", "the-same-everywhere")


def check(channel, row):
    """Calls as often as the row says before, and once to be refused."""
    call = channel.unary_unary(row["path"])
    metadata = [tuple(pair) for pair in row["metadata"]] + [REQUEST_ID]
    for _ in range(row["before"]):
        call(b"", metadata=metadata, timeout=10)
    try:
        call(b"", metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        told = dict(error.trailing_metadata())
        found = (error.code().value[0], told.get(REQUEST_ID[0]), bool(error.details()))
        expected = (row["code"], REQUEST_ID[1], True)
        if found != expected:
            sys.exit(f"{row['name']}: expected {expected!r}, found {found!r}: {error!r}")
    else:
        sys.exit(f"{row['name']}: the call was served")


rows = [json.loads(line) for line in sys.stdin]
with grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_retries", 0)]) as channel:
    for row in rows:
        check(channel, row)
print(len(rows), "refusals were as expected")
