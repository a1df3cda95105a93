"""--trace: what each thread did when, as a viewer of Chrome's format reads it."""
import collections
import json
import unittest

from resume_support import Resumed, make_long
from support import run

LAYERS = 5


class Traced(Resumed):
    def trace_of(self, way, *more):
        """The complete events by thread, and the trace's own summary."""
        path = self.folder / "trace.json"
        path.unlink(missing_ok=True)
        self.result = run("compress", make_long(self.model(), LAYERS), "-o", self.out, *self.arguments(way), "--trace", path, *more, threads=2)
        trace = json.loads(path.read_text())
        threads = collections.defaultdict(list)
        for event in trace["traceEvents"]:
            if event["ph"] == "X":
                self.assertGreaterEqual(event["dur"], 0)
                threads[event["tid"]].append(event)
        named = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"}
        self.assertEqual(set(named), set(range(len(named))))
        self.assertLessEqual(set(threads), set(named))
        self.assertEqual(named[0], "main")
        return threads, trace["otherData"]

    def assert_spans_nest(self, threads):
        for events in threads.values():
            open_ends = []
            for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
                end = round((event["ts"] + event["dur"]) * 1000)  # nanoseconds
                while open_ends and open_ends[-1] <= round(event["ts"] * 1000):
                    open_ends.pop()
                if open_ends:
                    self.assertLessEqual(end, open_ends[-1], event)
                open_ends.append(end)

    def assert_whole(self, threads, summary, names):
        self.assert_spans_nest(threads)
        events = [event for of_thread in threads.values() for event in of_thread]
        self.assertLessEqual(names, {event["name"] for event in events})
        for name in ("layer", "journal"):
            blocks = [event["args"]["block"] for event in events if event["name"] == name and "block" in event["args"]]
            self.assertEqual(sorted(blocks), list(range(LAYERS)), name)
        linears = {f"model.layers.{layer}.{name}" for layer in range(LAYERS) for name in ("self_attn.q_proj", "mlp.gate_proj", "mlp.down_proj")}
        solved = {event["args"]["module"].split(",")[0] for event in events if "module" in event["args"]}
        self.assertLessEqual(linears, solved)
        self.assertEqual(summary["dropped"], 0)
        ends = [event["ts"] + event["dur"] for event in events]
        self.assertAlmostEqual(summary["seconds"], (max(ends) - min(event["ts"] for event in events)) / 1e6, places=6)
        for share in summary["busy"].values():
            self.assertTrue(0 < share <= 1, summary)

    def test_a_calibrated_run(self):
        wanted, _ = self.undisturbed(make_long(self.model(), LAYERS), self.arguments("gptq"))
        threads, summary = self.trace_of("gptq")
        self.assert_succeeds(self.result)
        self.assert_whole(threads, summary, {"read text", "embed", "read weights", "forward", "row", "gram", "solve", "pack and write", "write", "journal", "sync",
                                             "check files", "check perplexity"})
        rows = [event for of_thread in threads.values() for event in of_thread if event["name"] == "row" and event["args"]["block"] == 1]
        self.assertEqual(len(rows) % 16, 0)  # begin() and each step, of 16 sequences
        weights = "model.safetensors"
        self.assertEqual((self.out / weights).read_bytes(), wanted[weights])  # looking on changes nothing

    def test_a_run_without_data(self):
        threads, summary = self.trace_of("rtn")
        self.assert_succeeds(self.result)
        self.assert_whole(threads, summary, {"solve, pack and write", "read, round and write", "write", "journal", "sync"})

    def test_a_model_free_run(self):
        threads, summary = self.trace_of("model_free")
        self.assert_succeeds(self.result)
        self.assert_spans_nest(threads)
        modules = {event["args"].get("module") for of_thread in threads.values() for event in of_thread if event["name"] == "quantize"}
        self.assertEqual(len(modules), LAYERS * 7)

    def test_a_run_that_fails_has_one_too(self):
        threads, _ = self.trace_of("gptq", "--max-memory", "cpu=1MiB")
        self.assertEqual(self.result.returncode, 2, self.result.stderr)
        self.assertFalse(self.out.exists())
        self.assertEqual([event["name"] for event in threads[0]], ["read text"])

    def test_a_trace_that_cannot_be_written_is_said_before_the_work(self):
        result = run("compress", self.model(), "-o", self.out, *self.arguments("rtn"), "--trace", self.folder / "missing" / "trace.json")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, "missing/")
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    unittest.main()
