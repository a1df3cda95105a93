"""A hub on two ports of this machine, as far as swage asks one: models and data sets with branches, small files by a redirect on the same
host, large ones (LFS) by a redirect to another host that must never see the token; uploads; and faults to order. Standard library only.

    with HubServer() as hub:
        hub.add("org/model", {"config.json": b"{}", "model.safetensors": weights})
        ... HF_ENDPOINT=hub.endpoint ...
"""
import base64
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse

LARGE = (".safetensors", ".parquet", ".gguf", ".bin", "tokenizer.model")  # stored as LFS files, as .gitattributes usually has it


DIGESTS = {}  # of the files that are served, which are asked for again and again


def git_digest(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data):
    """By the object, which lives as long as its entry here."""
    if id(data) not in DIGESTS:
        DIGESTS[id(data)] = (data, hashlib.sha256(data).hexdigest())
    return DIGESTS[id(data)][1]


class Repository:
    def __init__(self, private=False, gated=False):
        self.private, self.gated = private, gated
        self.branches, self.heads = {}, {}  # name -> {file: bytes}, commit
        self.commits = {}   # id -> {file: bytes}
        self.messages = []

    def put(self, branch, files):
        self.branches[branch] = dict(files)
        parts = sorted((name, sha256(data)) for name, data in files.items())
        self.heads[branch] = hashlib.sha1(json.dumps(parts).encode()).hexdigest()
        self.commits[self.heads[branch]] = dict(files)
        return self.heads[branch]

    def commit_of(self, branch):
        return self.heads[branch]

    def at(self, revision):
        """(commit, files) or None"""
        if revision in self.branches:
            return self.commit_of(revision), self.branches[revision]
        return (revision, self.commits[revision]) if revision in self.commits else None


class Fault:
    """What happens instead of, or to, the next `times` answers whose path matches."""

    def __init__(self, pattern, times=1, status=None, headers=None, cut=None, spoil=False, stall=0, method=None, body=None):
        self.pattern, self.times, self.status, self.headers = re.compile(pattern), times, status, headers or {}
        self.cut, self.spoil, self.stall, self.method, self.body = cut, spoil, stall, method, body


