"""Calls a gate's server with grpcio, and checks every answer: client.py ADDRESS KEY LIMITED_KEY POOR_KEY."""

import json
import sys

import grpc

ADDRESS, KEY, LIMITED, POOR = sys.argv[1:]
SERVICE = "grpc.health.v1.Health"

# Retries as eagerly as a client may, unless it is told otherwise.
RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.02s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"],
            },
        }
    ]
}


def health_request(service):
    """A HealthCheckRequest: one string, which is field 1."""
    text = service.encode()
    return b"\x0a" + bytes([len(text)]) + text if text else b""


def expect(name, found, expected):
    if found != expected:
        sys.exit(f"{name}: expected {expected!r}, found {found!r}")


def refused(name, call, code, message=None):
    try:
        call()
    except grpc.RpcError as error:
        expect(name, error.code(), code)
        if message is not None:
            expect(name, error.details(), message)
        return dict(error.trailing_metadata())
    sys.exit(f"{name}: the call was served")


with grpc.insecure_channel(ADDRESS, options=[("grpc.service_config", json.dumps(RETRIES))]) as channel:
    check = channel.unary_unary(f"/{SERVICE}/Check", request_serializer=health_request)
    watch = channel.unary_stream(f"/{SERVICE}/Watch", request_serializer=health_request)

    def with_key(key):
        return [("x-api-key", key)]

    told = refused("no key", lambda: check("", timeout=10), grpc.StatusCode.UNAUTHENTICATED, "The API key is missing or not valid.")
    expect("request id", told.get("x-request-id", "")[:4], "req_")
    unknown = KEY[:-1] + "0"
    refused("unknown key", lambda: check("", metadata=with_key(unknown), timeout=10), grpc.StatusCode.UNAUTHENTICATED)

    expect("served", check("", metadata=with_key(KEY), timeout=10), b"\x08\x01")
    bearer = [("authorization", f"Bearer {KEY}")]
    expect("stream", len(list(watch("after:3:0", metadata=bearer, timeout=10))), 3)
    refused("failing handler", lambda: check("code:13", metadata=with_key(KEY), timeout=10), grpc.StatusCode.INTERNAL, "as asked for")

    left = watch("stay", metadata=with_key(KEY), timeout=10)
    expect("first message", next(left), b"\x08\x01")
    left.cancel()

    expect("within the limit", check("", metadata=with_key(LIMITED), timeout=10), b"\x08\x01")
    # The client waits for as long as it is told to, which is longer than the call's deadline.
    refused("over the limit", lambda: check("", metadata=with_key(LIMITED), timeout=1), grpc.StatusCode.DEADLINE_EXCEEDED)
    told = refused("no credits", lambda: check("", metadata=with_key(POOR), timeout=10), grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect("pushback", told.get("grpc-retry-pushback-ms"), "-1")
    if b"google.rpc.ErrorInfo" not in told.get("grpc-status-details-bin", b""):
        sys.exit(f"no details: {told!r}")

with grpc.insecure_channel(ADDRESS, options=[("grpc.enable_retries", 0)]) as channel:
    check = channel.unary_unary(f"/{SERVICE}/Check", request_serializer=health_request)
    told = refused("no retries", lambda: check("", metadata=with_key(LIMITED), timeout=10), grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect("pushback", told.get("grpc-retry-pushback-ms"), "60000")

print("all answers were as expected")
