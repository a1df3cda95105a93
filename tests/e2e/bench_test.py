"""bench: its table and its document, of one model or several."""
import json
import unittest

from support import EndToEnd, run

SMALL = ("--batch", "1,3", "--prompt-tokens", "20,40", "--new-tokens", 6, "--repeats", 2, "--threads", 1)


class Bench(EndToEnd):
    def test_the_document_has_a_run_for_each_batch_and_length(self):
        document = json.loads(self.assert_succeeds(run("bench", self.model(), *SMALL, "--json")).stdout)
        self.assertEqual(document["command"], "bench")
        (model,) = document["models"]
        self.assertEqual([(one["batch"], one["prompt_tokens"]) for one in model["runs"]], [(1, 20), (3, 20), (1, 40), (3, 40)])
        self.assertEqual(model["weights"]["scheme"], "float")
        self.assertEqual(model["machine"]["threads"], 1)
        self.assertGreater(model["machine"]["read_bytes_per_second"], 1e8)
        self.assertGreaterEqual(model["plan"]["cache_tokens"], 3 * 46)
        for one in model["runs"]:
            for name in ("prompt_tokens_per_second", "decode_tokens_per_second"):
                self.assertLess(0, one[name]["least"])
                self.assertLessEqual(one[name]["least"], one[name]["median"])
                self.assertLessEqual(one[name]["median"], one[name]["most"])
            for name in ("first_token_seconds", "token_seconds"):
                self.assertLess(0, one[name]["p50"])
                self.assertLessEqual(one[name]["p50"], one[name]["p90"])
                self.assertLessEqual(one[name]["p99"], one[name]["most"])
            self.assertLess(0, one["read_share"])
            self.assertLess(0, one["peak_rss_bytes"])

    def test_the_table_has_a_row_a_run_and_compares_models(self):
        small = self.quantized()
        result = self.assert_succeeds(run("bench", self.model(), small, *SMALL, "--markdown"))
        lines = result.stdout.splitlines()
        self.assertEqual(len(lines), 2 + 2 * 4)
        self.assertTrue(all(line.count("|") == lines[0].count("|") for line in lines), result.stdout)
        self.assertIn("W8A16", lines[-1])
        self.assertIn("GB/s read", result.stderr)
        plain = self.assert_succeeds(run("bench", small, *SMALL)).stdout.splitlines()
        self.assertEqual(len(plain), 1 + 4)
        self.assertEqual(len({len(line) for line in plain}), 1)

    def quantized(self):
        self.assert_succeeds(self.compress(self.model(), "--scheme", "W8A16", "--method", "rtn", "--group-size", 32))
        return self.out

    def test_what_makes_no_sense_is_refused(self):
        self.assert_refused(run("bench"), 2, "models")
        self.assert_refused(run("bench", self.model(), "--batch", "0"), 2, "batch")
        self.assert_refused(run("bench", self.model(), "--prompt-tokens", 500), 2, "128")
        self.assert_refused(run("bench", self.folder / "absent"), 1, "absent")


if __name__ == "__main__":
    unittest.main()
