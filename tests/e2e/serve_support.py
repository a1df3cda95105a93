"""A running `swage serve`, a tiny model for it, and requests to it."""
import contextlib
import http.client
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from support import PROGRAM, EndToEnd, edit_json, environment, make_llama

TEMPLATE = ("{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}")
PROMPT = "the river runs under an old stone"
GREEDY = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0}


class Reply:
    def __init__(self, response):
        self.status, self.headers = response.status, {k.lower(): v for k, v in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        """The data of a stream, [DONE] as it stands."""
        data = [line[5:].strip() for line in self.body.decode().split("\n") if line.startswith("data:")]
        return [d if d == "[DONE]" else json.loads(d) for d in data]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class Server:
    """A running `swage serve`."""

    def __init__(self, model, *arguments, **variables):
        command = [PROGRAM, "serve", str(model), "--port", "0", "--threads", "1", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment() | variables)
        self.said = []
        self.address = self.wait_for("listening at ").removeprefix("http://")
        self.wait_for("ready: ")
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def wait_for(self, start):
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError(f"the server ended: {self.said}")

    def connect(self):
        if self.address.startswith("/"):
            return UnixConnection(self.address)
        host, port = self.address.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=60)

    def ask(self, method, path, body=None, **headers):
        with contextlib.closing(self.connect()) as connection:
            data = body if isinstance(body, (str, bytes)) or body is None else json.dumps(body)
            connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
            return Reply(connection.getresponse())

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, **headers)

    def begin(self, path, body):
        """A request whose answer is not read: (connection, response) after the first line of it."""
        connection = self.connect()
        connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        response.readline()
        return connection, response

    def raw(self, data):
        host, port = self.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=20) as sock:
            sock.sendall(data)
            out = b""
            with contextlib.suppress(ConnectionResetError):
                while part := sock.recv(65536):
                    out += part
            return out

    def metric(self, name):
        return float(re.search(rf"^{name} (\S+)$", self.get("/metrics").body.decode(), re.M).group(1))

    def end(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
        self.reader.join(5)
        self.process.stderr.close()
        return code


class Serving(EndToEnd):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        Serving.shared = None
        cls.models = pathlib.Path(tempfile.mkdtemp(prefix="swage-e2e-"))

    @classmethod
    def tearDownClass(cls):
        if cls.shared:
            cls.shared.end()
        shutil.rmtree(cls.models, ignore_errors=True)
        super().tearDownClass()

    def model(self):
        """Answers of it may be long: 8192 positions, and an end token that hardly comes."""
        folder = self.models / "tiny"
        if not folder.exists():
            make_llama(folder)
            edit_json(folder / "config.json", max_position_embeddings=8192)
            edit_json(folder / "tokenizer_config.json", chat_template=TEMPLATE, model_max_length=8192)
        return folder

    def server(self, *arguments, **variables):
        server = Server(self.model(), *arguments, **variables)
        self.addCleanup(server.end)
        return server

    @property
    def plain(self):
        """One server for all tests that only ask."""
        if Serving.shared is None:
            Serving.shared = Server(self.model())
        return Serving.shared

    def good(self, path, body, **headers):
        reply = self.plain.post(path, body, **headers)
        self.assertEqual(reply.status, 200, reply.body[:300])
        return reply

    def refused(self, path, body, status, *mentions, server=None, **headers):
        reply = (server or self.plain).post(path, body, **headers)
        self.assertEqual(reply.status, status, reply.body[:300])
        error = reply.json["error"]
        message = error if isinstance(error, str) else error["message"]
        for word in mentions:
            self.assertIn(word, message)
        return reply

    def wait_until(self, holds, what, seconds=10):
        deadline = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.02)
