"""Validates each line of a file as a CloudEvent 1.0, by the library `cloudevents`. Prints the number of events."""
import json
import sys

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

ids = set()
for line in open(sys.argv[1], "rb"):
    # The library adds a missing id or version, so both are required here.
    raw = json.loads(line)
    assert raw["specversion"] == "1.0" and raw["datacontenttype"] == "application/json", raw
    event = JSONFormat().read(CloudEvent, line)
    assert event.get_id() == raw["id"] and event.get_id() not in ids, raw
    ids.add(event.get_id())
    assert event.get_source() == "/services/candles", raw
    assert event.get_type() == "io.github.tollgate-rs.decision", raw
    assert event.get_time() is not None and event.get_time().isoformat() == "2026-04-30T12:00:00+00:00", raw
    data = event.get_data()
    assert isinstance(data, dict), raw
    if data["outcome"] == "admitted":
        assert event.get_subject() == data["key"] and data["rule"] == "GET /v1/items/{name}", raw
    print(data["outcome"], data["status"], data.get("kind"), data.get("balance"))
