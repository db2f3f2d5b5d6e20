"""A collector that is not ours: the messages of opentelemetry-proto read what the program exports, and the names of
opentelemetry-semantic-conventions judge it. Started by scripts/test-otlp.sh with the program's path.

It plays the providers and the collector, and the client with a trace of its own; prints a line for each check, and `N passed, M failed` last.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry import trace as otel
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes, service_attributes, telemetry_attributes
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

PROMPT, ANSWER, KEY = "a prompt that nobody sees", "an answer that nobody sees", "sk-a-key-that-nobody-sees"
PATIENCE = 30
# Whether whoever is slow need not be any more.
LEFT = threading.Event()
# Names that the conventions have given up.
DEPRECATED = {gen_ai.GEN_AI_SYSTEM, gen_ai.GEN_AI_PROMPT, gen_ai.GEN_AI_COMPLETION,
              gen_ai.GEN_AI_USAGE_PROMPT_TOKENS, gen_ai.GEN_AI_USAGE_COMPLETION_TOKENS}
KNOWN = {value for name, value in vars(gen_ai).items() if name.startswith("GEN_AI_") and isinstance(value, str)}
KNOWN = (KNOWN - DEPRECATED) | {error_attributes.ERROR_TYPE, http_attributes.HTTP_RESPONSE_STATUS_CODE}
PROVIDERS = {value.value for value in gen_ai.GenAiProviderNameValues}
OPERATIONS = {value.value for value in gen_ai.GenAiOperationNameValues} | {"images", "count_tokens"}


class Heard:
    """What came to a server of this process."""

    def __init__(self):
        self.changed = threading.Condition()
        self.requests = []

    def add(self, path, headers, body):
        with self.changed:
            self.requests.append((path, headers, body))
            self.changed.notify_all()

    def until(self, fits):
        """Waits until what came fits, and gives what it makes of it."""
        with self.changed:
            found = self.changed.wait_for(lambda: fits(self.requests), PATIENCE)
            assert found, f"it did not come in {PATIENCE} s: {[path for path, _, _ in self.requests]}"
            return found


def serving(answer):
    """A server on a free port that answers as `answer(path, body)` says, with what it heard."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.add(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            status, kind, text = answer(self.path, body)
            # A call that was given up has nobody who listens.
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}", heard


def provider(path, body):
    """Three providers, by the beginning of the path: one that is limited, one whose key is wrong, one that answers."""
    if path.startswith("/limited"):
        return 429, "application/json", json.dumps({"error": {"message": f"no more of {PROMPT}"}}).encode()
    if path.startswith("/slow"):
        # Until another one has answered; it is asked by one request only.
        LEFT.wait(PATIENCE)
    if path.startswith("/refuses"):
        return 401, "application/json", b'{"error": {"message": "no such key"}}'
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12,
             "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}
    if not json.loads(body).get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
        whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m-2026", "choices": [choice], "usage": usage}
        return 200, "application/json", json.dumps(whole).encode()
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-2026"}
    chunks = [chunk | {"choices": [{"index": 0, "delta": {"content": ANSWER}, "finish_reason": None}]},
              chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
              chunk | {"choices": [], "usage": usage}]
    return 200, "text/event-stream", "".join(f"data: {json.dumps(one)}\n\n" for one in chunks).encode() + b"data: [DONE]\n\n"


def settings(upstream, collector):
    """The configuration. `gemini` speaks the chat format here: that its name is OpenTelemetry's is what counts."""
    sections = "".join(
        f'[providers.{name}]\nbase_url = "{upstream}/{path}/v1"\ndialect = "openai_chat"\napi_key = "{KEY}"\nmodels = ["m"]\n'
        for name, path in [("mistral", "limited"), ("gemini", "well"), ("late", "refuses"), ("slow", "slow")])
    return (f'[server]\ndrain = "1ms"\n[telemetry]\notlp = "{collector}"\n'
            f'resource = "deployment.environment.name=tests"\n{sections}'
            f'[routes.r]\ngroups = [["mistral/m"], ["gemini/m"]]\n'
            '[routes.hedged]\ngroups = [["slow/m"], ["gemini/m"]]\nhedge = true\nhedge_after = "20ms"\nhedge_percent = 100\n')


