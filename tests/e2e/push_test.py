"""swage push, against a hub on this machine (hub_server.py): one commit, large files by LFS, nothing twice, and never a token in sight."""
import hashlib
import json
import signal
import subprocess
import time

from hub_support import TOKEN, Hub
from support import PROGRAM


class Push(Hub):
    def push(self, *arguments, folder=None, repo="me/model", token=TOKEN, **variables):
        result = self.swage("push", folder or self.source, repo, *arguments, HF_TOKEN=token, **variables)
        for secret in (TOKEN, "hf_stale", "s3cr3t"):
            self.assertNotIn(secret, result.stdout + result.stderr)
        self.assertEqual(self.hub.leaks, [], "the store saw the token")
        return result

    def on_hub(self, branch="main", repo="me/model"):
        return {name: data for name, data in self.hub.repositories["models", repo].branches[branch].items() if name != ".gitattributes"}

    def folder_contents(self):
        """What of it belongs to a model: nothing hidden, nor anything in a hidden folder."""
        names = {path: path.relative_to(self.source) for path in self.source.rglob("*") if path.is_file()}
        return {str(name): path.read_bytes() for path, name in names.items() if not any(part.startswith(".") for part in name.parts)}

    def setUp(self):
        super().setUp()
        (self.source / "additional_chat_templates").mkdir()
        (self.source / "additional_chat_templates" / "rag.jinja").write_text("{{ documents }}")
        (self.source / "empty.txt").write_text("")

    def test_a_folder_goes_out_in_one_commit_and_comes_back(self):
        (self.source / ".cache").mkdir()
        (self.source / ".cache" / "left.json").write_text("{}")
        (self.source / ".hidden").write_text("no")
        result = self.assert_succeeds(self.push("--private", "-m", "First \"words\"", "--json"))
        said = json.loads(result.stdout)
        repository = self.hub.repositories["models", "me/model"]
        self.assertEqual(self.on_hub(), self.folder_contents())
        self.assertTrue(repository.private)
        self.assertEqual(repository.messages, ["First \"words\""])
        self.assertEqual((said["created"], said["files"], said["commit"]), (True, len(self.folder_contents()), repository.commit_of("main")))
        self.assertEqual(said["url"], self.hub.endpoint + "/me/model")
        self.assertEqual(len(self.hub.asked("POST", "/commit/")), 1)
        self.assert_succeeds(self.fetch("me/model", HF_TOKEN=TOKEN))

    def test_what_is_there_is_not_sent_again(self):
        self.assert_succeeds(self.push("--public"))
        self.assertFalse(self.hub.repositories["models", "me/model"].private)
        (self.source / "config.json").write_text((self.source / "config.json").read_text() + "\n")
        result = self.assert_succeeds(self.push("--private", "--json"))
        self.assertEqual(json.loads(result.stdout)["uploaded_bytes"], 0)
        self.assertIn("who may see it stays as it is", result.stderr)
        self.assertEqual(len(self.hub.uploads), 1)
        self.assertEqual(self.on_hub(), self.folder_contents())

    def test_large_files_go_in_parts_where_the_hub_wants_them_so(self):
        size = (self.source / "model.safetensors").stat().st_size
        for part in (size // 3 + 1, size // 2, 7777):
            self.hub.part_bytes = part
            self.hub.uploads.clear()
            self.hub.blobs.clear()
            self.hub.fault(r"/upload/.*part=2", status=503)
            self.assert_succeeds(self.push(repo=f"me/parts{part}"))
            self.assertEqual([count for _, count in self.hub.uploads], [min(part, size - at) for at in range(0, size, part)])
            self.assertEqual(self.on_hub(repo=f"me/parts{part}"), self.folder_contents())

    def test_an_upload_that_broke_off_goes_on_with_the_files_that_lack(self):
        (self.source / "second.safetensors").write_bytes(b"second")
        self.hub.fault("/commit/", times=1, status=400, headers={"X-Error-Message": "not today"})
        self.assert_refused(self.push(), 1, "me/model", "not today")
        self.assertEqual(len(self.hub.uploads), 2)
        self.assert_succeeds(self.push())
        self.assertEqual(len(self.hub.uploads), 2)
        self.assertEqual(self.on_hub(), self.folder_contents())

    def test_a_branch_is_made(self):
        self.assert_succeeds(self.push())
        (self.source / "LICENSE").write_text("Other words.\n")
        result = self.assert_succeeds(self.push("--revision", "v2"))
        self.assertIn("/me/model/tree/v2", result.stdout)
        self.assertEqual(self.on_hub("v2")["LICENSE"], b"Other words.\n")
        self.assertEqual(self.on_hub()["LICENSE"], b"A licence.\n")
        self.assert_succeeds(self.push("--revision", "v2"))

    def test_what_cannot_be_uploaded_says_why(self):
        (self.folder / "empty").mkdir()
        for keywords, arguments, code, parts in (
                (dict(token=""), (), 2, ("HF_TOKEN", "right to write")), (dict(token="hf_stale"), (), 1, ("401", "HF_TOKEN")),
                (dict(repo="forbidden/model"), (), 1, ("403", "don't have the rights")), (dict(repo="a/b/c"), (), 2, ("org/name",)), (dict(repo="me/model@v1"), (), 2, ("org/name",)),
                (dict(folder=self.folder / "empty"), (), 2, ("no config.json",)), (dict(folder=self.folder / "absent"), (), 2, ("no such folder",)),
                (dict(), ("--revision", "../x"), 2, ("no name of a branch",)), (dict(), ("-m", ""), 2, ("message is empty",)), (dict(), ("--private", "--public"), 2, ("--private",)),
                (dict(HF_HUB_OFFLINE="1"), (), 1, ("HF_HUB_OFFLINE",))):
            with self.subTest(keywords=keywords, arguments=arguments):
                self.assert_refused(self.push(*arguments, **keywords), code, *parts)
        self.assertEqual(self.hub.uploads, [])

    def test_answers_that_make_no_sense_are_refused(self):
        url = self.hub.elsewhere
        oid = "0" * 64
        for pattern, body, part in ((r"/preupload/", {"files": []}, "does not say how it takes"),
                                    (r"objects/batch", {"objects": [{"oid": oid}]}, "speaks of a file that is none of this folder"),
                                    (r"objects/batch", lambda hub_oid: {"objects": [{"oid": hub_oid, "error": {"code": 422, "message": "too large"}}]}, "refuses: too large"),
                                    (r"objects/batch", lambda hub_oid: {"objects": [{"oid": hub_oid, "actions": {"upload": {"href": url, "header": {"chunk_size": "-5"}}}}]}, "wants parts of"),
                                    (r"objects/batch", lambda hub_oid: {"objects": [{"oid": hub_oid, "actions": {"upload": {"href": url, "header": {"chunk_size": "5", "1": url}}}}]},
                                     "names 1 parts of 5 bytes"),
                                    (r"/upload/", None, "the store refuses the upload \\(403\\)")):
            with self.subTest(part):
                digest = hashlib.sha256((self.source / "model.safetensors").read_bytes()).hexdigest()
                self.hub.fault(pattern, status=200 if body else 403, body=body(digest) if callable(body) else body)
                self.assert_refused(self.push(), 1, part)

    def test_ctrl_c_ends_an_upload_soon(self):
        self.hub.fault("/upload/", stall=20)
        process = subprocess.Popen([PROGRAM, "push", str(self.source), "me/model"], stderr=subprocess.PIPE, text=True, env=self.environment(HF_TOKEN=TOKEN))
        deadline = time.monotonic() + 20
        while not self.hub.asked("PUT") and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130)
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual(self.hub.asked("POST", "/commit/"), [])
