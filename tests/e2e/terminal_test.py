"""What a person sees: help, the live line on a terminal, plain lines in a pipe."""
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
import time
import unittest

from support import PROGRAM, EndToEnd, environment, run


def set_columns(terminal, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def run_on_terminal(command, columns, narrowed=None, **variables):
    """Runs with stderr and stdout on a terminal of that width; returns exit code and what it showed.

    `narrowed`: (text, columns), the width that the terminal gets as soon as the text was shown.
    """
    leader, follower = pty.openpty()
    set_columns(follower, columns)
    env = {**environment(), "TERM": "xterm", **variables}
    process = subprocess.Popen([PROGRAM, *map(str, command)], stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    shown = b""
    while True:
        if narrowed and narrowed[0].encode() in shown:
            set_columns(leader, narrowed[1])
            narrowed = None
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
        live = re.findall(r"\r\x1b\[K([^\r\n\x1b]+)", shown)
        self.assertTrue(any("calibrating layer 3/3" in line for line in live), shown)
        self.assertTrue(all(len(line) < 60 for line in live if "layer" in line), live)
        # Redrawn in place: no line break between two states of the live line.
        between = shown[shown.index("calibrating layer 1/3"):shown.index("calibrating layer 3/3")]
        self.assertNotIn("\n", between)
        # Cleared before the summary, which stays.
        last_state = shown.rindex("layer 3/3")
        self.assertRegex(shown[last_state:], r"(?s)^[^\n]*\r\x1b\[K +output ")

    def test_eighty_columns_have_what_matters(self):
        code, shown = run_on_terminal(self.command(), columns=80)
        self.assertEqual(code, 0, shown)
        live = [line for line in re.findall(r"\r\x1b\[K([^\r\n\x1b]+)", shown) if "layer" in line]
        self.assertTrue(all(len(line) < 80 for line in live), live)
        whole = r"^calibrating layer [1-3]/3 .* module \d+/21 .* \d+\.\d s +ETA \d+\.\d s +[\d.]+ MiB$"
        self.assertTrue(any(re.search(whole, line) for line in live), live)
        # The first one is shown inside of layer 1, not behind it.
        self.assertRegex(live[0], r"^calibrating layer 1/3 .*module 0/21")

    def test_a_line_that_a_narrower_terminal_has_broken_is_cleared_as_a_whole(self):
        code, shown = run_on_terminal(self.command(), columns=100, narrowed=("layer 1/3", 40))
        self.assertEqual(code, 0, shown)
        longest = max(len(line) for line in re.findall(r"\r\x1b\[K([^\r\n\x1b]+)", shown) if "layer 1/3" in line)
        rows = (longest - 1) // 40
        self.assertGreater(rows, 0)
        self.assertRegex(shown, rf"\x1b\[[1-{rows}]A\r\x1b\[J")
        after = shown[shown.index("A\r\x1b[J"):]
        self.assertTrue(all(len(line) < 40 for line in re.findall(r"\x1b\[[JK]([^\r\n\x1b]+)", after) if "layer" in line), after)

    def test_a_dumb_terminal_gets_plain_lines(self):
        code, shown = run_on_terminal(self.command(), columns=80, TERM="dumb")
        self.assertEqual(code, 0, shown)
        self.assertNotIn("\x1b", shown)
        self.assertNotRegex(shown, r"\r(?!\n)")
        self.assertRegex(shown, r"(?m)^calibrating layer 3/3 ")

    def test_there_are_no_colours(self):
        _, shown = run_on_terminal(self.command(), columns=80)  # whether NO_COLOR is set or not
        self.assertNotRegex(shown, r"\x1b\[[\d;]*m")

    def test_quiet_verbose_and_a_log_file(self):
        log = self.folder / "run.log"
        quiet = self.assert_succeeds(run(*self.command("-q", "--log-file", log), threads=None))
        self.assertEqual(quiet.stderr, "")
        self.assertRegex(quiet.stdout, r"(?m)^ +perplexity +")
        text = log.read_text()
        self.assertRegex(text, r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info: plan: 21 modules")
        steps = len(re.findall(r"info: calibrating layer", text))
        self.assertGreater(steps, 3)
        refused = run(*self.command("--log-file", log), threads=None)  # the output is there: its error is logged as well
        self.assertEqual(refused.returncode, 2)
        self.assertRegex(log.read_text(), r"(?m) error: .*--overwrite replaces it$")
        verbose = self.assert_succeeds(run(*self.command("--overwrite", "-v"), threads=None))
        self.assertEqual(len(re.findall(r"(?m)^calibrating layer", verbose.stderr)), steps)
        self.assertRegex(verbose.stdout, r"(?m)^ +solve +[\d.]+ s")
        # The checks behind the last layer say how long the run still takes: until the source and the output were run.
        checks = re.findall(r"(?m)^checking layer (\d)/3  [\d.]+ s  ETA [\d.]+ s  [\d.]+ [MG]iB$", verbose.stderr)
        self.assertEqual(checks, ["1", "2", "3"] * 2, verbose.stderr)
        shutil.rmtree(self.out)
        self.assert_refused(run("compress", self.model(), "-o", self.folder / "o2", "-q", "-v"), 2, "exclude each other")
        self.assert_refused(run("compress", self.model(), "-o", self.folder / "o2", "--log-file", self.folder), 1, "log-file")

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
            self.assertEqual(text, self.assert_succeeds(run("help", command)).stdout)
            self.assertRegex(text, r"Usage: swage " + command)
            self.assertRegex(text, rf"Examples?:\n  swage {command}")
            self.assertNotIn(":POSITIVE", text)
        text = run("compress", "--help").stdout
        self.assertNotIn("accepted for LLM Compressor", text)  # what does nothing is accepted and not explained
        self.assertRegex(text, r"(?s)Only for --method gptq:\n.*--quality.*Only for --method sparsegpt, wanda, magnitude:\n.*--mask-structure")
        for word in ("W4A16_ASYM", "FP8_DYNAMIC", "--group-size", "--actorder", "--dampening-frac", "--scale-search", "[W4A16]", "[lm_head]", "--moe-routed",
                     "--dry-run", "--overwrite", ".parquet"):
            self.assertIn(word, text)

    def test_help_keeps_to_the_width(self):
        for columns in (60, 80, 100):
            for command in ("compress", "estimate", "convert", "inspect"):
                code, shown = run_on_terminal((command, "--help"), columns)
                self.assertEqual(code, 0)
                long = [line for line in shown.replace("\r", "").splitlines() if len(line) > columns]
                self.assertEqual(long, [], (command, columns))
        code, shown = run_on_terminal(("convert", "--help"), 60)
        self.assertRegex(shown.replace("\r", ""), r"Formats:\n  pack-quantized\n +compressed-tensors: [^\\]*\n  gptq\n")  # no command that goes on

    def test_version(self):
        plain = r"^swage \d+\.\d+\.\d+\n"
        for command in (("--version",), ("version",)):
            self.assertRegex(self.assert_succeeds(run(*command)).stdout, plain + "$")
        for command in (("--version", "--verbose"), ("version", "-v")):
            self.assertRegex(self.assert_succeeds(run(*command)).stdout, "(?s)" + plain + r".* build +[0-9a-f]{40}\n.* vectors +\w+( AMX)?\n.* libtorch +\d+\.\d+\.\d+, \w+")

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