class Program:
    """The program serving, which ends with the block."""

    def __init__(self, path, folder):
        self.folder, self.file = folder, os.path.join(folder, "router.toml")
        self.path, self.said = path, []
        self.changed = threading.Condition()

    def __enter__(self):
        words = [self.path, "--config", self.file, "serve", "--port", "0"]
        self.child = subprocess.Popen(words, env={"HOME": self.folder}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self.listen, daemon=True).start()
        self.address = self.until("listening on ").split("listening on ")[1].strip()
        return self

    def listen(self):
        for line in self.child.stderr:
            with self.changed:
                self.said.append(line)
                self.changed.notify_all()

    def until(self, words):
        with self.changed:
            line = lambda: next((line for line in self.said if words in line), None)
            assert self.changed.wait_for(line, PATIENCE), self.said
            return line()

    def end(self):
        self.child.send_signal(signal.SIGINT)
        assert self.child.wait(PATIENCE) == 0, self.said

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def ask(self, path, body, headers=()):
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"} | dict(headers)
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read().decode()


def chat(model, stream=False):
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": PROMPT}]}


def parent(trace, span):
    """Headers as OpenTelemetry's own propagator writes them for a client that stands here in a trace."""
    flags, state = otel.TraceFlags(otel.TraceFlags.SAMPLED), otel.TraceState([("vendor", "value")])
    context = otel.SpanContext(trace, span, is_remote=False, trace_flags=flags, trace_state=state)
    carrier = {}
    TraceContextTextMapPropagator().inject(carrier, otel.set_span_in_context(otel.NonRecordingSpan(context)))
    return carrier


def received(headers):
    """Where a provider finds itself, as OpenTelemetry's own propagator reads it."""
    return otel.get_current_span(TraceContextTextMapPropagator().extract(headers)).get_span_context()


