"""What a person sees: help, the live line on a terminal, plain lines in a pipe."""
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
import unittest

from support import PROGRAM, EndToEnd, environment, run


def run_on_terminal(command, columns):
    """Runs with stderr and stdout on a terminal of that width; returns exit code and what it showed."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([PROGRAM, *map(str, command)], stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=environment())
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # how Linux reports that the other side closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    return process.wait(timeout=60), shown.decode()


class Progress(EndToEnd):
    def command(self, *more):
        return ("compress", self.model(), "-o", self.out, *self.calibrated(*more), "--threads", "1")

    def test_terminal_has_one_live_line(self):
        code, shown = run_on_terminal(self.command(), columns=60)
        self.assertEqual(code, 0, shown)
        live = re.findall(r"\r\x1b\[K([^\r\n]+)", shown)
        self.assertTrue(any("calibrating layer 3/3" in line for line in live), shown)
        self.assertTrue(all(len(line) < 60 for line in live if "layer" in line), live)
        # Redrawn in place: no line break between two states of the live line.
        between = shown[shown.index("calibrating layer 1/3"):shown.index("calibrating layer 3/3")]
        self.assertNotIn("\n", between)
        # Cleared before the summary, which stays.
        last_state = shown.rindex("layer 3/3")
        self.assertRegex(shown[last_state:], r"(?s)^[^\n]*\r\x1b\[K +output ")

    def test_error_on_a_terminal_starts_a_line(self):
        code, shown = run_on_terminal(self.command("--ignore", "nothing"), columns=80)
        self.assertEqual(code, 2)
        self.assertRegex(shown, r"(^|\n|\x1b\[K)swage: error: ")

    def test_pipe_has_plain_lines(self):
        result = self.assert_succeeds(run(*self.command(), threads=None))
        self.assertNotIn("\x1b", result.stderr + result.stdout)
        self.assertNotIn("\r", result.stderr + result.stdout)
        for layer in (1, 2, 3):
            self.assertRegex(result.stderr, rf"(?m)^calibrating layer {layer}/3  model\.layers\.{layer - 1}\..* error [\d.]+ %")
        self.assertRegex(result.stderr, r"(?m)^plan: 21 modules")
        self.assertRegex(result.stdout, r"(?m)^ +perplexity +[\d.]+ before, [\d.]+ after \(\d+ held-out tokens\)$")

    def test_generate_streams_the_text_to_stdout(self):
        result = self.assert_succeeds(run("generate", self.model(), "-p", "the river", "--max-new-tokens", 4))
        self.assertNotIn("tokens/s", result.stdout)
        self.assertIn("tokens/s", result.stderr)

    def test_sampling_is_repeatable_by_seed(self):
        command = ("generate", self.model(), "-p", "the river", "--max-new-tokens", 12, "--temperature", 1)
        texts = [self.assert_succeeds(run(*command, "--seed", seed)).stdout for seed in (1, 1, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])


class Help(EndToEnd):
    def test_help_teaches(self):
        overview = self.assert_succeeds(run("--help")).stdout
        for word in ("compress", "eval", "generate", "inspect", "swage compress MODEL -o OUT", "Exit codes"):
            self.assertIn(word, overview)
        for command in ("compress", "eval", "generate", "inspect"):
            text = self.assert_succeeds(run(command, "--help")).stdout
            self.assertIn("--json", text)
            self.assertRegex(text, r"Usage: swage " + command)
            self.assertRegex(text, rf"Examples?:\n  swage {command}")
            self.assertNotIn(":POSITIVE", text)
        text = run("compress", "--help").stdout
        for word in ("W4A16_ASYM", "FP8_DYNAMIC", "--group-size", "--actorder", "--dampening-frac", "--scale-search", "[W4A16]", "[lm_head]", "--moe-routed",
                     "--dry-run", "--overwrite", ".parquet"):
            self.assertIn(word, text)

    def test_version(self):
        self.assertRegex(self.assert_succeeds(run("--version")).stdout, r"^swage \d+\.\d+\.\d+\n$")

    def test_help_and_inspect_start_at_once(self):
        model = self.model()
        for command, seconds in ((("--help",), 0.3), (("inspect", model), 0.5)):
            best = min(self.seconds_of(command) for _ in range(5))  # the least disturbed of a few
            self.assertLess(best, seconds, command)

    def seconds_of(self, command):
        start = time.monotonic()
        self.assert_succeeds(run(*command))
        return time.monotonic() - start

    def test_near_options_are_suggested(self):
        self.assert_refused(run("compress", self.model(), "-o", self.out, "--group_size", "16"), 2, "did you mean --group-size")
        self.assert_refused(run("inspekt", self.model()), 2, "did you mean inspect")


if __name__ == "__main__":
    unittest.main()
