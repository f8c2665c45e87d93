"""The event-stream clients that run on Python, each with the few lines that its readme tells its
users to write. See ../README.md for what is read and what is printed.
"""

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import sys
import threading
import time
import urllib.request

import aiohttp
import aiohttp_sse_client.client
import aiohttp_sse_client2.client
import aiosseclient
import httpx
import httpx_sse
import ld_eventsource
import requests
import requests_sse
import sseclient as sseclient_py
import urllib3

LOOP_SECONDS = 0.25
"""How long a loop of one's own waits before it asks again."""


def module_of(distribution, file):
    """A module whose name another package has taken."""
    path = importlib.metadata.distribution(distribution).locate_file(file)
    spec = importlib.util.spec_from_file_location(distribution, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # It prints each lost connection.
    module.print = lambda *_: None
    return module


sseclient = module_of("sseclient", "sseclient.py")


def loop(read):
    """What only parses, in the loop that one writes around it: ask again with the id of the last
    event that came whole."""

    def client(url, tell):
        last_id = None
        while True:
            headers = {"Accept": "text/event-stream"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            try:
                for kind, id, data in read(url, headers):
                    last_id = id or last_id
                    tell(kind, id, data)
            except Exception:
                pass  # The connection was lost, or refused.
            time.sleep(LOOP_SECONDS)

    return client


def async_loop(read):
    async def client(url, tell):
        last_id = None
        while True:
            headers = {"Accept": "text/event-stream"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            try:
                async for kind, id, data in read(url, headers):
                    last_id = id or last_id
                    tell(kind, id, data)
            except Exception:
                pass  # The connection was lost, or refused.
            await asyncio.sleep(LOOP_SECONDS)

    return client


class Parser:
    """The few lines that the standard's own description needs (HTML, 9.2.6), for what hands out
    lines."""

    def __init__(self):
        self.kind, self.id, self.data = "", None, []

    def take(self, line):
        """The event that this line ends, if it ends one."""
        if line == "":
            event = (self.kind, self.id, "\n".join(self.data)) if self.data else None
            self.kind, self.data = "", []
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self.data.append(value)
        elif name == "event":
            self.kind = value
        elif name == "id":
            self.id = value
        return None


def parsed(lines):
    parser = Parser()
    for line in lines:
        if event := parser.take(line.decode().rstrip("\n")):
            yield event


def requests_iter_lines(url, headers):
    response = requests.get(url, headers=headers, stream=True)
    yield from parsed(response.iter_lines())


def urllib_lines(url, headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
        yield from parsed(response)


def sseclient_py_events(response):
    for event in sseclient_py.SSEClient(response).events():
        yield event.event, event.id, event.data


def httpx_sse_events(url, headers):
    with httpx.Client(timeout=None) as client:
        with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
            for event in source.iter_sse():
                yield event.event, event.id, event.data


async def httpx_sse_async_events(url, headers):
    async with httpx.AsyncClient(timeout=None) as client:
        async with httpx_sse.aconnect_sse(client, "GET", url, headers=headers) as source:
            async for event in source.aiter_sse():
                yield event.event, event.id, event.data


async def aiohttp_lines(url, headers):
    parser = Parser()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        async with session.get(url, headers=headers) as response:
            async for line in response.content:
                if event := parser.take(line.decode().rstrip("\n")):
                    yield event


def aiohttp_sse(module):
    async def client(url, tell):
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with module.EventSource(url, session=session) as source:
                async for event in source:
                    tell(event.type, event.last_event_id, event.data)

    return client


def aiohttp_sse_again(module):
    async def events(url, headers):
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with module.EventSource(url, session=session, headers=headers) as source:
                async for event in source:
                    yield event.type, event.last_event_id, event.data

    return async_loop(events)


async def aiosseclient_events(url, headers):
    async for event in aiosseclient.aiosseclient(url, last_id=headers.get("Last-Event-ID")):
        yield event.event, event.id, event.data


def requests_sse_client(url, tell):
    with requests_sse.EventSource(url) as source:
        for event in source:
            tell(event.type, event.last_event_id, event.data)


def sseclient_client(url, tell):
    for event in sseclient.SSEClient(url):
        tell(event.event, event.id, event.data)


def sseclient_events(url, headers):
    for event in sseclient.SSEClient(url, last_id=headers.get("Last-Event-ID")):
        yield event.event, event.id, event.data


def launchdarkly(url, tell):
    # Otherwise the first lost connection is the end.
    strategy = ld_eventsource.config.ErrorStrategy.always_continue()
    for event in ld_eventsource.SSEClient(url, error_strategy=strategy).events:
        tell(event.event, event.last_event_id, event.data)


THREADS = {
    "requests iter_lines": loop(requests_iter_lines),
    "urllib": loop(urllib_lines),
    "sseclient-py over requests": loop(
        lambda url, headers: sseclient_py_events(requests.get(url, headers=headers, stream=True))
    ),
    "sseclient-py over urllib3": loop(
        lambda url, headers: sseclient_py_events(
            urllib3.PoolManager().request("GET", url, headers=headers, preload_content=False)
        )
    ),
    "httpx-sse": loop(httpx_sse_events),
    "requests-sse": requests_sse_client,
    "sseclient": sseclient_client,
    "sseclient, again": loop(sseclient_events),
    "launchdarkly-eventsource (Python)": launchdarkly,
}

TASKS = {
    "httpx-sse, async": async_loop(httpx_sse_async_events),
    "aiohttp": async_loop(aiohttp_lines),
    "aiohttp-sse-client": aiohttp_sse(aiohttp_sse_client.client),
    "aiohttp-sse-client, again": aiohttp_sse_again(aiohttp_sse_client.client),
    "aiohttp-sse-client2": aiohttp_sse(aiohttp_sse_client2.client),
    "aiohttp-sse-client2, again": aiohttp_sse_again(aiohttp_sse_client2.client),
    "aiosseclient": async_loop(aiosseclient_events),
}

printing = threading.Lock()


def say(line):
    with printing:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def teller(stream):
    return lambda kind, id, data: say(
        {"stream": stream, "type": kind or "message", "id": id, "data": data}
    )


def failed(stream, error):
    say({"stream": stream, "error": f"{type(error).__name__}: {error}"})


def in_thread(stream, client, url):
    try:
        client(url, teller(stream))
        say({"stream": stream, "error": "it has ended"})
    except BaseException as error:
        failed(stream, error)


async def in_task(stream, client, url):
    try:
        await client(url, teller(stream))
        say({"stream": stream, "error": "it has ended"})
    except BaseException as error:
        failed(stream, error)


def main():
    tasks = asyncio.new_event_loop()
    threading.Thread(target=tasks.run_forever, daemon=True).start()
    for line in sys.stdin:
        wanted = json.loads(line)
        stream, name, url = wanted["stream"], wanted["client"], wanted["url"]
        if name in TASKS:
            asyncio.run_coroutine_threadsafe(in_task(stream, TASKS[name], url), tasks)
        elif name in THREADS:
            arguments = (stream, THREADS[name], url)
            threading.Thread(target=in_thread, args=arguments, daemon=True).start()
        else:
            say({"stream": stream, "error": f"there is no client {name} here"})
    os._exit(0)


main()