def message(body, kind):
    """An export request in OTLP's JSON as its message. Ids are hexadecimal there, and nowhere else in the mapping; a field that is unknown is an error."""

    def mapped(value):
        if isinstance(value, dict):
            ids = ("traceId", "spanId", "parentSpanId")
            return {name: base64.b64encode(bytes.fromhex(one)).decode() if name in ids else mapped(one) for name, one in value.items()}
        return [mapped(one) for one in value] if isinstance(value, list) else value

    request = json_format.ParseDict(mapped(json.loads(body)), kind(), ignore_unknown_fields=False)
    return kind.FromString(request.SerializeToString())


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Exported:
    """All that the collector got, and what led to it."""

    def __init__(self, heard, upstream):
        self.bodies = [body for _, _, body in heard.requests]
        self.traces = [message(body, ExportTraceServiceRequest) for path, _, body in heard.requests if path == "/v1/traces"]
        self.metrics = [message(body, ExportMetricsServiceRequest) for path, _, body in heard.requests if path == "/v1/metrics"]
        self.resources = [one.resource for request in self.traces for one in request.resource_spans]
        self.resources += [one.resource for request in self.metrics for one in request.resource_metrics]
        self.spans = [span for request in self.traces for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
        self.upstream = [(path, received(headers)) for path, headers, _ in upstream.requests]

    def of_trace(self, trace):
        return [span for span in self.spans if int.from_bytes(span.trace_id) == trace]

    def last_metrics(self):
        return {metric.name: metric for of in self.metrics[-1].resource_metrics for scope in of.scope_metrics for metric in scope.metrics}


WHOLE, STREAMED, MCP, MCP_HEADER, HEDGED = 0xA1 << 100, 0xA2 << 100, 0xA3 << 100, 0xA4 << 100, 0xA5 << 100
TRACES = (WHOLE, STREAMED, MCP, MCP_HEADER, HEDGED)
CLIENT = 0x0102030405060708


@check
def a_request_is_a_span_of_the_clients_trace_and_each_attempt_one_below_it(exported):
    for trace in TRACES:
        spans = exported.of_trace(trace)
        [request] = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
        attempts = [span for span in spans if span.kind == Span.SPAN_KIND_CLIENT]
        assert len(spans) == 1 + len(attempts) and attempts, spans
        assert int.from_bytes(request.parent_span_id) == CLIENT, request
        assert all(attempt.parent_span_id == request.span_id for attempt in attempts), spans
        assert all(span.trace_state == "vendor=value" and span.flags & 0xFF == 1 for span in spans), spans
    spans = [span.span_id for span in exported.spans]
    assert len(set(spans)) == len(spans) and all(len(span) == 8 for span in spans), "each has an id of its own"


@check
def providers_find_themselves_below_the_attempt_that_asked_them(exported):
    attempts = {(int.from_bytes(span.trace_id), int.from_bytes(span.span_id)) for span in exported.spans if span.kind == Span.SPAN_KIND_CLIENT}
    seen = {(context.trace_id, context.span_id) for _, context in exported.upstream}
    assert seen == attempts and len(exported.upstream) == len(attempts), (seen, attempts)
    assert all(context.trace_flags.sampled and context.trace_state.get("vendor") == "value"
               for _, context in exported.upstream if context.trace_id in TRACES)


@check
def times_are_in_order_and_attempts_within_their_request(exported):
    now = time.time_ns()
    for span in exported.spans:
        assert now - 600 * 10**9 < span.start_time_unix_nano <= span.end_time_unix_nano < now + 60 * 10**9, span
    for request in (span for span in exported.spans if span.kind == Span.SPAN_KIND_SERVER):
        for attempt in (span for span in exported.spans if span.parent_span_id == request.span_id):
            assert request.start_time_unix_nano <= attempt.start_time_unix_nano, (request, attempt)
            assert attempt.end_time_unix_nano <= request.end_time_unix_nano, (request, attempt)


@check
def names_and_types_are_those_of_the_semantic_conventions(exported):
    numbers = {gen_ai.GEN_AI_USAGE_INPUT_TOKENS, gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, http_attributes.HTTP_RESPONSE_STATUS_CODE,
               gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS}
    for span in exported.spans:
        attributes = plain(span.attributes)
        unknown = {name for name in attributes if name not in KNOWN and not name.startswith("llm_router.")}
        assert not unknown, unknown
        assert all(isinstance(value, int if name in numbers else str) for name, value in attributes.items() if name in KNOWN), attributes
        operation, model = attributes[gen_ai.GEN_AI_OPERATION_NAME], attributes.get(gen_ai.GEN_AI_REQUEST_MODEL)
        assert operation in OPERATIONS, operation
        assert span.name == (f"{operation} {model}" if model else operation), span.name


@check
def an_answered_attempt_says_who_what_and_how_much(exported):
    for trace in (WHOLE, STREAMED, MCP, MCP_HEADER):
        answered = [span for span in exported.of_trace(trace) if span.status.code != Status.STATUS_CODE_ERROR]
        assert {span.kind for span in answered} == {Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT}, answered
        for span in answered:
            attributes = plain(span.attributes)
            expected = {gen_ai.GEN_AI_PROVIDER_NAME: "gcp.gemini", gen_ai.GEN_AI_REQUEST_MODEL: "m", gen_ai.GEN_AI_RESPONSE_MODEL: "m-2026",
                        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: 7, gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: 5,
                        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: 3, gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: 2}
            assert expected.items() <= attributes.items(), attributes
            assert error_attributes.ERROR_TYPE not in attributes, attributes
    names = {plain(span.attributes).get(gen_ai.GEN_AI_PROVIDER_NAME) for span in exported.spans} - {None, "later", "slow"}
    assert names == {"gcp.gemini", "mistral_ai"} and names <= PROVIDERS, names


@check
def a_failed_attempt_has_its_error_and_no_word_of_it(exported):
    [failed] = [span for span in exported.of_trace(WHOLE) if span.status.code == Status.STATUS_CODE_ERROR]
    attributes = plain(failed.attributes)
    assert failed.kind == Span.SPAN_KIND_CLIENT and attributes[gen_ai.GEN_AI_PROVIDER_NAME] == "mistral_ai", failed
    assert attributes[error_attributes.ERROR_TYPE] == "provider_rate_limited" == failed.status.message, failed
    assert attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 429, attributes


@check
def the_loser_of_a_hedge_is_a_call_that_was_given_up_and_no_error(exported):
    attempts = {plain(span.attributes)[gen_ai.GEN_AI_PROVIDER_NAME]: span for span in exported.of_trace(HEDGED) if span.kind == Span.SPAN_KIND_CLIENT}
    assert set(attempts) == {"slow", "gcp.gemini"}, attempts
    assert plain(attempts["slow"].attributes)["llm_router.given_up"] is True, attempts
    assert all(span.status.code == Status.STATUS_CODE_UNSET for span in attempts.values()), attempts


@check
def the_resource_says_whose_it_is(exported):
    for resource in exported.resources:
        attributes = plain(resource.attributes)
        assert attributes[service_attributes.SERVICE_NAME] == "llm-router" and attributes[service_attributes.SERVICE_VERSION], attributes
        assert attributes[telemetry_attributes.TELEMETRY_SDK_LANGUAGE] == "rust", attributes
        assert attributes["deployment.environment.name"] == "tests", attributes


@check
def metrics_are_whole_and_cumulative(exported):
    metrics = exported.last_metrics()
    for metric in metrics.values():
        assert metric.description and metric.unit, metric
        data = getattr(metric, metric.WhichOneof("data"))
        assert len(data.data_points) > 0, metric
        for point in data.data_points:
            assert 0 < point.start_time_unix_nano <= point.time_unix_nano, metric
        if metric.HasField("sum"):
            assert data.is_monotonic and data.aggregation_temporality == 2, metric
        if metric.HasField("histogram"):
            assert data.aggregation_temporality == 2 and metric.unit == "s", metric
            for point in data.data_points:
                assert len(point.bucket_counts) == len(point.explicit_bounds) + 1, metric
                assert sum(point.bucket_counts) == point.count and list(point.explicit_bounds) == sorted(point.explicit_bounds), metric
    answered = [point.as_int for point in metrics["llm_router_requests_total"].sum.data_points
                if plain(point.attributes).get("provider") == "gemini" and plain(point.attributes)["outcome"] == "ok"]
    assert answered == [5], answered


@check
def after_a_reload_the_breakers_are_those_of_the_router_that_answers(exported):
    points = exported.last_metrics()["llm_router_breakers"].gauge.data_points
    held = {(plain(point.attributes)["provider"], plain(point.attributes)["kind"]) for point in points}
    assert ("later", "provider_auth") in held, held


@check
def no_prompt_no_answer_and_no_key_is_told(exported):
    for body in exported.bodies:
        for secret in (PROMPT, ANSWER, KEY):
            assert secret.encode() not in body, body


def mcp(headers, meta=None):
    params = {"name": "generate", "arguments": {"prompt": PROMPT, "model": "gemini/m"}}
    if meta:
        params["_meta"] = meta
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return body, {"mcp-protocol-version": "2025-06-18"} | headers


def play(path):
    collector, heard = serving(lambda *_: (200, "application/json", b"{}"))
    upstream, asked = serving(provider)
    with tempfile.TemporaryDirectory() as folder:
        program = Program(path, folder)
        with open(program.file, "w") as file:
            file.write(settings(upstream, collector))
        with program:
            assert ANSWER in program.ask("/v1/chat/completions", chat("r"), parent(WHOLE, CLIENT))
            assert ANSWER in program.ask("/v1/chat/completions", chat("gemini/m", True), parent(STREAMED, CLIENT))
            assert ANSWER in program.ask("/v1/chat/completions", chat("hedged"), parent(HEDGED, CLIENT))
            LEFT.set()
            # What the call itself says of its trace goes before what brought it.
            for body, headers in (mcp(parent(1 << 90, 1), parent(MCP, CLIENT)), mcp(parent(MCP_HEADER, CLIENT))):
                answer = program.ask("/mcp", body, headers)
                assert ANSWER in answer, answer
            # Another router takes the place of the first, and one of its own providers refuses its key.
            with open(program.file, "w") as file:
                file.write(settings(upstream, collector).replace("[providers.late]", "[providers.later]"))
            program.child.send_signal(signal.SIGHUP)
            program.until("configuration read again")
            try:
                program.ask("/v1/chat/completions", chat("later/m"))
                raise AssertionError("a refused key answers")
            except urllib.error.HTTPError as error:
                assert error.code == 502, error
            program.end()
    heard.until(lambda requests: any(path == "/v1/metrics" for path, _, _ in requests))
    return Exported(heard, asked)


def main():
    exported = play(sys.argv[1])
    passed, failed = 0, 0
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            function(exported)
            passed += 1
            print(f"ok      {name}")
        except Exception as error:
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
