"""Minimal versions of Lambda's Runtime API and of a SageMaker endpoint that record when they are called."""

from __future__ import annotations

import base64
import io
import json
import queue
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


@dataclass
class Answer:
    """The function's response to an event."""

    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]
    posted_at: float
    """The time at which the response was complete."""
    failed: bool
    """Whether the function reported an error."""
    parts: list[tuple[float, bytes]] = field(default_factory=list)
    """The chunks of the response with their times."""

    @property
    def event(self) -> dict[str, Any]:
        """The response for the gateway."""
        return json.loads(self.body)

    def json(self) -> Any:
        """The body of the response for the gateway."""
        event = self.event
        body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"]
        return json.loads(body)

    def header(self, name: str) -> str | None:
        """A header of the response for the gateway, in either payload format."""
        event = self.event
        given = {k.lower(): v for k, v in (event.get("headers") or {}).items()}
        given |= {k.lower(): v[0] for k, v in (event.get("multiValueHeaders") or {}).items()}
        return given.get(name)


@dataclass
class Invocation:
    """An event and the queue for its response."""

    id: str
    event: dict[str, Any]
    deadline: float
    answer: queue.Queue[Answer] = field(default_factory=queue.Queue)


class RuntimeApi:
    """Sends events to one function, one at a time, and records when the function polls for the next event."""

    def __init__(self) -> None:
        self.events: queue.Queue[Invocation] = queue.Queue()
        self.open: dict[str, Invocation] = {}
        self.polled_at: list[float] = []
        """The times at which the function polled for an event. Lambda freezes a function only then."""
        self.polled = threading.Condition()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Buffered: with two small packets, the second would wait for the acknowledgement of the first.
            wbufsize = -1

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                assert self.path == "/2018-06-01/runtime/invocation/next", self.path
                with api.polled:
                    api.polled_at.append(time.monotonic())
                    api.polled.notify_all()
                invocation = api.events.get()
                api.open[invocation.id] = invocation
                body = json.dumps(invocation.event).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Lambda-Runtime-Aws-Request-Id", invocation.id)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int(invocation.deadline * 1000)))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:1:function:tintype")
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700")
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                kind = self.path.rsplit("/", 1)[1]
                invocation = api.open.pop(self.path.split("/")[-2], None)
                parts, trailers = self.read_body()
                body = b"".join(part for _, part in parts)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if invocation is not None:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    failed = kind != "response"
                    invocation.answer.put(Answer(headers, body, trailers, time.monotonic(), failed, parts))

            def read_body(self) -> tuple[list[tuple[float, bytes]], dict[str, str]]:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    return [(time.monotonic(), body)], {}
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append((time.monotonic(), self.rfile.read(size)))
                    assert self.rfile.readline() == b"\r\n"
                trailers = {}
                while (line := self.rfile.readline().strip()) != b"":
                    name, value = line.decode().split(":", 1)
                    trailers[name.strip().lower()] = value.strip()
                return parts, trailers

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def send(self, event: dict[str, Any], seconds: float = 60) -> Invocation:
        """Queues an event with a deadline in `seconds`."""
        invocation = Invocation(str(uuid.uuid4()), event, time.time() + seconds)
        self.events.put(invocation)
        return invocation

    def invoke(self, event: dict[str, Any], seconds: float = 60) -> Answer:
        """Sends an event and waits for the response."""
        return self.send(event, seconds).answer.get(timeout=seconds + 30)

    def wait_until_polled(self, times: int, seconds: float = 60) -> float:
        """Waits until the function has polled `times` times. Returns the time of that poll."""
        with self.polled:
            in_time = self.polled.wait_for(lambda: len(self.polled_at) >= times, seconds)
            assert in_time, f"polled {len(self.polled_at)} times"
            return self.polled_at[times - 1]


class Endpoint:
    """A SageMaker endpoint with JumpStart's response format and an adjustable response time.

    It also accepts asynchronous invocations. `write_results` writes their results.
    """

    def __init__(self) -> None:
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), (200, 80, 20)).save(picture, "JPEG")
        self.picture = picture.getvalue()
        self.seconds = 0.0
        """The time that a real-time invocation takes."""
        self.calls: list[dict[str, Any]] = []
        self.bucket = ""
        """The bucket for the results of asynchronous invocations."""
        self.folder = f"async/{uuid.uuid4()}"
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Buffered: with two small packets, the second would wait for the acknowledgement of the first.
            wbufsize = -1

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.calls.append(request)
                if self.path.endswith("/async-invocations"):
                    self.accept(len(endpoint.calls) - 1)
                else:
                    time.sleep(endpoint.seconds)
                    self.answer(200, endpoint.result(request), {"Content-Type": "application/json;jpeg"})

            def accept(self, number: int) -> None:
                at = f"s3://{endpoint.bucket}/{endpoint.folder}/{number}"
                places = {"OutputLocation": f"{at}.out", "FailureLocation": f"{at}.err"}
                headers = {f"X-Amzn-SageMaker-{name}": place for name, place in places.items()}
                self.answer(202, json.dumps({"InferenceId": str(number)}).encode(), headers)

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def result(self, request: dict[str, Any]) -> bytes:
        encoded = base64.b64encode(self.picture).decode()
        return json.dumps({"generated_images": [encoded], "prompt": request.get("prompt")}).encode()

    def write_results(self, s3: Any) -> None:
        """Writes the results of the asynchronous invocations."""
        for number, request in enumerate(self.calls):
            s3.put_object(Bucket=self.bucket, Key=f"{self.folder}/{number}.out", Body=self.result(request))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"
