"""A server that speaks vLLM's protocol and fails on command.

    fake_vllm.py serve MODEL --served-model-name NAME --port PORT --plan PLAN [...]

PLAN is a JSON file: {"answers": {TEXT: ANSWER}, "faults": [{"match": TEXT, "times": N, "do": FAULT}],
"requests": FILE, "transcripts": DIR, "start": …}. A request whose prompt holds TEXT gets that fault so
many times, then the answer. Every generation request is appended to `requests` as one JSON line.
Shapes and words of answers are those that real servers gave (vllm-transcripts).
"""
import argparse
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("command")
parser.add_argument("model")
parser.add_argument("--served-model-name", default="fake")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--plan", required=True)
parser.add_argument("--max-model-len", type=int, default=6144)
args, _ = parser.parse_known_args()
with open(args.plan) as f:
    plan = json.load(f)
faults = plan.get("faults", [])
lock = threading.Lock()
state = {"health": 200, "asked": 0, "in_flight": 0}

TOO_LONG = {"error": {"message": "This model's maximum context length is 6144 tokens. However, your prompt "
                      "contains at least 6145 input tokens", "type": "BadRequestError",
                      "param": "input_tokens", "code": 400}}
TOO_MANY_STOPS = {"error": {"message": "List should have at most 4 items after validation, not 5",
                            "type": "Bad Request", "param": "body.stop", "code": 400}}
NO_TEMPLATE = {"error": {"message": "As of transformers v4.44, default chat template is no longer allowed",
                         "type": "BadRequestError", "param": None, "code": 400}}
BUSY = {"error": {"message": "The engine is currently busy and cannot accept new requests.",
                  "type": "Service Unavailable", "param": None, "code": 503}}
