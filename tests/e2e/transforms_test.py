"""Rotations that the reader of a checkpoint computes (transform_config): read, shown, and refused where they would get lost."""
import json
import shutil
import unittest

from support import ROOT, EndToEnd, make_tokenizer, read_json, run

GOLDEN = ROOT / "tests" / "data" / "eval" / "transforms"


class Reads(EndToEnd):
    def golden(self, name):
        folder = self.folder / name
        shutil.copytree(GOLDEN / name, folder, ignore=shutil.ignore_patterns("io.safetensors"))
        make_tokenizer(folder)
        return folder

    def test_inspect_tells_matrices_from_weights(self):
        described = json.loads(self.assert_succeeds(run("inspect", self.golden("spinquant"), "--json")).stdout)
        self.assertEqual([(t["group"], t["type"], t["location"]) for t in described["transforms"]],
                         [("R3", "random-hadamard", "q_attn"), ("R3", "random-hadamard", "k_cache"), ("R4", "random-hadamard", "input")])
        schemes = {module["name"]: module["scheme"] for module in described["modules"]}
        self.assertEqual(schemes["model.layers.0.mlp.down_proj.R4_input"], "transform")
        self.assertEqual(described["totals"]["quantized_parameters"], 2 * (2 * 24 * 24 + 2 * 8 * 24 + 3 * 24 * 40))
        self.assertEqual(described["totals"]["parameters"], described["totals"]["quantized_parameters"] + 2 * 32 * 24 + 5 * 24 + 2 * (24 + 2 * 8 + 24))
        shown = self.assert_succeeds(run("inspect", self.golden("quip_v"))).stdout
        self.assertIn("v (random-hadamard) on input of Linear", shown)

    def test_what_would_lose_them_is_refused(self):
        model = self.golden("quip_v")
        why = "transform_config has activations multiplied with matrices"
        self.assert_refused(self.compress(model, "--method", "rtn", "--scheme", "W8A16", "--group-size", 8), 1, why, "compress does not carry over")
        self.assert_refused(self.compress(model, "--method", "rtn", "--scheme", "W8A8", "--model-free"), 1, why, "model-free")
        self.assert_refused(run("estimate", model, "--method", "rtn"), 1, why)
        self.assert_refused(run("convert", model, "-o", self.out, "--to", "dense"), 1, why, "convert does not carry over")


if __name__ == "__main__":
    unittest.main()
