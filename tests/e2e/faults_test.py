"""The operating system refuses: each fault has its message, nothing half-written looks whole, and what is finished is not lost."""
import re
import shutil
import signal
import unittest

from resume_support import Resumed, make_long
from support import contents, make_model


class Faults(Resumed):
    def setUp(self):
        super().setUp()
        self.source = make_long(self.model(), 6)

    def fails(self, way, call, number, action, *parts, path=None, kept=None):
        """One line of error with all the parts; whether work is kept, if it says; then the same command succeeds without the fault."""
        arguments = self.arguments(way)
        code, err = self.with_faults(self.source, arguments, call, number, action, path or self.folder / ".out.partial")
        self.assertEqual(code, 1, err)
        errors = [line for line in err.splitlines() if "error:" in line]
        self.assertEqual(len(errors), 1, err)
        for part in parts:
            self.assertRegex(errors[0], part)
        self.assertFalse(self.out.exists())
        self.assertEqual("the same command goes on from there" in errors[0], bool(self.left_over()), err)
        if kept is not None:
            self.assertEqual(bool(self.left_over()), kept, err)
        return arguments

    def then_succeeds(self, arguments, wanted):
        self.go_on(self.source, arguments, wanted)
        shutil.rmtree(self.out)

    def test_disk_full_and_errors_of_the_disk(self):
        wanted = {way: self.undisturbed(self.source, self.arguments(way))[0] for way in ("gptq", "model_free")}
        for way, call, number, action, kept, message in (
                ("gptq", "reserve", 1, "ENOSPC", False, r"bytes needed: .*cannot reserve \d+ bytes: No space left on device"),
                ("gptq", "write", 60, "ENOSPC", True, r"cannot write: No space left on device"),
                ("gptq", "write", 60, "EIO", True, r"cannot write: Input/output error"),
                ("gptq", "sync", 8, "EIO", True, r"cannot sync: Input/output error"),
                ("gptq", "sync", 1, "EIO", False, r"cannot sync: Input/output error"),
                ("model_free", "write", 40, "ENOSPC", None, r"cannot write: No space left on device")):
            with self.subTest(way=way, call=call, number=number, action=action):
                arguments = self.fails(way, call, number, action, message, kept=kept)
                self.then_succeeds(arguments, wanted[way])

    def test_the_last_rename_fails(self):
        arguments = self.arguments("gptq")
        wanted, _ = self.undisturbed(self.source, arguments)
        self.fails("gptq", "rename", 1, "EACCES", "cannot put the finished folder there: Permission denied", path=self.out, kept=True)
        self.then_succeeds(arguments, wanted)

    def test_folder_cannot_be_made(self):
        for action, message in (("EACCES", "Permission denied"), ("EROFS", "Read-only file system"), ("ENOSPC", "No space left on device")):
            self.fails("rtn", "make", 1, action, r"\.out\.partial: cannot make the folder: " + message, kept=False)

    def test_errors_while_reading(self):
        self.fails("model_free", "read", 3, "EIO", r"model\.safetensors: cannot read: Input/output error", path=self.source)
        shutil.rmtree(self.folder / ".out.partial", ignore_errors=True)
        # reading back what was written: the check of the files, or what a run goes on with
        self.fails("model_free", "read", 1, "EIO", r"output/model\.safetensors: cannot read: Input/output error")

    def test_short_reads_and_writes_are_gone_on_with(self):
        for way, call in (("gptq", "write"), ("model_free", "write"), ("model_free", "read")):
            with self.subTest(way=way, call=call):
                arguments = self.arguments(way)
                wanted, _ = self.undisturbed(self.source, arguments)
                for number in (1, 5):
                    code, err = self.with_faults(self.source, arguments, call, number, "short", self.folder)
                    self.assertEqual(code, 0, err)
                    self.assertEqual(contents(self.out), wanted)
                    self.remove_output()

    def changed_midway(self, change):
        """Changes the source while the run is stopped after its first layer; the line of error."""
        source = make_long(make_model(self.folder / "changing"), 12)
        process = self.start(source, self.arguments("gptq"))
        for line in process.stderr:
            if "layer 1/" in line:
                break
        process.send_signal(signal.SIGSTOP)
        change(source / "model.safetensors")
        process.send_signal(signal.SIGCONT)
        code, err = self.finish(process)
        self.assertEqual(code, 1, err)
        self.assertFalse(self.out.exists())
        shutil.rmtree(source)
        shutil.rmtree(self.folder / ".out.partial", ignore_errors=True)
        return err.splitlines()[-1]

    def test_the_source_changes_under_the_run(self):
        def other_weights(path):
            data = path.read_bytes()
            path.write_bytes(data[:-4] + b"\0\0\0\0")

        def cut(path):
            with open(path, "r+b") as file:
                file.truncate(path.stat().st_size // 2)

        changed = "the source changed while it was read: model.safetensors"
        self.assertRegex(self.changed_midway(other_weights), re.escape(changed))
        self.assertRegex(self.changed_midway(lambda path: path.unlink()), re.escape(changed) + r" \(is gone\)")
        self.assertRegex(self.changed_midway(cut), r"model\.safetensors: shrank from \d+ to \d+ bytes while in use")


if __name__ == "__main__":
    unittest.main()
