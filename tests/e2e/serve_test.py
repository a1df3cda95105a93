"""serve: what clients of OpenAI's, TGI's and llama.cpp's servers see, and what happens to a server: keys, limits, clients that go, signals."""
import base64
import concurrent.futures
import http.client
import importlib.util
import json
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import unittest

from serve_support import GREEDY, PROMPT, Reply, Serving
from support import ROOT, read_safetensors, run, write_safetensors


class Serve(Serving):
    # --- what clients see ------------------------------------------------------------------------------------------------

    def test_completions_are_the_same_whole_and_streamed(self):
        whole = self.good("/v1/completions", GREEDY).json
        self.assertEqual((whole["object"], whole["model"], len(whole["choices"])), ("text_completion", "tiny", 1))
        self.assertEqual((whole["usage"]["completion_tokens"], whole["choices"][0]["finish_reason"]), (12, "length"))
        reply = self.good("/v1/completions", GREEDY | {"stream": True, "stream_options": {"include_usage": True}})
        self.assertTrue(reply.headers["content-type"].startswith("text/event-stream"))
        *chunks, usage, done = reply.events
        self.assertEqual(done, "[DONE]")
        self.assertEqual("".join(c["choices"][0]["text"] for c in chunks), whole["choices"][0]["text"])
        self.assertEqual([c["choices"][0]["finish_reason"] for c in chunks if c["choices"][0]["finish_reason"]], ["length"])
        self.assertEqual((usage["choices"], usage["usage"]["completion_tokens"]), ([], 12))
        self.assertTrue(all("usage" not in c for c in chunks))
        generated = json.loads(self.assert_succeeds(run("generate", self.model(), "-p", PROMPT, "--raw", "--max-new-tokens", 12, "--json")).stdout)
        self.assertEqual(generated["text"], whole["choices"][0]["text"])

    def test_prompts_may_be_texts_and_ids(self):
        ids = self.good("/tokenize", {"content": PROMPT}).json["tokens"]
        text = self.good("/v1/completions", GREEDY).json["choices"][0]["text"]
        self.assertEqual(self.good("/v1/completions", GREEDY | {"prompt": ids}).json["choices"][0]["text"], text)
        both = self.good("/v1/completions", GREEDY | {"prompt": ["a stone", PROMPT], "n": 2}).json["choices"]
        self.assertEqual([c["index"] for c in both], [0, 1, 2, 3])
        self.assertEqual([c["text"] for c in both[2:]], [text, text])
        self.assertEqual(self.good("/detokenize", {"tokens": ids}).json["content"], PROMPT)

    def test_a_stop_string_is_not_shown_whole_or_streamed(self):
        text = self.good("/v1/completions", GREEDY | {"max_tokens": 32}).json["choices"][0]["text"]
        stop = text[12:17]
        asked = GREEDY | {"max_tokens": 32, "stop": [stop, "~never~"]}
        choice = self.good("/v1/completions", asked).json["choices"][0]
        self.assertEqual((choice["text"], choice["finish_reason"]), (text[:text.index(stop)], "stop"))
        chunks = self.good("/v1/completions", asked | {"stream": True}).events[:-1]
        self.assertEqual("".join(c["choices"][0]["text"] for c in chunks), choice["text"])

    def test_seeds_repeat_and_choices_differ(self):
        drawn = {"prompt": PROMPT, "max_tokens": 16, "temperature": 1.3, "seed": 5}
        first = self.good("/v1/completions", drawn).json["choices"][0]["text"]
        self.assertEqual(self.good("/v1/completions", drawn).json["choices"][0]["text"], first)
        self.assertNotEqual(self.good("/v1/completions", drawn | {"seed": 6}).json["choices"][0]["text"], first)
        several = [c["text"] for c in self.good("/v1/completions", drawn | {"n": 3}).json["choices"]]
        self.assertEqual((several[0], len(set(several))), (first, 3))
        streamed = self.good("/v1/completions", drawn | {"n": 3, "stream": True}).events[:-1]
        self.assertEqual(["".join(c["choices"][0]["text"] for c in streamed if c["choices"][0]["index"] == i) for i in range(3)], several)
        best = self.good("/v1/completions", drawn | {"best_of": 3, "logprobs": 0}).json["choices"]
        self.assertIn(best[0]["text"], several)

    def test_probabilities_in_both_shapes(self):
        choice = self.good("/v1/completions", GREEDY | {"logprobs": 2}).json["choices"][0]
        found = choice["logprobs"]
        self.assertEqual("".join(found["tokens"]), choice["text"])
        self.assertEqual(found["text_offset"], [sum(map(len, found["tokens"][:i])) for i in range(12)])
        for token, logprob, top in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"]):
            self.assertEqual(max(top.values()), logprob)  # greedy
            self.assertIn(token, top)
        chat = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, "temperature": 0, "logprobs": True, "top_logprobs": 3}
        whole = self.good("/v1/chat/completions", chat).json["choices"][0]
        content = whole["logprobs"]["content"]
        self.assertEqual((len(content), [len(t["top_logprobs"]) for t in content]), (5, [3] * 5))
        self.assertEqual(b"".join(bytes(t["bytes"]) for t in content).decode(), whole["message"]["content"])
        streamed = self.good("/v1/chat/completions", chat | {"stream": True}).events[:-1]
        pieces = [t for c in streamed for t in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
        self.assertEqual(pieces, content)

    def test_a_prompt_is_scored(self):
        scored = self.good("/v1/completions", GREEDY | {"echo": True, "max_tokens": 0, "logprobs": 1}).json
        choice = scored["choices"][0]
        self.assertEqual((choice["text"], "".join(choice["logprobs"]["tokens"])), (PROMPT, PROMPT))
        self.assertIsNone(choice["logprobs"]["token_logprobs"][0])
        self.assertTrue(all(v < 0 for v in choice["logprobs"]["token_logprobs"][1:]))
        self.assertEqual(scored["usage"]["completion_tokens"], 0)
        more = self.good("/v1/completions", GREEDY | {"echo": True, "max_tokens": 2, "logprobs": 1}).json["choices"][0]
        self.assertEqual(more["logprobs"]["token_logprobs"][:-2], choice["logprobs"]["token_logprobs"])

    def test_chats(self):
        chat = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "hello"}]}],
                "max_completion_tokens": 8, "temperature": 0, "user": "u", "surely_unknown": 1}
        reply = self.good("/v1/chat/completions", chat)
        self.assertEqual(reply.headers["x-ignored-fields"], "surely_unknown")
        message = reply.json["choices"][0]["message"]
        self.assertEqual((message["role"], reply.json["object"]), ("assistant", "chat.completion"))
        chunks = self.good("/v1/chat/completions", chat | {"stream": True}).events
        self.assertEqual(len({c["id"] for c in chunks[:-1]}), 1)
        deltas = [c["choices"][0]["delta"] for c in chunks[:-1]]
        self.assertEqual((deltas[0]["role"], deltas[-1]), ("assistant", {}))
        self.assertEqual("".join(d.get("content", "") for d in deltas), message["content"])
        # A last message of the assistant's is gone on with.
        text = "system: be brief\nuser: hello\nassistant: so"
        tokens = self.good("/tokenize", {"prompt": text.replace("system", "<s>system").replace("user", "<s>user").replace("assistant", "<s>assistant")}).json
        messages = chat["messages"] + [{"role": "assistant", "content": "so"}]
        self.assertEqual(self.good("/tokenize", {"messages": messages}).json["tokens"], tokens["tokens"])
        response = self.good("/v1/responses", {"input": "hello", "instructions": "be brief", "max_output_tokens": 8, "temperature": 0}).json
        self.assertEqual(response["output"][0]["content"][0]["text"], message["content"])
        self.assertEqual((response["status"], response["incomplete_details"]), ("incomplete", {"reason": "max_output_tokens"}))
        events = self.good("/v1/responses", {"input": "hello", "max_output_tokens": 8, "temperature": 0, "stream": True}).events
        self.assertEqual([events[0]["type"], events[-1]["type"]], ["response.created", "response.incomplete"])
        self.assertEqual([e["sequence_number"] for e in events], list(range(len(events))))
        self.assertEqual("".join(e["delta"] for e in events if e["type"] == "response.output_text.delta"),
                         events[-1]["response"]["output"][0]["content"][0]["text"])

    def test_answers_have_the_form_that_is_asked_for(self):
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
                  "required": ["name", "age"], "additionalProperties": False}
        chat = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 200, "temperature": 1, "seed": 3}
        formed = chat | {"response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}}
        value = json.loads(self.good("/v1/chat/completions", formed).json["choices"][0]["message"]["content"])
        self.assertEqual(set(value), {"name", "age"})
        self.assertEqual(set(json.loads(self.good("/generate", {"inputs": "a", "parameters": {"max_new_tokens": 200, "grammar": {"type": "json", "value": schema}}}).json["generated_text"])), {"name", "age"})
        chosen = self.good("/v1/completions", GREEDY | {"guided_choice": ["yes", "no."]}).json["choices"][0]
        self.assertIn(chosen["text"], ("yes", "no."))
        self.assertEqual(chosen["finish_reason"], "stop")
        tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in ("one", "two")]
        named = chat | {"tools": tools, "tool_choice": {"type": "function", "function": {"name": "two"}}}
        choice = self.good("/v1/chat/completions", named).json["choices"][0]
        call = choice["message"]["tool_calls"][0]
        self.assertEqual((call["function"]["name"], choice["finish_reason"], choice["message"]["content"]), ("two", "tool_calls", None))
        self.assertEqual(set(json.loads(call["function"]["arguments"])), {"name", "age"})
        deltas = [c["choices"][0]["delta"] for c in self.good("/v1/chat/completions", named | {"stream": True}).events[:-1]]
        parts = [d["tool_calls"][0] for d in deltas if "tool_calls" in d]
        self.assertEqual((parts[0]["function"]["name"], {p["index"] for p in parts}), ("two", {0}))
        self.assertEqual("".join(p["function"]["arguments"] for p in parts), call["function"]["arguments"])
        required = chat | {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
        call, = self.good("/v1/chat/completions", required).json["choices"][0]["message"]["tool_calls"]
        self.assertIn(call["function"]["name"], ("one", "two"))
        self.assertEqual(set(json.loads(call["function"]["arguments"])), {"name", "age"})
        self.refused("/v1/chat/completions", chat | {"response_format": {"type": "xml"}}, 400, "response_format.type")
        self.refused("/v1/chat/completions", chat | {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}}, 400, "nonsense")
        self.refused("/v1/chat/completions", chat | {"tools": tools, "tool_choice": {"type": "function", "function": {"name": "three"}}}, 400, "three")
        self.refused("/v1/chat/completions", chat | {"tools": [{"type": "function"}]}, 400, "tools")

    def test_as_text_generation_inference(self):
        asked = {"inputs": PROMPT, "parameters": {"max_new_tokens": 8, "details": True, "decoder_input_details": True, "top_n_tokens": 2}}
        whole = self.good("/generate", asked).json
        details = whole["details"]
        self.assertEqual("".join(t["text"] for t in details["tokens"]), whole["generated_text"])
        self.assertEqual((details["finish_reason"], details["generated_tokens"], details["seed"]), ("length", 8, None))
        self.assertEqual((details["prefill"][0]["logprob"], "".join(t["text"] for t in details["prefill"])), (None, PROMPT))
        self.assertEqual([len(t) for t in details["top_tokens"]], [2] * 8)
        self.assertEqual(self.good("/", {"inputs": PROMPT, "parameters": {"max_new_tokens": 8}}).json, [{"generated_text": whole["generated_text"]}])
        events = self.good("/generate_stream", {"inputs": PROMPT, "parameters": {"max_new_tokens": 8}}).events
        self.assertEqual([e["index"] for e in events], list(range(1, 9)))
        self.assertEqual([e["generated_text"] for e in events], [None] * 7 + [whole["generated_text"]])
        stop = whole["generated_text"][2:5]
        stopped = self.good("/generate", {"inputs": PROMPT, "parameters": {"max_new_tokens": 8, "stop": [stop], "details": True}}).json
        self.assertTrue(stopped["generated_text"].endswith(stop))
        self.assertEqual(stopped["details"]["finish_reason"], "stop_sequence")
        spans = self.good("/tokenize", {"inputs": PROMPT}).json
        self.assertEqual("".join(PROMPT[t["start"]:t["stop"]] for t in spans), PROMPT)
        for name, value in (("temperature", 0), ("top_p", 1.5), ("max_new_tokens", 0), ("best_of", 2), ("watermark", True), ("stop", ["a"] * 40)):
            self.assertEqual(self.refused("/generate", {"inputs": "a", "parameters": {name: value}}, 422, name).json["error_type"], "validation")
        self.refused("/generate", {"inputs": ""}, 422, "inputs")
        self.assertEqual(self.plain.get("/info").json["max_total_tokens"], 8192)

    def test_embeddings_are_the_models_outputs(self):
        """By what eval writes of the same tokens: the output of the last one, or the mean, made 1 long."""
        ids = self.good("/tokenize", {"content": PROMPT}).json["tokens"]
        tokens, hidden = self.folder / "ids.safetensors", self.folder / "hidden.safetensors"
        write_safetensors(tokens, {"input_ids": ("I64", [1, len(ids)], struct.pack(f"<{len(ids)}q", *ids))})
        self.assert_succeeds(run("eval", self.model(), "--token-ids", tokens, "--save-hidden", hidden))
        _, shape, data = read_safetensors(hidden)["last_hidden_state"]
        width = shape[2]
        rows = [struct.unpack_from(f"<{width}f", data, 4 * width * i) for i in range(shape[1])]

        def unit(vector):
            length = sum(v * v for v in vector) ** 0.5
            return [v / length for v in vector]
        mean = self.server("--pooling", "mean")
        for server, expected in ((self.plain, unit(rows[-1])), (mean, unit([sum(column) / len(rows) for column in zip(*rows)]))):
            server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 1})  # its beginning is in the cache
            reply = server.post("/v1/embeddings", {"input": [PROMPT, PROMPT]})
            self.assertEqual(reply.status, 200, reply.body)
            first, second = (entry["embedding"] for entry in reply.json["data"])
            self.assertEqual(first, second)
            # Float32 products in another order: a few of its last places, of numbers below 1.
            self.assertLess(max(abs(a - b) for a, b in zip(first, expected)), 1e-5)
            self.assertEqual(reply.json["usage"], {"prompt_tokens": 2 * len(ids), "total_tokens": 2 * len(ids)})
            packed = server.post("/v1/embeddings", {"input": ids, "encoding_format": "base64"}).json["data"][0]["embedding"]
            self.assertEqual(struct.unpack(f"<{width}f", base64.b64decode(packed)), struct.unpack(f"<{width}f", struct.pack(f"<{width}f", *first)))
            short = server.post("/v1/embeddings", {"input": PROMPT, "dimensions": 4}).json["data"][0]["embedding"]
            self.assertLess(max(abs(a - b) for a, b in zip(short, unit(first[:4]))), 1e-6)
        self.refused("/v1/embeddings", {"input": []}, 400, "tokens")
        self.refused("/v1/embeddings", {"input": "a", "dimensions": 10**6}, 400, "dimensions")
        self.refused("/v1/embeddings", {"input": "a", "encoding_format": "x"}, 400, "encoding_format")

    def test_as_llama_cpp(self):
        asked = {"prompt": PROMPT, "n_predict": 6, "temperature": 0}
        whole = self.good("/completion", asked).json
        self.assertEqual((whole["stop"], whole["stop_type"], whole["tokens_predicted"]), (True, "limit", 6))
        events = self.good("/completion", asked | {"stream": True}).events
        self.assertEqual("".join(e["content"] for e in events), whole["content"])
        self.assertEqual(self.plain.get("/props").json["default_generation_settings"], {"n_ctx": 8192})

    def test_routes_and_models(self):
        self.assertEqual([m["id"] for m in self.plain.get("/v1/models").json["data"]], ["tiny"])
        self.assertEqual(self.plain.get("/v1/models/tiny").json["max_model_len"], 8192)
        self.assertEqual(self.plain.get("/v1/models/other").status, 404)
        self.assertEqual(self.plain.get("/no/such/route").status, 404)
        wrong = self.plain.get("/v1/completions")
        self.assertEqual((wrong.status, wrong.headers["allow"]), (405, "POST"))
        for path in ("/health", "/v1/health", "/ready", "/ping", "/version", "/"):
            self.assertEqual(self.plain.get(path).status, 200, path)
        self.assertIn("<!doctype html>", self.plain.get("/").body.decode())
        head = self.plain.ask("HEAD", "/health")
        self.assertEqual((head.status, head.body), (200, b""))

    def test_what_is_wrong_is_named(self):
        for path, body, word in (("/v1/completions", '{"prompt":', "body"), ("/v1/completions", "[]", "object"), ("/v1/completions", {}, "prompt"),
                                 ("/v1/completions", b'{"prompt": "\xff"}', "UTF-8"), ("/v1/completions", "[" * 100000, "deep"),
                                 ("/v1/chat/completions", {}, "messages"), ("/v1/chat/completions", {"messages": []}, "messages"),
                                 ("/v1/chat/completions", {"messages": [{"role": "x", "content": "a"}]}, "messages[0].role"),
                                 ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
                                 ("/v1/responses", {"input": "a", "previous_response_id": "x"}, "previous_response_id"),
                                 ("/detokenize", {"tokens": ["a"]}, "tokens")):
            self.refused(path, body, 400, word)
        for name, value in (("temperature", -1), ("temperature", 99), ("temperature", "x"), ("top_p", 0), ("max_tokens", -5), ("max_tokens", 1.5), ("n", 0),
                            ("n", 10**6), ("presence_penalty", 9), ("logprobs", 1000), ("logprobs", True), ("stop", [""]), ("stop", ["a"] * 40), ("suffix", "a"),
                            ("logit_bias", {"x": 1}), ("logit_bias", {"1": 1000}), ("logit_bias", {"99999": 1}), ("best_of", 1000), ("seed", "x"),
                            ("prompt", []), ("prompt", ""), ("prompt", [99999]), ("prompt", [-1]), ("prompt", {})):
            error = self.refused("/v1/completions", GREEDY | {name: value}, 400, name).json["error"]
            self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertEqual(self.refused("/v1/completions", GREEDY | {"model": "other"}, 404, "other").json["error"]["code"], "model_not_found")
        long = self.refused("/v1/completions", GREEDY | {"prompt": "a b " * 9000}, 400, "context").json["error"]
        self.assertEqual(long["code"], "context_length_exceeded")
        self.refused("/generate", {"inputs": "a b " * 9000}, 422, "context")

    def test_malformed_http_ends_its_connection_alone(self):
        for data in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n",
                     b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
            answer = self.plain.raw(data)
            self.assertTrue(answer == b"" or re.match(rb"HTTP/1.1 4\d\d ", answer), answer[:100])
        large = b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 200_000 + b"\r\n\r\n"
        self.assertRegex(self.plain.raw(large), rb"^(HTTP/1.1 431 |$)")
        self.assertEqual(self.plain.get("/health").status, 200)

    def test_metrics_are_prometheus_text(self):
        self.good("/v1/completions", GREEDY)
        reply = self.plain.get("/metrics")
        self.assertTrue(reply.headers["content-type"].startswith("text/plain; version=0.0.4"))
        for line in reply.body.decode().splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) \S+ .*|[a-zA-Z_:][\w:]*(\{.*\})? [-+0-9.e]+)$")
        self.assertGreaterEqual(self.plain.metric("swage_generation_tokens_total"), 12)
        self.assertGreaterEqual(self.plain.metric("swage_time_to_first_token_seconds_count"), 1)

    # --- what happens to a server ----------------------------------------------------------------------------------------

    def test_keys_are_asked_for_and_read_again(self):
        keys = self.folder / "keys.txt"
        keys.write_text("# ours\none\n")
        server = self.server("--api-key-file", keys, SWAGE_API_KEY="other")
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "one"}):
            error = self.refused("/v1/completions", GREEDY, 401, "key", server=server, **headers).json["error"]
            self.assertEqual(error["type"], "authentication_error")
        self.assertEqual(self.refused("/", {"inputs": "a"}, 401, "key", server=server).json["error_type"], "validation")
        for key in ("one", "other"):
            self.assertEqual(server.post("/v1/completions", GREEDY, Authorization=f"Bearer {key}").status, 200)
        self.assertEqual([server.get(path).status for path in ("/health", "/ready", "/", "/metrics")], [200, 200, 200, 401])
        keys.write_text("two\n")
        server.process.send_signal(signal.SIGHUP)
        self.wait_until(lambda: server.get("/v1/models", Authorization="Bearer two").status == 200, "the new key")
        self.assertEqual(server.get("/v1/models", Authorization="Bearer one").status, 401)
        keys.write_text("# none\n")
        server.process.send_signal(signal.SIGHUP)
        self.wait_until(lambda: any("stay" in line for line in server.said), "a file without keys")
        self.assertEqual(server.get("/v1/models", Authorization="Bearer two").status, 200)

    def test_too_much_is_refused_at_once(self):
        server = self.server("--max-body", 1, "--max-concurrent-requests", 4, "--max-sequences", 2)
        self.refused("/v1/completions", b'{"prompt":"' + b"a" * (1 << 20) + b'"}', 413, "larger", server=server)
        body = GREEDY | {"max_tokens": 400, "ignore_eos": True}
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            replies = list(pool.map(lambda _: server.post("/v1/completions", body), range(12)))
        statuses = [r.status for r in replies]
        self.assertEqual(set(statuses), {200, 429}, statuses)
        self.assertGreaterEqual(statuses.count(200), 4)
        for reply in replies:
            if reply.status == 429:
                self.assertGreaterEqual(int(reply.headers["retry-after"]), 1)
                self.assertEqual(reply.json["error"]["type"], "overloaded_error")
            else:
                self.assertEqual(reply.json["usage"]["completion_tokens"], 400)

    def test_clients_that_go_leave_nothing_behind(self):
        server = self.server()
        free = server.metric("swage_cache_usage_ratio")
        long = {"prompt": PROMPT, "max_tokens": 8000, "ignore_eos": True}
        for body in (long | {"stream": True}, long | {"stream": True, "n": 4}):
            connection, response = server.begin("/v1/completions", body)
            self.wait_until(lambda: server.metric("swage_requests_running") >= 1, "begun")
            connection.sock.shutdown(socket.SHUT_RDWR) if connection.sock else None
            response.close()
            connection.close()
            self.wait_until(lambda: server.metric("swage_requests_running") == 0, "the stream's end", 2)
        connection = server.connect()
        connection.request("POST", "/v1/completions", json.dumps(long))  # not streamed
        self.wait_until(lambda: server.metric("swage_requests_running") == 1, "begun")
        connection.close()
        self.wait_until(lambda: server.metric("swage_requests_running") == 0, "the answer's end", 2)
        self.assertEqual(server.metric("swage_requests_waiting"), 0)
        self.assertEqual(server.metric("swage_cache_usage_ratio"), free)

    def test_a_request_may_take_so_long(self):
        server = self.server("--request-timeout", 0.3)
        long = {"prompt": PROMPT, "max_tokens": 8000, "ignore_eos": True}
        self.refused("/v1/completions", long, 504, "longer", server=server)
        events = server.post("/v1/completions", long | {"stream": True}).events
        self.assertEqual(events[-1]["error"]["code"], "timeout")
        self.assertEqual(server.post("/v1/completions", GREEDY).status, 200)

    def test_sigterm_lets_answers_finish(self):
        server = self.server()
        body = GREEDY | {"max_tokens": 600, "ignore_eos": True, "stream": True}
        expected = server.post("/v1/completions", body).events
        connection, response = server.begin("/v1/completions", body)
        idle = server.connect()
        idle.request("GET", "/health")
        self.assertEqual(idle.getresponse().read(), b"")
        server.process.send_signal(signal.SIGTERM)
        self.wait_until(lambda: any("shutting down" in line for line in server.said), "the signal")
        idle.request("POST", "/v1/completions", json.dumps(GREEDY))
        late = Reply(idle.getresponse())
        self.assertEqual((late.status, late.headers["connection"]), (503, "close"))
        with self.assertRaises(OSError):
            server.get("/health")
        rest = response.read().decode()
        self.assertTrue(rest.endswith("data: [DONE]\n\n"))
        self.assertGreaterEqual(rest.count("data:"), len(expected) - 1)
        connection.close(), idle.close()
        self.assertEqual(server.end(), 0)

    def test_sigterm_waits_so_long(self):
        server = self.server("--shutdown-timeout", 0.2)
        connection, response = server.begin("/v1/completions", {"prompt": PROMPT, "max_tokens": 8000, "ignore_eos": True, "stream": True})
        server.process.send_signal(signal.SIGTERM)
        rest = response.read().decode()
        self.assertIn("shutting down", rest)
        connection.close()
        self.assertEqual(server.end(), 1)

    def test_a_unix_socket(self):
        path = self.folder / "swage.sock"
        server = self.server("--unix-socket", path)
        self.assertEqual(server.address, str(path))
        self.assertEqual(server.post("/v1/completions", GREEDY).status, 200)
        server.process.kill()  # leaves its socket behind, which the next one takes over
        server.process.wait()
        again = self.server("--unix-socket", path)
        self.assertEqual(again.get("/health").status, 200)
        self.assertEqual(again.end(), 0)
        self.assertFalse(path.exists())

    def test_the_access_log_has_no_prompts_unless_asked(self):
        for arguments in ((), ("--log-prompts",)):
            log = self.folder / f"access{len(arguments)}.jsonl"
            server = self.server("--access-log", log, *arguments)
            server.post("/v1/completions", GREEDY, X_Request_Id="abc", traceparent="00-1-2-03")
            server.get("/nowhere")
            server.end()
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            self.assertEqual([(line["method"], line["path"], line["status"]) for line in lines], [("POST", "/v1/completions", 200), ("GET", "/nowhere", 404)])
            self.assertEqual((lines[0]["completion_tokens"], lines[0]["x_request_id"], lines[0]["traceparent"]), (12, "abc", "00-1-2-03"))
            self.assertEqual("river" in log.read_text(), bool(arguments))

    def test_pages_of_other_origins(self):
        server = self.server("--cors-origin", "http://a.b")
        allowed = server.ask("OPTIONS", "/v1/completions", Origin="http://a.b", Access_Control_Request_Method="POST")
        self.assertEqual((allowed.status, allowed.headers["access-control-allow-origin"]), (204, "http://a.b"))
        self.assertNotIn("access-control-allow-origin", server.get("/v1/models", Origin="http://c.d").headers)

    def test_tls(self):
        certificate, key = self.folder / "cert.pem", self.folder / "key.pem"
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate], capture_output=True)
        if made.returncode != 0:
            self.skipTest("no openssl that makes certificates")
        server = self.server("--tls-cert", certificate, "--tls-key", key)
        host, port = server.address.removeprefix("https://").rsplit(":", 1)
        context = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection(host, int(port), timeout=60, context=context)
        connection.request("POST", "/v1/completions", json.dumps(GREEDY))
        self.assertEqual(Reply(connection.getresponse()).json["usage"]["completion_tokens"], 12)
        connection.close()
        self.assert_refused(run("serve", self.model(), "--port", "0", "--tls-cert", key, "--tls-key", key), 2, "key.pem")

    def test_examples_of_the_docs(self):
        text = (ROOT / "docs" / "serve.md").read_text()
        blocks = re.findall(r"```(sh|python)\n(.*?)```", text, re.S)
        self.assertGreaterEqual(len(blocks), 4)
        for language, block in blocks:
            block = block.replace("http://127.0.0.1:8000", "http://" + self.plain.address)
            if language == "python":
                package = re.match(r"(?:import|from) (\w+)", block).group(1)
                if importlib.util.find_spec(package) is None:
                    continue
                done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=120)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertTrue(done.stdout.strip())
                continue
            for line in block.splitlines():
                done = subprocess.run(line.replace("curl ", "curl -sSf ", 1), shell=True, capture_output=True, text=True, timeout=120)
                self.assertEqual(done.returncode, 0, line + done.stderr)
                self.assertTrue(done.stdout)

    def test_options_are_checked(self):
        self.assert_refused(run("serve", self.model(), "--port", "99999"), 2, "--port")
        self.assert_refused(run("serve", self.model(), "--port", "0", "--tls-cert", "a.pem"), 2, "--tls-key")
        self.assert_refused(run("serve", self.model(), "--port", "0", "--host", "256.1.1.1"), 2, "256.1.1.1")
        self.assert_refused(run("serve", self.folder / "absent", "--port", "0"), 1, "absent")
        self.assert_refused(run("serve", self.model(), "--port", "0", "--api-key-file", self.folder / "absent"), 1, "absent")


if __name__ == "__main__":
    unittest.main()
