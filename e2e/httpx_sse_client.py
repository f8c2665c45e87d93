"""Prints the events of the stream at argv[1], one JSON object per line.

httpx-sse leaves it to its user to connect again; this is the way its documentation shows.
"""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse

RETRY_SECONDS = 0.2


def main(url: str) -> None:
    last_event_id = ""
    with httpx.Client(timeout=None) as client:
        while True:
            headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    for event in source.iter_sse():
                        last_event_id = event.id
                        seen = {"type": event.event, "id": event.id, "data": event.data}
                        print(json.dumps(seen), flush=True)
            except httpx.TransportError:
                pass
            time.sleep(RETRY_SECONDS)


main(sys.argv[1])
