"""What happens to the source beside a run and between two runs: files that the run has no use for do not matter, weights are known by their bytes."""
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

from resume_support import Resumed, make_long
from support import PROGRAM, contents, environment, read_safetensors


def flip(path, tensor, keep_time=True):
    """Another value in a tensor, in place."""
    before = path.stat()
    whole = path.read_bytes()
    at = whole.index(read_safetensors(path)[tensor][2])
    with open(path, "r+b") as file:
        file.seek(at + 9)
        file.write(bytes([whole[at + 9] ^ 1]))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


class SourceChanges(Resumed):
    def setUp(self):
        super().setUp()
        self.source = make_long(self.model(), 12)
        self.options = self.arguments("gptq")

    def stopped_midway(self, change, options=None):
        """Runs, and changes something while the run is stopped after its first layer. (exit code, last line of stderr)"""
        process = self.start(self.source, options or self.options)
        for line in process.stderr:
            if re.search(r"module [1-9]|1 of 12", line):  # a layer's first line says that it begins, before its weights are read
                break
        process.send_signal(signal.SIGSTOP)
        change()
        process.send_signal(signal.SIGCONT)
        code, err = self.finish(process)
        return code, (err.strip().splitlines() or [""])[-1]

    def kill_with_work(self, options=None):
        """A run that is killed when it has work in its journal."""
        journal = self.folder / ".out.partial" / "journal"
        process = self.start(self.source, options or self.options)
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 3):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        self.finish(process)
        self.assertTrue(journal.exists(), "nothing was kept")

    def test_files_that_are_not_read_do_not_matter(self):
        wanted, _ = self.undisturbed(self.source, self.options)

        def drop():
            (self.source / ".nfs0001").write_text("x")
            (self.source / "notes.txt").write_text("x")
            (self.source / "model.safetensors.tmp").write_text("x")
            (self.source / "folder").mkdir()
            os.chmod(self.source / "model.safetensors", 0o600)  # the file's status changes, its bytes do not
            os.link(self.source / "model.safetensors", self.folder / "backup.safetensors")

        code, last = self.stopped_midway(drop)
        self.assertEqual(code, 0, last)
        self.assert_same(contents(self.out), wanted)
        self.remove_output()
        self.kill_with_work()
        (self.source / "more.txt").write_text("y")
        wanted["notes.txt"], wanted["more.txt"] = b"x", b"y"
        self.assertRegex(self.go_on(self.source, self.options, wanted), "gone on with")

    def test_a_side_file_that_changes_is_taken_by_the_next_run(self):
        code, last = self.stopped_midway(lambda: (self.source / "LICENSE").write_text("Another licence.\n"))
        self.assertEqual(code, 1)
        self.assertRegex(last, r"the same command goes on from there: .*the source changed while it was read: LICENSE")
        code, err = self.finish(self.start(self.source, self.options))
        self.assertEqual(code, 0, err)
        self.assertIn("gone on with", err)
        self.assertEqual((self.out / "LICENSE").read_text(), "Another licence.\n")

    def test_weights_that_change_in_place_are_seen(self):
        """With their time put back; in tensors that were read before, of either kind: copied and quantized."""
        path = self.source / "model.safetensors"
        whole = path.read_bytes()
        for tensor in ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"):
            for keep_time in (True, False):
                with self.subTest(tensor=tensor, keep_time=keep_time):
                    code, last = self.stopped_midway(lambda: flip(path, tensor, keep_time))
                    self.assertEqual(code, 1, last)
                    self.assertRegex(last, r"the source changed while it was read: .*model\.safetensors|the source changed while it was read: tensor")
                    self.assertNotIn("the same command goes on", last)
                    self.assertEqual(self.left_over(), [])
                    path.write_bytes(whole)

    def test_weights_that_change_between_two_runs_are_seen(self):
        path = self.source / "model.safetensors"
        whole = path.read_bytes()
        self.kill_with_work()
        flip(path, "model.layers.0.mlp.up_proj.weight")
        code, err = self.finish(self.start(self.source, self.options))
        self.assertEqual(code, 2, err)
        self.assertRegex(err.splitlines()[-1], r"not the same: source: model\.safetensors: tensor \"model\.layers\.0\.mlp\.up_proj\.weight\".*--restart")
        path.write_bytes(whole)  # another time, the same bytes
        code, err = self.finish(self.start(self.source, self.options))
        self.assertEqual(code, 0, err)
        self.assertIn("gone on with", err)

    def test_model_free_weights_are_known_by_their_bytes(self):
        options = self.arguments("model_free")
        path = self.source / "model.safetensors"
        wanted, _ = self.undisturbed(self.source, options)
        code, err = self.with_faults(self.source, options, "write", 60, "ENOSPC", self.folder / ".out.partial")
        self.assertEqual(code, 1, err)
        if not (self.folder / ".out.partial" / "journal").exists():
            self.skipTest("nothing was noted before the fault")  # entries of the journal are some seconds apart
        shutil.copy(path, self.folder / "copy")
        os.replace(self.folder / "copy", path)  # another file with the same bytes
        self.go_on(self.source, options, wanted)

    def test_the_folder_may_be_spelled_otherwise_or_renamed(self):
        wanted, _ = self.undisturbed(self.source, self.options)
        renamed = self.folder / "another name"
        link = self.folder / "link"
        for spelled in (f"{self.source}/", f"{self.source}/.", os.path.relpath(self.source), link, renamed, self.folder / "copy"):
            with self.subTest(spelled=spelled):
                self.kill_with_work()
                if spelled == link:
                    link.symlink_to(self.source)
                if spelled == renamed:
                    self.source.rename(renamed)
                if spelled == self.folder / "copy":
                    shutil.copytree(self.source, spelled)
                code, err = self.finish(self.start(spelled, self.options))
                if spelled == renamed:
                    renamed.rename(self.source)
                self.assertEqual(code, 0, err)
                self.assertIn("gone on with", err)
                found = contents(self.out)
                self.assertEqual(found["model.safetensors"], wanted["model.safetensors"])
                self.assertTrue(found["swage_report.json"]["source"])
                self.remove_output()

    def test_an_output_that_is_a_dangling_link_is_refused_before_the_run(self):
        self.out.symlink_to("nowhere")
        for more in (self.options, [*self.options, "--dry-run"], [*self.arguments("rtn"), "--overwrite"]):
            code, err = self.finish(self.start(self.source, more))
            self.assertEqual(code, 2, err)
            self.assertEqual(len(err.splitlines()), 1, err)
            self.assertRegex(err, r"out: is a link that leads nowhere")
        self.out.unlink()
        (self.folder / "real").mkdir()
        self.out.symlink_to("real")
        self.assertEqual(self.finish(self.start(self.source, self.options))[0], 0)
        self.assertTrue((self.folder / "real" / "model.safetensors").exists())

    def test_a_killed_conversion_is_cleaned_up_after(self):
        quantized, dense, work = self.folder / "q", self.folder / "dense", self.folder / ".dense.partial"
        self.assertEqual(self.finish(self.start(self.source, self.arguments("rtn")))[0], 0)
        self.out.rename(quantized)
        command = [PROGRAM, "convert", str(quantized), str(dense), "--to", "dense"]
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
            while process.poll() is None and not (work / "output").exists():
                time.sleep(0.001)
            process.send_signal(number)
            process.wait(timeout=60)
            if number != signal.SIGKILL:
                self.assertFalse(work.exists(), "what can be caught leaves nothing behind")
            for left in (dense, work):  # it had ended; of the one that could not be caught
                shutil.rmtree(left, ignore_errors=True)
        work.mkdir(exist_ok=True)
        (work / "output").mkdir(exist_ok=True)
        (work / "output" / "model.safetensors").write_bytes(b"half")
        self.assertEqual(subprocess.run(command, capture_output=True, env=environment(), timeout=120).returncode, 0)
        self.assertFalse(work.exists())
        self.assertTrue((dense / "model.safetensors").exists())

    def test_the_reader_of_the_progress_may_go_away(self):
        wanted, _ = self.undisturbed(self.source, self.options)
        process = self.start(self.source, self.options)
        process.stderr.readline()
        process.stderr.close()
        process.stdout.close()
        self.assertEqual(process.wait(timeout=120), 0)
        self.assert_same(contents(self.out), wanted)


if __name__ == "__main__":
    unittest.main()
