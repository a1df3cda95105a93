"""Models by name, through the program, from a hub on this machine (hub_server.py): what is fetched, where it lies, what happens when it does not come."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

from hub_server import git_digest
from hub_support import TOKEN, Hub
from support import PROGRAM, make_llama, split_checkpoint


class Download(Hub):
    def test_a_model_is_fetched_once_and_laid_out_as_the_hubs_own_library_does(self):
        (self.source / "pytorch_model.bin").write_bytes(b"pickle")
        (self.source / "onnx").mkdir()
        (self.source / "onnx" / "model.json").write_text("{}")
        (self.source / "additional_chat_templates").mkdir()
        (self.source / "additional_chat_templates" / "rag.jinja").write_text("{{ messages }}")
        commit = self.publish()
        result = self.assert_succeeds(self.fetch())
        self.assertRegex(result.stderr, r"fetching org/model: \d+ files of [\d.]+ KiB\n")
        snapshot = self.snapshot(commit)
        got = {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()}
        self.assertEqual(got, {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "LICENSE", "README.md",
                               "additional_chat_templates/rag.jinja"})
        weights = (self.source / "model.safetensors").read_bytes()
        self.assertEqual(os.readlink(snapshot / "model.safetensors"), "../../blobs/" + hashlib.sha256(weights).hexdigest())
        self.assertEqual(os.readlink(snapshot / "config.json"), "../../blobs/" + git_digest((self.source / "config.json").read_bytes()))
        self.assertEqual(os.readlink(snapshot / "additional_chat_templates" / "rag.jinja"), "../../../blobs/" + git_digest(b"{{ messages }}"))
        self.assertEqual((self.repository() / "refs" / "main").read_text(), commit)
        self.assertEqual((snapshot / "model.safetensors").read_bytes(), weights)
        self.assertTrue((self.out / "LICENSE").exists())
        before = len(self.hub.requests)
        self.assert_succeeds(self.fetch())
        self.assert_succeeds(self.fetch(HF_HUB_OFFLINE="1"))
        self.assertEqual(len(self.hub.requests), before, "what is in the cache is not asked for again")

    def test_a_token_reaches_the_hub_alone_and_no_message(self):
        self.publish(private=True)
        (self.folder / "home").mkdir()
        (self.folder / "home" / "token").write_text(TOKEN + "\n")
        result = self.assert_succeeds(self.fetch(HF_TOKEN=None, HF_HOME=str(self.folder / "home")))
        self.assertEqual(self.hub.leaks, [])
        self.assertTrue(all(headers.get("authorization") == "Bearer " + TOKEN for headers in self.hub.headers_of("/api/|/resolve/")))
        self.assertNotIn(TOKEN, result.stderr + result.stdout)

    def test_revisions_are_branches_tags_and_commits(self):
        first = self.publish()
        (self.source / "LICENSE").write_text("Another licence.\n")
        second = self.publish(branch="refs/pr/1")
        self.assert_succeeds(self.fetch("org/model@refs/pr/1"))
        self.assertEqual((self.out / "LICENSE").read_text(), "Another licence.\n")
        self.assertEqual((self.repository() / "refs" / "refs" / "pr" / "1").read_text(), second)
        self.assert_succeeds(self.fetch(f"org/model@{first}"))
        self.assertEqual((self.out / "LICENSE").read_text(), "A licence.\n")
        weights = hashlib.sha256((self.source / "model.safetensors").read_bytes()).hexdigest()
        self.assertEqual(len(self.hub.asked("GET", weights)), 1, "a blob that both have comes once")

    def test_shards_are_those_of_the_index(self):
        split_checkpoint(self.source)
        (self.source / "model-00001-of-00002.fp16.safetensors").write_bytes(b"another precision")
        (self.source / "consolidated.safetensors").write_bytes(b"another layout")
        commit = self.publish()
        self.assert_succeeds(self.fetch())
        self.assertEqual(sorted(path.name for path in self.snapshot(commit).glob("*.safetensors")),
                         ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])

    def test_progress_is_shown_on_a_terminal_with_bytes_rate_and_time_left(self):
        self.publish()
        self.hub.fault("/blobs/", stall=0.5)
        master, slave = os.openpty()
        process = subprocess.Popen([PROGRAM, "inspect", "org/model"], stdout=subprocess.DEVNULL, stderr=slave, env=self.environment())
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:  # the other end is closed
            pass
        self.assertEqual(process.wait(30), 0, shown)
        self.assertRegex(shown.decode(), r"\r\x1b\[K(downloading|reading headers of) org/model/\S+  [\d.]+ \w+( of [\d.]+ \w+)?  [\d.]+ \w+/s")

    def test_a_blob_another_process_fetches_is_waited_for(self):
        self.publish()
        self.hub.fault("/blobs/", stall=1.0)
        results = []
        threads = [threading.Thread(target=lambda i=i: results.append(self.swage(
            "compress", "org/model", "-o", self.folder / f"out{i}", "--method", "rtn", "--scheme", "W8A16", "--group-size", 16, "--threads", 1))) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results:
            self.assert_succeeds(result)
        self.assertEqual(len(self.hub.asked("GET", "/blobs/")), 1)


class HeadersOnly(Hub):
    def test_inspect_and_estimate_fetch_no_weights(self):
        make_llama(self.folder / "large", hidden=256, inner=1024, layers=4)
        self.hub.add_folder("org/large", self.folder / "large")
        size = (self.folder / "large" / "model.safetensors").stat().st_size
        local = json.loads(self.swage("inspect", self.folder / "large", "--json").stdout)
        remote = json.loads(self.assert_succeeds(self.swage("inspect", "org/large", "--json")).stdout)
        self.assertEqual({**remote, "model": 0}, {**local, "model": 0})
        self.assertEqual(remote["model"], "org/large")
        estimate = ("--scheme", "W4A16", "--group-size", 64, "--max-seq-length", 64, "--rates", "gemm=100G,copy=5G,disk=1G", "--json")
        plans = [json.loads(self.assert_succeeds(self.swage("estimate", name, *estimate)).stdout)["plan"] for name in (self.folder / "large", "org/large")]
        self.assertEqual(*plans)
        asked = [headers.get("range") for headers in self.hub.headers_of("/blobs/")]
        self.assertTrue(asked and all(asked), "whole files were asked for")
        self.assertGreater(size, 5 << 20)
        self.assertFalse([path for path in self.repository("org/large").rglob("*.safetensors")])
        self.assertEqual([path for path in pathlib.Path("/tmp").glob("swage-headers-*")], [])

    def test_stored_shapes_of_packed_weights_come_too(self):
        make_llama(self.folder / "large", hidden=256, inner=1024, layers=2)
        self.assert_succeeds(self.swage("compress", self.folder / "large", "-o", self.out, "--method", "rtn", "--scheme", "W4A16", "--group-size", 64))
        (self.out / "swage_report.json").unlink()
        self.hub.add_folder("org/packed", self.out)
        local = json.loads(self.swage("inspect", self.out, "--json").stdout)
        remote = json.loads(self.assert_succeeds(self.swage("inspect", "org/packed", "--json")).stdout)
        self.assertEqual({**remote, "model": 0}, {**local, "model": 0})

    def test_a_server_without_ranges_is_read_from_the_front(self):
        self.publish()
        self.hub.ranges = False
        self.assert_succeeds(self.swage("inspect", "org/model"))

    def test_a_complete_snapshot_is_used_as_it_is(self):
        self.publish()
        self.assert_succeeds(self.fetch())
        self.hub.close()
        self.assert_succeeds(self.swage("inspect", "org/model"))
        self.assert_succeeds(self.swage("estimate", "org/model", "--group-size", 16, "--max-seq-length", 64, "--rates", "gemm=1G,copy=1G,disk=1G"))


class Faults(Hub):
    """Whatever goes wrong on the way, the file in the cache is the hub's or there is none."""

    def assert_fetched(self, result, commit):
        self.assert_succeeds(result)
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            self.assertEqual((self.snapshot(commit) / name).read_bytes(), (self.source / name).read_bytes())
        self.assertFalse([name for name in self.blobs() if name.endswith(".incomplete")])

    def test_servers_that_are_busy_are_asked_again(self):
        for status, where, headers in ((503, "/api/models/", {}), (429, "/resolve/.*config.json", {"Retry-After": "1"}), (500, "/blobs/", {}), (502, "/resolve/", {})):
            with self.subTest(status):
                commit = self.publish(f"org/m{status}")
                self.hub.fault(where, status=status, headers=headers)
                begin = time.monotonic()
                result = self.assert_succeeds(self.fetch(f"org/m{status}"))
                self.assertRegex(result.stderr, rf"org/m{status}\S*: answered {status}; trying again")
                if headers:
                    self.assertGreaterEqual(time.monotonic() - begin, 1)
                self.assertTrue((self.snapshot(commit, f"org/m{status}") / "model.safetensors").exists())

    def test_a_broken_connection_is_gone_on_with_from_its_last_byte(self):
        commit = self.publish()
        size = (self.source / "model.safetensors").stat().st_size
        self.hub.fault("/blobs/", cut=size // 3)
        self.hub.fault("/blobs/", cut=size // 3)
        self.assert_fetched(self.fetch(), commit)
        ranges = [headers.get("range") for headers in self.hub.headers_of("/blobs/")]
        self.assertEqual(ranges, [None, f"bytes={size // 3}-", f"bytes={2 * (size // 3)}-"])

    def test_a_stalled_connection_is_given_up_and_gone_on_with(self):
        commit = self.publish()
        self.hub.fault("/blobs/", stall=3)
        self.assert_fetched(self.fetch(HF_HUB_DOWNLOAD_TIMEOUT="1"), commit)

    def test_what_an_earlier_run_left_is_kept(self):
        commit = self.publish()
        weights = (self.source / "model.safetensors").read_bytes()
        blobs = self.repository() / "blobs"
        blobs.mkdir(parents=True)
        (blobs / (hashlib.sha256(weights).hexdigest() + ".incomplete")).write_bytes(weights[:1000])
        self.assert_fetched(self.fetch(), commit)
        self.assertEqual([headers.get("range") for headers in self.hub.headers_of("/blobs/")], ["bytes=1000-"])

    def test_a_left_over_that_is_wrong_is_fetched_anew(self):
        commit = self.publish()
        weights = (self.source / "model.safetensors").read_bytes()
        blobs = self.repository() / "blobs"
        blobs.mkdir(parents=True)
        for left in (b"x" * 1000, b"x" * (len(weights) + 5), b"x" * len(weights)):
            (blobs / (hashlib.sha256(weights).hexdigest() + ".incomplete")).write_bytes(left)
            self.assert_fetched(self.fetch(), commit)
            for path in (*blobs.iterdir(), *self.snapshot(commit).glob("*.safetensors")):
                path.unlink()

    def test_a_server_that_ignores_ranges_gives_the_whole_file(self):
        commit = self.publish()
        self.hub.ranges = False
        self.hub.fault("/blobs/", cut=1000)
        self.assert_fetched(self.fetch(), commit)

    def test_bytes_that_changed_on_the_way_are_not_believed(self):
        commit = self.publish()
        self.hub.fault("/blobs/", spoil=True)
        result = self.fetch()
        self.assertRegex(result.stderr, r"what came is not the file \(its SHA-256 is [0-9a-f]{64}, the hub announced [0-9a-f]{64}\); fetching it again")
        self.assert_fetched(result, commit)

    def test_bytes_that_keep_changing_are_refused(self):
        self.publish()
        for where, digest in (("/blobs/", "SHA-256"), ("/resolve-cache/.*/config.json", "git digest")):
            with self.subTest(where):
                shutil.rmtree(self.repository(), ignore_errors=True)  # what the run before fetched well would not be asked for again
                self.hub.fault(where, times=2, spoil=True, method="GET")
                self.assert_refused(self.fetch(), 1, rf"org/model/\S+: what came is not the file: its {digest} is")
                self.assertFalse([name for name in self.blobs() if len(name) > 64 and (self.repository() / "blobs" / name).stat().st_size])

    def test_a_hub_that_never_answers_well_is_an_error_with_its_answer(self):
        self.publish()
        self.hub.fault("/api/models/", times=99, status=503, headers={"X-Error-Message": "down for repairs"})
        self.assert_refused(self.fetch(), 1, r"org/model", r"down for repairs", r"503")

    def test_ctrl_c_ends_a_download_soon_and_the_next_run_goes_on(self):
        commit = self.publish()
        self.hub.fault("/blobs/", cut=1000)
        self.hub.fault("/blobs/", stall=20)
        process = subprocess.Popen([PROGRAM, "compress", "org/model", "-o", str(self.out), "--method", "rtn", "--scheme", "W8A16", "--group-size", "16"],
                                   stderr=subprocess.PIPE, text=True, env=self.environment())
        deadline = time.monotonic() + 20
        while len(self.hub.asked("GET", "/blobs/")) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130)
        self.assertLess(time.monotonic() - begin, 5)
        self.assert_fetched(self.fetch(), commit)
        self.assertEqual(self.hub.headers_of("/blobs/")[-1].get("range"), "bytes=1000-")


class Refusals(Hub):
    """Each says what to do."""

    def test_no_such_repository_private_gated_or_revision(self):
        self.publish()
        self.publish("org/private", private=True)
        self.publish("org/gated", gated=True)
        for name, token, parts in (
                ("org/nothing", None, ("org/nothing", "no such repository, or it is private", "HF_TOKEN")),
                ("org/nothing", TOKEN, ("org/nothing", "no such repository")),
                ("org/private", None, ("private", "HF_TOKEN")),
                ("org/gated", None, ("org/gated is gated|org/gated\\S*: is gated", re.escape(self.hub.endpoint + "/org/gated"), "HF_TOKEN")),
                ("org/gated", TOKEN, ("is gated", "account that the token belongs to")),
                ("org/model@v9", None, ("no revision \"v9\"",)),
                ("org/model", "hf_stale", ("does not let this token in", "HF_TOKEN"))):
            with self.subTest(name=name, token=token):
                result = self.fetch(name, HF_TOKEN=token)
                self.assert_refused(result, 1, *parts)
                if token:
                    self.assertNotIn(token, result.stderr)

    def test_repositories_that_are_no_model_swage_reads(self):
        for name, files, part in (("org/pickle", {"config.json": "{}", "pytorch_model.bin": b"x"}, "no .safetensors weights.*it has pytorch_model.bin"),
                                  ("org/lora", {"adapter_config.json": "{}", "adapter_model.safetensors": b"x"}, "no .safetensors weights.*it has adapter_model.safetensors"),
                                  ("org/bare", {"model.safetensors": b"x"}, "no config.json")):
            self.hub.add(name, files)
            self.assert_refused(self.fetch(name), 2, part)

    def test_names_from_the_server_stay_inside_the_cache(self):
        files = {"config.json": (self.source / "config.json").read_bytes(), "../../../../escaped.json": b"{}", "/abs.json": b"{}", "a\\..\\b.json": b"{}",
                 "model.safetensors": (self.source / "model.safetensors").read_bytes(), "tokenizer.json": (self.source / "tokenizer.json").read_bytes()}
        commit = self.hub.add("org/evil", files)
        self.assert_succeeds(self.fetch("org/evil"))
        self.assertEqual({path.name for path in self.snapshot(commit, "org/evil").iterdir()}, {"config.json", "model.safetensors", "tokenizer.json"})
        self.assertFalse(list(self.folder.rglob("escaped.json")) + list(self.folder.rglob("abs.json")))
        shutil.rmtree(self.out)
        index = json.dumps({"weight_map": {"a": "../../../x.safetensors"}})
        self.hub.add("org/evil2", {"config.json": b"{}", "model.safetensors.index.json": index})
        self.assert_refused(self.fetch("org/evil2"), 1, "the shard of \"a\" is not a file name")
        self.hub.add("org/short", {"config.json": b"{}", "model.safetensors.index.json": json.dumps({"weight_map": {"a": "x.safetensors"}})})
        self.assert_refused(self.fetch("org/short"), 1, "names x.safetensors, which the repository does not have")

    def test_answers_that_are_no_hubs(self):
        self.publish()
        good = {"Location": "http://127.0.0.1:9/x", "X-Linked-Etag": '"../../x"', "X-Linked-Size": "5"}
        for fault, part in ((dict(pattern="/resolve/.*config.json", status=302, headers={"Location": "/loop"}), "config.json"),  # first: later it is in the cache
                            (dict(pattern="/api/models/", status=200), "the hub's answer"),
                            (dict(pattern="/api/models/", status=200, body={"siblings": []}), "the hub names no commit"),
                            (dict(pattern="/api/models/", status=200, body={"sha": "ab"}), "the hub lists no files"),
                            (dict(pattern="/resolve/.*model.safetensors", status=302, headers=good), "no etag that can name it"),
                            (dict(pattern="/resolve/.*model.safetensors", status=302, headers={**good, "X-Linked-Size": "-1"}), "does not tell the file's size"),
                            (dict(pattern="/resolve/.*model.safetensors", status=302, headers={**good, "X-Repo-Commit": "f" * 40, "X-Linked-Etag": '"ab"'}), "another commit")):
            with self.subTest(part):
                self.hub.fault(**fault)
                self.assert_refused(self.fetch(), 1, part)

    def test_without_a_network_the_default_hub_is_named(self):
        env = self.environment(HF_ENDPOINT=None, HTTPS_PROXY="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9")
        result = subprocess.run([PROGRAM, "inspect", "org/model"], capture_output=True, text=True, env=env, timeout=60)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"huggingface\.co")

    def test_offline_nothing_is_asked(self):
        self.publish()
        self.assert_refused(self.fetch(HF_HUB_OFFLINE="1"), 1, "HF_HUB_OFFLINE is set", re.escape(str(self.cache)))
        self.assert_refused(self.swage("inspect", "org/model", HF_HUB_OFFLINE="1"), 1, "HF_HUB_OFFLINE is set")
        self.assertEqual(self.hub.requests, [])

    def test_an_endpoint_or_token_that_cannot_be_one(self):
        self.assert_refused(self.fetch(HF_ENDPOINT="not a url"), 2, "HF_ENDPOINT")
        result = self.fetch(HF_TOKEN="two words")
        self.assert_refused(result, 2, "token holds spaces")
        self.assertNotIn("two words", result.stderr)
