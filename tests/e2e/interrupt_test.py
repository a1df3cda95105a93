"""What is left when a run ends before its time: nothing, or what the next run clears away."""
import pathlib
import signal
import subprocess
import time
import unittest

from support import PROGRAM, EndToEnd, contents, edit_json, environment, read_safetensors, write_safetensors

LAYERS = 24


def make_long(model):
    """Repeats the layers of a golden model, so that a run lasts long enough to be stopped in the middle."""
    path = model / "model.safetensors"
    tensors = read_safetensors(path)
    long = {name: value for name, value in tensors.items() if ".layers." not in name}
    for layer in range(LAYERS):
        long.update({name.replace(".layers.0.", f".layers.{layer}."): value for name, value in tensors.items() if ".layers.0." in name})
    write_safetensors(path, long)
    edit_json(model / "config.json", num_hidden_layers=LAYERS)
    return model


class Stopped(EndToEnd):
    def start(self, model):
        command = [PROGRAM, "compress", str(model), "-o", str(self.out), *map(str, self.arguments()), "--threads", "1"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())

    def arguments(self):
        return ("-d", self.text, "--num-calibration-samples", 32, "--max-seq-length", 128, "--group-size", 16)

    def partial_folders(self):
        return [p for p in self.folder.iterdir() if p.name.startswith(".out")]

    def stop_in_the_middle(self, process, number):
        """Sends the signal after the second layer was reported; what the process said before and after."""
        before = []
        for line in process.stderr:
            before.append(line)
            if "layer 2/" in line:
                break
        self.assertEqual(len(self.partial_folders()), 1, before)
        process.send_signal(number)
        _, after = process.communicate(timeout=60)
        return "".join(before), after

    def test_interrupt_says_what_was_kept(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number):
                model = self.folder / "llama32_tied"
                process = self.start(model if model.exists() else make_long(self.model()))
                _, after = self.stop_in_the_middle(process, number)
                self.assertEqual(process.returncode, 130, after)
                self.assertRegex(after.splitlines()[-1], r"^swage: error: .*nothing was kept.*interrupted")
                self.assert_nothing_left()

    def test_kill_leaves_no_output_and_the_next_run_clears_the_rest(self):
        model = make_long(self.model())
        process = self.start(model)
        self.stop_in_the_middle(process, signal.SIGKILL)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertFalse(self.out.exists())
        self.assertEqual(len(self.partial_folders()), 1)
        self.assert_succeeds(self.compress(model, *self.arguments()))
        self.assertEqual(self.partial_folders(), [])
        undisturbed = self.folder / "undisturbed"
        self.assert_succeeds(self.compress(model, *self.arguments(), out=undisturbed))
        self.assertEqual(contents(self.out), contents(undisturbed))

    def test_a_running_neighbour_is_left_alone(self):
        """Two runs to the same folder: the second must not clear away what the first is writing."""
        model = make_long(self.model())
        first = self.start(model)
        for line in first.stderr:
            if "layer 1/" in line:
                break
        first.send_signal(signal.SIGSTOP)
        try:
            self.assert_succeeds(self.compress(model, *self.arguments()))
            self.assertEqual(len(self.partial_folders()), 1)
        finally:
            first.send_signal(signal.SIGCONT)
        _, after = first.communicate(timeout=60)
        self.assertEqual(first.returncode, 2, after)  # the other one's output is there now
        self.assertRegex(after.splitlines()[-1], "^swage: error: .*not empty")
        self.assertEqual(self.partial_folders(), [])
        self.assertTrue((self.out / "model.safetensors").exists())


if __name__ == "__main__":
    unittest.main()