class HubServer:
    def __init__(self, tokens=("hf_goodtoken",), part_bytes=None):
        self.repositories, self.faults, self.requests, self.leaks = {}, [], [], []
        self.tokens, self.part_bytes = set(tokens), part_bytes  # part_bytes: uploads beyond it go in parts
        self.blobs, self.parts, self.uploads, self.lock = {}, {}, [], threading.RLock()
        self.ranges = True
        self.front = self._serve(Front, "127.0.0.1")
        self.store = self._serve(Store, "127.0.0.2")  # another host, not another port alone
        self.endpoint = f"http://127.0.0.1:{self.front.server_port}"
        self.elsewhere = f"http://127.0.0.2:{self.store.server_port}"

    def _serve(self, handler, address):
        server = http.server.ThreadingHTTPServer((address, 0), handler)
        server.daemon_threads, server.hub = True, self
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for server in (self.front, self.store):
            server.shutdown()
            server.server_close()

    def add(self, name, files, kind="models", branch="main", **how):
        """Returns the commit."""
        files = {file: data.encode() if isinstance(data, str) else data for file, data in files.items()}
        with self.lock:
            repository = self.repositories.setdefault((kind, name), Repository(**how))
            return repository.put(branch, files)

    def add_folder(self, name, folder, **how):
        return self.add(name, {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}, **how)

    def fault(self, pattern, **how):
        with self.lock:
            self.faults.append(Fault(pattern, **how))

    def asked(self, method=None, pattern="", host=None):
        """Paths of the requests so far that match."""
        with self.lock:
            return [path for m, path, _, where in self.requests
                    if (method is None or m == method) and re.search(pattern, path) and (host is None or where == host)]

    def headers_of(self, pattern):
        with self.lock:
            return [headers for _, path, headers, _ in self.requests if re.search(pattern, path)]

    def sent_bytes(self, pattern):
        with self.lock:
            return sum(count for path, count in self.uploads if re.search(pattern, path))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *_):
        pass

    @property
    def hub(self):
        return self.server.hub

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            pass

    def begin(self):
        """Takes the request down; True if a fault has answered it."""
        self.spoil, self.cut = False, None
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        hub = self.hub
        with hub.lock:
            hub.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self.host))
            fault = next((f for f in hub.faults if f.times > 0 and f.pattern.search(self.path) and f.method in (None, self.command)), None)
            if fault:
                fault.times -= 1
        if fault is None:
            return False
        time.sleep(fault.stall)
        self.spoil, self.cut = fault.spoil, fault.cut
        if fault.status is None:
            return False
        self.answer(fault.status, b"" if fault.body is None else fault.body, fault.headers)
        return True

    def answer(self, status, data=b"", headers=None, kind="application/octet-stream"):
        if isinstance(data, (dict, list)):
            data, kind = json.dumps(data).encode(), "application/json"
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut is not None:  # the connection breaks off behind so many bytes
            self.wfile.write(data[:self.cut])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(data)

    def send_file(self, data, headers):
        """With ranges, unless the hub was told to do without."""
        if self.spoil and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.hub.ranges else None
        if not match:
            return self.answer(200, data, headers)
        first, last = int(match[1]), int(match[2] or len(data) - 1)
        if first >= len(data):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        last = min(last, len(data) - 1)
        return self.answer(206, data[first:last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def do_GET(self):
        if not self.begin():
            self.route(urllib.parse.unquote(self.path.split("?")[0]), dict(urllib.parse.parse_qsl(self.path.partition("?")[2])))

    do_HEAD = do_POST = do_PUT = do_GET


class Store(Handler):
    """The other host: large files, by their digest; and where they are uploaded to."""
    host = "store"

    def route(self, path, query):
        hub = self.hub
        if self.headers.get("Authorization"):
            hub.leaks.append(self.path)
            return self.answer(400, b"only one auth mechanism allowed")
        if query.get("signature") != "s3cr3t":
            return self.answer(403, b"not signed")
        digest = path.rsplit("/", 1)[-1]
        if self.command == "PUT":
            return self.take(digest, query)
        if path.startswith("/complete/"):
            return self.complete(digest)
        data = hub.blobs.get(digest)
        return self.answer(404) if data is None else self.send_file(data, {"ETag": '"another"', "Accept-Ranges": "bytes"})

    def take(self, digest, query):
        with self.hub.lock:
            self.hub.uploads.append((self.path, len(self.body)))
            if "part" in query:
                self.hub.parts[digest, int(query["part"])] = self.body
            else:
                self.hub.blobs[digest] = self.body
        etag = hashlib.md5(self.body).hexdigest()
        self.answer(200, b"", {"ETag": f'"{etag}"'})

    def complete(self, digest):
        parts = json.loads(self.body)["parts"]
        data = b"".join(self.hub.parts[digest, part["partNumber"]] for part in parts)
        for part in parts:
            assert part["etag"].strip('"') == hashlib.md5(self.hub.parts[digest, part["partNumber"]]).hexdigest()
        self.hub.blobs[digest] = data
        self.answer(200, b"")


class Front(Handler):
    """The hub itself."""
    host = "front"

    def route(self, path, query):
        self.query = query
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.known = token in self.hub.tokens
        if token and not self.known:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        for pattern, work in ((r"/api/repos/create", self.create), (r"/api/resolve-cache/(models|datasets)/(.+?)/([0-9a-f]{40})/(.+)", self.cached),
                              (r"/api/(models|datasets)/(.+?)/(revision|tree|preupload|commit|branch)/(.+)", self.api),
                              (r"/api/(models|datasets)/([^/]+/[^/]+|[^/]+)", self.plain_api), (r"/(.+)\.git/info/lfs/(objects/batch|verify)", self.lfs),
                              (r"/(datasets/)?(.+?)/resolve/(.+)", self.resolve)):
            match = re.fullmatch(pattern, path)
            if match:
                return work(*match.groups())
        return self.refuse(404, "", "no such page")

    def refuse(self, status, code, message):
        self.answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message} if code else {"X-Error-Message": message})

    def repository(self, kind, name):
        """The repository, or None after a refusal."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self.known):
            self.refuse(404 if self.known else 401, "RepoNotFound", "Repository not found")
            return None
        return repository

    def revision(self, repository, revision):
        found = repository.at(revision)
        if found is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    # --- reading ---

    def plain_api(self, kind, name):
        self.api(kind, name, "revision", "main")

    def api(self, kind, name, verb, rest):
        repository = self.repository(kind, name)
        if repository is None:
            return None
        if verb in ("preupload", "commit", "branch"):
            return getattr(self, verb)(repository, kind, name, rest)
        found = self.revision(repository, rest)
        if found is None:
            return None
        commit, files = found
        entries = []
        for file, data in files.items():
            large = file.endswith(LARGE)
            entry = {"size": len(data), "blobId": git_digest(b"pointer" if large else data)}
            if large:
                entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
            entries.append((file, entry))
        if verb == "tree":
            return self.answer(200, [{"type": "file", "path": file, "oid": e["blobId"], "size": e["size"],
                                      **({"lfs": {**e["lfs"], "oid": e["lfs"]["sha256"]}} if "lfs" in e else {})} for file, e in entries])
        details = entries if self.query.get("blobs") else [(file, {}) for file, _ in entries]
        return self.answer(200, {"id": name, "sha": commit, "private": repository.private, "gated": repository.gated,
                                 "siblings": [{"rfilename": file, **e} for file, e in details]})

    def resolve(self, dataset, name, rest):
        kind = "datasets" if dataset else "models"
        repository = self.repository(kind, name)
        if repository is None:
            return None
        if repository.gated and not self.known:
            return self.refuse(401, "GatedRepo", f"Access to model {name} is restricted. You must have access to it and be authenticated to access it.")
        if repository.gated and repository.gated != "granted":
            return self.refuse(403, "GatedRepo", f"Access to model {name} is restricted and you are not in the authorized list.")
        for revision in sorted(list(repository.branches) + list(repository.commits), key=len, reverse=True):
            if rest.startswith(revision + "/"):
                break
        else:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        commit, files = repository.at(revision)
        file = rest[len(revision) + 1:]
        data = files.get(file)
        headers = {"X-Repo-Commit": commit}
        if data is None:
            return self.answer(404, b"Entry not found", {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        if not file.endswith(LARGE):
            where = f"/api/resolve-cache/{kind}/{name}/{commit}/{urllib.parse.quote(file)}"
            return self.answer(307, b"moved", {**headers, "Location": where})
        digest = sha256(data)
        self.hub.blobs[digest] = data
        return self.answer(302, b"found", {**headers, "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "ETag": '"pointer"',
                                           "Location": f"{self.hub.elsewhere}/blobs/{digest}?signature=s3cr3t"})

    def cached(self, kind, name, commit, file):
        repository = self.repository(kind, name)
        if repository:
            data = repository.commits[commit][file]
            self.send_file(data, {"X-Repo-Commit": commit, "ETag": f'"{git_digest(data)}"'})

    # --- writing ---

    def create(self):
        if not self.known:
            return self.refuse(401, "", "Invalid username or password.")
        asked = json.loads(self.body)
        kind = asked.get("type", "model") + "s"
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if (kind, name) in self.hub.repositories:
            return self.refuse(409, "", "You already created this model repo")
        if name.startswith("forbidden/"):
            return self.refuse(403, "", "You don't have the rights to create a model under the namespace \"forbidden\"")
        self.hub.add(name, {".gitattributes": b""}, kind=kind, private=bool(asked.get("private")) or asked.get("visibility") == "private")
        return self.answer(200, {"url": f"{self.hub.endpoint}/{name}", "name": name})

    def branch(self, repository, kind, name, branch):
        if branch in repository.branches:
            return self.refuse(409, "", "Reference already exists")
        repository.put(branch, repository.branches["main"])
        return self.answer(200, {})

    def preupload(self, repository, kind, name, revision):
        if not self.known:
            return self.refuse(401, "RepoNotFound", "Repository not found")
        if self.revision(repository, revision) is None:
            return None
        files = json.loads(self.body)["files"]
        for file in files:
            assert len(base64.b64decode(file["sample"])) <= 512, file
        return self.answer(200, {"files": [{"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) or f["size"] > 10 << 20 else "regular",
                                            "shouldIgnore": f["path"] == ".gitignore"} for f in files]})

    def lfs(self, name, what):
        if not self.known:
            return self.refuse(401, "", "Invalid username or password.")
        asked = json.loads(self.body)
        if what == "verify":
            data = self.hub.blobs.get(asked["oid"], b"")
            good = hashlib.sha256(data).hexdigest() == asked["oid"] and len(data) == asked["size"]
            return self.answer(200 if good else 422, b"")
        objects = []
        for item in asked["objects"]:
            answer = dict(item)
            if item["oid"] not in self.hub.blobs:
                href = f"{self.hub.elsewhere}/upload/{item['oid']}?signature=s3cr3t"
                upload = {"href": href, "header": {}}
                size, chunk = item["size"], self.hub.part_bytes
                if chunk and size > chunk and "multipart" in asked["transfers"]:
                    count = -(-size // chunk)
                    upload["href"] = f"{self.hub.elsewhere}/complete/{item['oid']}?signature=s3cr3t"
                    upload["header"] = {"chunk_size": str(chunk), **{f"{i + 1:05d}": href + f"&part={i + 1}" for i in range(count)}}
                answer["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.endpoint}/{name}.git/info/lfs/verify"}}
            objects.append(answer)
        return self.answer(200, {"transfer": "multipart" if self.hub.part_bytes else "basic", "objects": objects})

    def commit(self, repository, kind, name, revision):
        if not self.known:
            return self.refuse(401, "RepoNotFound", "Repository not found")
        found = self.revision(repository, revision)
        if found is None:
            return None
        files = dict(found[1])
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repository.messages.append(value["summary"])
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    return self.refuse(400, "", f"no LFS object {value['oid']}")
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
        commit = repository.put(revision, files)
        return self.answer(200, {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{commit}"})
