"""The same bytes and the same report for any number of threads, at the widths of SmolLM2-135M; how many threads there are, and how they wait."""
import concurrent.futures
import os
import subprocess
import unittest

from support import PROGRAM, EndToEnd, contents, environment, make_llama, make_text, read_json

STAGE = "default_stage:\n  default_modifiers:\n"


def gptq(scheme):
    return f"GPTQModifier: {{targets: [Linear], ignore: [lm_head], scheme: {scheme}}}"


class Threads(EndToEnd):
    rows, length = 6, 64
    shape = {"hidden": 576, "inner": 1536, "layers": 1}

    def setUp(self):
        super().setUp()
        self.text = make_text(self.folder / "calibration.jsonl", seed=1, documents=40)
        self.source = make_llama(self.folder / "model", **self.shape)

    def recipe(self, *lines):
        path = self.folder / "recipe.yaml"
        path.write_text(STAGE + "".join(f"    {line}\n" for line in lines))
        return ("--recipe", path)

    def assert_same(self, *arguments, threads=(1, 2), rows=None, data=True, check=False):
        """With each of these numbers of threads, at the same time; what is compared holds weights and report, but for times."""
        if data:
            arguments += ("-d", self.text, "--num-calibration-samples", rows or self.rows, "--max-seq-length", self.length)
        if not check:
            arguments += ("--no-check",)
        outs = [self.folder / f"out{number}" for number in threads]
        with concurrent.futures.ThreadPoolExecutor(len(threads)) as pool:
            for result in pool.map(lambda out, number: self.compress(self.source, *arguments, "--overwrite", out=out, threads=number, timeout=600), outs, threads):
                self.assert_succeeds(result)
        found = [contents(out) for out in outs]
        for number, other in zip(threads[1:], found[1:]):
            for name in found[0]:
                self.assertTrue(other[name] == found[0][name], f"{name} differs between {threads[0]} and {number} threads")
            self.assertEqual(sorted(other), sorted(found[0]))


class RealWidths(Threads):
    def test_best(self):
        self.source = make_llama(self.folder / "two", **{**self.shape, "layers": 2})  # the second starts from what the first lacks
        self.assert_same("--group-size", 64, "--quality", "best", threads=(1, 2, 3))

    def test_the_default_with_its_check(self):
        self.assert_same("--group-size", 64, check=True)

    def test_fast_in_the_order_of_groups(self):
        self.assert_same("--group-size", 64, "--quality", "fast", "--scheme", "W4A16_ASYM", "--actorder", "group")

    def test_nvfp4(self):
        self.assert_same("--scheme", "NVFP4", "--target", "inputs")

    def test_awq(self):
        self.assert_same(*self.recipe("AWQModifier: {}", gptq("W4A16_ASYM, group_size: 64")))

    def test_sparsegpt(self):
        self.assert_same("--method", "sparsegpt", "--sparsity", 0.5, "--mask-structure", "2:4")


class Machine(EndToEnd):
    def spin_count(self, **variables):
        """How often a waiting thread turns before it sleeps, as the OpenMP runtime says it when it is loaded."""
        env = {key: value for key, value in environment().items() if not key.startswith(("OMP_", "GOMP_"))}
        result = subprocess.run([PROGRAM, "eval", self.folder / "absent", "-d", self.text], capture_output=True, text=True,
                                env={**env, "OMP_DISPLAY_ENV": "verbose", **variables})
        lines = [line for line in result.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
        self.assertEqual(len(lines), 1, result.stderr)
        return lines[0].split("'")[1]

    def test_a_thread_that_waits_leaves_the_processor_to_others_soon(self):
        self.assertEqual(self.spin_count(), "1000")

    def test_the_user_may_say_how_threads_wait(self):
        self.assertEqual(self.spin_count(GOMP_SPINCOUNT="77"), "77")
        self.assertEqual(self.spin_count(OMP_WAIT_POLICY="passive"), "0")

    def threads_of(self, *arguments, **keywords):
        self.assert_succeeds(self.compress(self.model(), "--method", "rtn", "--group-size", 16, "--overwrite", *arguments, threads=0, **keywords))
        return read_json(self.out / "swage_report.json")["threads"]

    def test_threads_follow_the_affinity_mask(self):
        one = min(os.sched_getaffinity(0))
        self.assertEqual(self.threads_of(preexec_fn=lambda: os.sched_setaffinity(0, {one})), 1)
        self.assertLessEqual(self.threads_of(), len(os.sched_getaffinity(0)))
        self.assertEqual(self.threads_of("--threads", 5, preexec_fn=lambda: os.sched_setaffinity(0, {one})), 5)

    def test_a_mistyped_number_of_threads_is_refused(self):
        for command in (("compress", self.model(), "-o", self.out, "--method", "rtn", "--group-size", 16), ("eval", self.model(), "-d", self.text)):
            with self.subTest(command=command[0]):
                result = subprocess.run([PROGRAM, *map(str, command), "--threads", "100000"], capture_output=True, text=True, env=environment())
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertRegex(result.stderr.splitlines()[-1], r"^swage: error: threads 100000: expected a number from 0, .* to 1024$")
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main()
