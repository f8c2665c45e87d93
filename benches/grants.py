#!/usr/bin/env python3
"""What private updates and grants cost a hub, over real sockets: CPU of the hub per delivery, and
its memory per subscriber. One hub per row, on core 0; the subscribers are here, on core 1.

    cargo build --release -p tidings
    python3 benches/grants.py [--subscribers 10000] [--updates 30] [--repeat 3] [--hub target/release/tidings]

Rows: no tokens; the same grants for all; grants of one's own (a feed each). Columns: memory as the
hub's process grew while they came; CPU per delivery of public updates, then of private ones.
"""

import argparse, base64, hashlib, hmac, json, os, resource, select, socket, statistics, subprocess, sys, time

SECRET = "a secret that is long enough for this"
TOPIC = "https://example.com/all"


def token(claims):
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    message = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, {"mercure": claims}))
    return f"{message}.{encode(hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).digest())}"


def cpu(pid):
    own = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            own += int(file.read().split()[0])
    return own / 1e9


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_Dirty"))


class Hub:
    def __init__(self, binary):
        command = ["taskset", "-c", "0", binary, "serve", "--listen", "127.0.0.1:0", "--journal", "memory", "--shards", "1",
                   "--publisher-key", SECRET, "--subscriber-key", SECRET, "--anonymous-subscribe"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = next(line for line in self.process.stderr if "://127." in line)
        host, port = line.split("://")[1].split("/")[0].split(":")
        self.address = (host, int(port))

    def connect(self):
        return socket.create_connection(self.address)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def read_head(stream):
    head = b""
    while b"\nretry: " not in head or not head.endswith(b"\n"):
        piece = stream.recv(4096)
        if not piece:
            sys.exit(f"the hub refused: {head.decode()}")
        head += piece
    if not head.startswith(b"HTTP/1.1 200"):
        sys.exit(f"the hub refused: {head.decode()}")


def publish(connection, publisher, private):
    body = f"topic={TOPIC}&data={'x' * 64}" + ("&private=on" if private else "")
    connection.sendall((f"POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {publisher}\r\n"
                        f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(body)}\r\n\r\n{body}").encode())
    answer = connection.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200"):
        sys.exit(answer.decode())


def measure(arguments, grants):
    hub = Hub(arguments.hub)
    streams, poll = {}, select.epoll()
    try:
        connection, publisher = hub.connect(), token({"publish": ["*"]})
        publish(connection, publisher, False)
        before = memory(hub.process.pid)
        for number in range(arguments.subscribers):
            stream = hub.connect()
            bearer = grants(number)
            line = f"authorization: Bearer {token({'subscribe': bearer})}\r\n" if bearer else ""
            stream.sendall(f"GET /.well-known/mercure?topic={TOPIC} HTTP/1.1\r\nhost: localhost\r\n{line}\r\n".encode())
            read_head(stream)
            streams[stream.fileno()] = stream
            poll.register(stream, select.EPOLLIN)
        each = (memory(hub.process.pid) - before) / arguments.subscribers
        costs = []
        for private in [False, True] if grants(0) else [False]:
            begun, deliveries = cpu(hub.process.pid), 0
            for _ in range(arguments.updates):
                publish(connection, publisher, private)
                waiting = set(streams)
                until = time.monotonic() + 60
                while waiting:
                    if time.monotonic() > until:
                        sys.exit(f"{len(waiting)} subscribers got nothing")
                    for descriptor, _ in poll.poll(1):
                        data = streams[descriptor].recv(65536)
                        if not data:
                            sys.exit("a stream ended")
                        if b"data: " in data and data.endswith(b"\n\n"):
                            waiting.discard(descriptor)
                deliveries += len(streams)
            costs.append((cpu(hub.process.pid) - begun) / deliveries * 1e6)
        return each, costs
    finally:
        for stream in streams.values():
            stream.close()
        hub.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=10_000)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--hub", default="target/release/tidings")
    arguments = parser.parse_args()
    files = arguments.subscribers + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    os.sched_setaffinity(0, {1})
    rows = {
        "no tokens": lambda number: [],
        "the same grants for all (one feed)": lambda number: [TOPIC],
        "grants of one's own (a feed each)": lambda number: [TOPIC, f"https://example.com/own/{number}"],
    }
    seen = {name: [] for name in rows}
    for _ in range(arguments.repeat):
        for name, grants in rows.items():
            seen[name].append(measure(arguments, grants))
    print(f"load {os.getloadavg()[0]:.1f}, {arguments.subscribers} subscribers, {arguments.updates} updates, medians of {arguments.repeat}")
    print("| | memory per subscriber | CPU per delivery, public | private |\n|---|---|---|---|")
    for name, runs in seen.items():
        median = lambda values: statistics.median(values)
        public = f"{median([costs[0] for _, costs in runs]):.2f} µs"
        private = f"{median([costs[1] for _, costs in runs]):.2f} µs" if len(runs[0][1]) > 1 else "nobody may read it"
        print(f"| {name} | {median([each for each, _ in runs]):,.0f} B | {public} | {private} |")


if __name__ == "__main__":
    main()