ENGINE = {"error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                    "type": "InternalServerError", "param": None, "code": 500}}


def transcript(name):
    with open(os.path.join(plan["transcripts"], name + ".json")) as f:
        return json.load(f)["response"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Real servers close an idle connection after five seconds.
    timeout = plan.get("keep_alive_s", 5)

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        data = b"" if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if state.get("told_to_end"):
            return self.drop()
        if self.path == "/health" and plan.get("health", True):
            return self.reply(state["health"], None)
        if self.path == "/v1/models":
            key = plan.get("key")
            if key and self.headers.get("Authorization") != "Bearer " + key:
                return self.reply(401, {"error": "Unauthorized"})
            return self.reply(200, {"object": "list", "data": [
                {"id": args.served_model_name, "max_model_len": args.max_model_len}]})
        self.reply(404, {"detail": "Not Found"})

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, chat, text, finish=None, **more):
        choice = {"index": more.pop("index", 0), "finish_reason": finish, "stop_reason": more.pop("stop_reason", None)}
        choice |= {"delta": {"content": text}} if chat else {"text": text}
        self.chunk(b"data: " + json.dumps({"id": "x", "model": args.served_model_name,
                                          "choices": [choice], **more}).encode() + b"\n\n")

    def drop(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def do_POST(self):
        with lock:
            state["in_flight"] += 1
        try:
            self.post()
        finally:
            with lock:
                state["in_flight"] -= 1

    def post(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = "messages" in body
        prompt = body["messages"][0]["content"] if chat else body.get("prompt", "")
        if self.path == "/tokenize":
            if not plan.get("tokenize", True):
                return self.reply(404, {"detail": "Not Found"})
            count = plan.get("tokens", {})
            count = next((n for text, n in count.items() if text in prompt), len(prompt) // 4)
            return self.reply(200, {"count": count, "max_model_len": args.max_model_len, "tokens": []})
        ready = self.headers.get("X-Request-Id", "").startswith("codejury-ready")
        fault = None
        with lock:
            if not ready:
                state["asked"] += 1
                with open(plan["requests"], "a") as f:
                    f.write(json.dumps({"path": self.path, "id": self.headers.get("X-Request-Id"), "body": body,
                                        "in_flight": state["in_flight"], "model": args.model}) + "\n")
                for candidate in faults:
                    if candidate["match"] in prompt and candidate["times"] > 0:
                        candidate["times"] -= 1
                        fault = candidate["do"]
                        break
        if fault in ("die", "engine_dead", "sigterm"):
            open(args.plan + ".died", "w").close()
        if plan.get("refuse_chat") and chat:
            return self.reply(400, NO_TEMPLATE)
        if len(body.get("stop", [])) > 4:
            return self.reply(400, TOO_MANY_STOPS)
        if ready:
            fault = plan.get("ready")
        time.sleep(0 if ready else plan.get("delay_s", 0))
        if fault == "error_event":
            self.stream()
            self.chunk(transcript("enginekill-inflight-stream")["sse_text"].encode())
            return self.chunk(b"")
        if fault == "abort":
            self.stream()
            self.chunk(transcript("pause-abort-stream")["sse_text"].encode())
            return self.chunk(b"")
        if fault == "silent":
            # As after SIGTERM: the socket stays open, and nothing comes.
            time.sleep(60)
            return self.drop()
        if fault == "silent_in_stream":
            self.stream()
            self.event(chat, "half of")
            time.sleep(60)
            return self.drop()
        if fault == "busy":
            return self.reply(503, BUSY)
        if fault == "engine":
            return self.reply(500, ENGINE)
        if fault == "cut":
            self.stream()
            self.event(chat, "half of")
            return self.drop()
        if fault == "engine_dead":
            # As a process whose engine was killed: it answers, but never again with a text.
            state["health"] = 503
            return self.reply(500, ENGINE)
        if fault == "sigterm":
            # As vLLM after SIGTERM: nobody listens any more, and who waits for an answer gets nothing.
            state["told_to_end"] = True
            server.shutdown()
            server.socket.close()
            time.sleep(600)
        if fault in ("two_choices", "ended_twice", "no_choice"):
            self.stream()
            if fault != "no_choice":
                self.event(chat, "one", "stop" if fault == "ended_twice" else None)
                self.event(chat, "two", "stop", index=int(fault == "two_choices"))
            self.chunk(b"data: [DONE]\n\n")
            return self.chunk(b"")
        if fault == "plain_without_finish":
            message = {"message": {"content": "half of"}} if chat else {"text": "half of"}
            return self.reply(200, {"choices": [{"index": 0, "finish_reason": None, **message}]})
        if fault == "done_without_finish":
            self.stream()
            self.event(chat, "half of")
            self.chunk(b"data: [DONE]\n\n")
            return self.chunk(b"")
        if fault == "reset":
            return self.drop()
        if fault == "garbage":
            return self.reply(200, b"{\"choices\": [")
        if fault == "too_long":
            return self.reply(400, TOO_LONG)
        if fault == "refuse":
            return self.reply(400, NO_TEMPLATE)
        if fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        text = next((answer for match, answer in plan.get("answers", {}).items() if match in prompt), "print(0)")
        limit = body["max_tokens"]
        if fault == "plain":
            message = {"message": {"content": text}} if chat else {"text": text}
            return self.reply(200, {"choices": [{"index": 0, "finish_reason": "stop", **message}],
                                    "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        self.stream()
        half = len(text) // 2
        self.event(chat, text[:half])
        self.event(chat, text[half:], "length" if text.endswith("…") else "stop")
        # Silently lowered where the context leaves less.
        tokens = min(limit, plan.get("lowered", {}).get(text, len(text) // 4 + 1))
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": tokens}
        self.chunk(b"data: " + json.dumps({"choices": [], "usage": usage,
                                          "system_fingerprint": "vllm-fake"}).encode() + b"\n\n")
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


start = plan.get("start", "")
if start:
    # The first thing that a server tells; no cause of anything.
    print("(APIServer pid=1) INFO 11-30 11:45:01 [api_utils.py:286] non-default args: {'model_tag': '/m', "
          "'max_model_len': 6144}", flush=True)
if start == "out_of_memory":
    # The engine says why; then the process that waited for it ends with a traceback of its own.
    print("INFO loading model weights", flush=True)
    prefix = "(EngineCore pid=104) ERROR 11-30 11:45:44 [core.py:1510]"
    print(prefix, "Traceback (most recent call last):")
    print(prefix, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.")
    print("(APIServer pid=1) Traceback (most recent call last):")
    for depth in range(60):
        print(f'  File "site-packages/vllm/frame_{depth}.py", line {depth}, in start\n    start()')
    print("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}", flush=True)
    sys.exit(1)
if start == "context_too_long":
    print("pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
          "  Value error, User-specified max_model_len (6144) is greater than the derived max_model_len "
          "(max_position_embeddings=2048)", flush=True)
    sys.exit(1)
if start == "never_ready":
    print("INFO still loading, for ever", flush=True)
    time.sleep(600)
if start == "once" and os.path.exists(args.plan + ".died"):
    # The first life has ended by its fault.
    faults.clear()
if plan.get("worker"):
    # An engine process of its own, as vLLM has; it ignores SIGTERM.
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("engine", os.getpid(), flush=True)
        time.sleep(600)
        os._exit(0)
time.sleep(plan.get("start_delay_s", 0))
server = Server(("127.0.0.1", args.port), Handler)
print("listening on", args.port, flush=True)
server.serve_forever()
# Told to end; it waits until its clients hang up.
time.sleep(600)
