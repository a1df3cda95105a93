"""Memory as planned at the widths of SmolLM2-135M: what a run held is at most a twentieth more than its plan, and never more than its budget. Slow."""
import json
import unittest

from support import EndToEnd, make_llama, make_text, read_json, run


class Memory(EndToEnd):
    ROWS = ("--num-calibration-samples", 256, "--max-seq-length", 128, "--group-size", 64)

    def setUp(self):
        super().setUp()
        self.text = make_text(self.folder / "calibration.jsonl", seed=1, documents=700)
        self.source = make_llama(self.folder / "model", hidden=576, inner=1536, layers=2)

    def plan(self, *arguments):
        result = self.compress(self.source, "-d", self.text, *self.ROWS, *arguments, "--dry-run", "--json")
        return json.loads(self.assert_succeeds(result).stdout)["plan"]

    def assert_held(self, plan, budget, *arguments):
        self.assert_succeeds(self.compress(self.source, "-d", self.text, *self.ROWS, *arguments, "--no-check", "--overwrite", threads=2, timeout=600))
        held = read_json(self.out / "swage_report.json")["peak_rss_bytes"]
        self.assertLessEqual(held, 1.05 * plan["peak_bytes"], arguments)
        if budget:
            self.assertLessEqual(held, budget, arguments)
            self.assertGreater(plan["rows_in_file"], 0)

    def test_a_run_holds_what_its_plan_says_and_a_budget_is_kept(self):
        for quality in ("fast", "balanced", "best"):
            with self.subTest(quality=quality):
                chosen = ("--quality", quality)
                whole = self.plan(*chosen)
                self.assert_held(whole, 0, *chosen)
                budget = int(0.8 * whole["peak_bytes"])
                bounded = (*chosen, "--max-memory", f"cpu={budget // 2**20}MiB")
                self.assert_held(self.plan(*bounded), budget, *bounded)


if __name__ == "__main__":
    unittest.main()
