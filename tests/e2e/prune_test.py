"""Pruning: zeros where they were asked for, plain checkpoints, quantization behind it, and what is refused."""
import json
import struct
import unittest

from support import EndToEnd, read_checkpoint, run

CALIBRATION = ("--num-calibration-samples", 8, "--max-seq-length", 32)


def rows_of(tensor):
    """The values of a bf16 matrix, as raw 16-bit numbers without their signs, row by row."""
    dtype, shape, data = tensor
    assert dtype == "BF16", dtype
    values = [bits & 0x7FFF for bits in struct.unpack(f"<{len(data) // 2}H", data)]
    return [values[i:i + shape[1]] for i in range(0, len(values), shape[1])]


def zeros_in_groups(tensor, group):
    return {sum(v == 0 for v in row[i:i + group]) for row in rows_of(tensor) for i in range(0, len(row), group)}


def is_pruned(name):
    return name.endswith("_proj.weight")


class Prune(EndToEnd):
    def prune(self, *arguments, model="llama32_tied", out="out", threads=1):
        self.source = self.model(model)
        out = self.folder / out
        self.assert_succeeds(self.compress(self.source, "-d", self.text, *CALIBRATION, *arguments, out=out, threads=threads))
        return out

    def report(self, out):
        return json.loads((out / "swage_report.json").read_text())

    def test_every_method_leaves_a_plain_model_with_two_zeros_of_four(self):
        for method in ("sparsegpt", "wanda", "magnitude"):
            with self.subTest(method):
                out = self.prune("--method", method, "--mask-structure", "2:4", out=method)
                before, after = read_checkpoint(self.source), read_checkpoint(out)
                self.assertEqual({n: t[:2] for n, t in before.items()}, {n: t[:2] for n, t in after.items()})
                for name in after:
                    if is_pruned(name):
                        self.assertLessEqual({2}, zeros_in_groups(after[name], 4), name)
                        self.assertGreaterEqual(min(zeros_in_groups(after[name], 4)), 2, name)
                    else:
                        self.assertEqual(before[name], after[name], name)
                self.assertNotIn("quantization_config", json.loads((out / "config.json").read_text()))
                modules = self.report(out)["modules"]
                self.assertEqual(len(modules), sum(map(is_pruned, after)))
                self.assertTrue(all(m["scheme"] == "2:4" and m["sparsity"] >= 0.5 for m in modules))
                self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32, "--json"))

    def test_unstructured_and_the_saved_recipe(self):
        out = self.prune("--method", "sparsegpt", "--sparsity", "0.7")
        for name, tensor in read_checkpoint(out).items():
            if is_pruned(name):
                values = sum(rows_of(tensor), [])
                self.assertAlmostEqual(sum(v == 0 for v in values) / len(values), 0.7, delta=0.01)
        again = self.prune("--recipe", out / "recipe.yaml", out="again")
        self.assertEqual(read_checkpoint(out), read_checkpoint(again))

    def test_threads_do_not_matter(self):
        for structure in (("--mask-structure", "2:4"), ("--sparsity", "0.5")):
            one, two = (self.prune("--method", "sparsegpt", *structure, "--overwrite", out=f"{threads}", threads=threads) for threads in (1, 2))
            self.assertEqual(read_checkpoint(one), read_checkpoint(two))

    def recipe(self, *modifiers):
        path = self.folder / "recipe.yaml"
        path.write_text(json.dumps({"default_stage": {"default_modifiers": dict(modifiers)}}))
        return path

    def test_quantized_behind_it_the_zeros_stay(self):
        prune = ("SparseGPTModifier", {"mask_structure": "2:4", "ignore": ["re:.*lm_head"]})
        for name, scheme in (("GPTQModifier", "W4A16"), ("QuantizationModifier", "W4A16"), ("GPTQModifier", "FP8_DYNAMIC")):
            with self.subTest(f"{name} {scheme}"):
                fields = {"scheme": scheme, "ignore": ["re:.*lm_head"], **({"group_size": 16} if scheme == "W4A16" else {})}
                out = self.prune("--recipe", self.recipe(prune, (name, fields)), "--overwrite")
                self.assertTrue(all(m["scheme"].endswith(", 2:4") and m["sparsity"] >= 0.5 for m in self.report(out)["modules"]))
                dense = self.folder / "dense"
                self.assert_succeeds(run("convert", out, dense, "--to", "dense", "--overwrite"))
                for tensor, value in read_checkpoint(dense).items():
                    if is_pruned(tensor):
                        self.assertGreaterEqual(min(zeros_in_groups(value, 4)), 2, tensor)

    def test_zeros_of_the_source_stay_where_asked(self):
        pruned = self.prune("--method", "magnitude", "--mask-structure", "2:4", out="pruned")
        recipe = self.recipe(("ConstantPruningModifier", {"ignore": ["re:.*lm_head"]}), ("GPTQModifier", {"scheme": "W4A16", "group_size": 16, "ignore": ["re:.*lm_head"]}))
        out, dense = self.folder / "out", self.folder / "dense"
        self.assert_succeeds(self.compress(pruned, "-d", self.text, *CALIBRATION, "--recipe", recipe, out=out))
        self.assert_succeeds(run("convert", out, dense, "--to", "dense"))
        for name, value in read_checkpoint(dense).items():
            if is_pruned(name):
                self.assertGreaterEqual(min(zeros_in_groups(value, 4)), 2, name)

    def test_owl_gives_each_layer_its_share(self):
        out = self.prune("--method", "sparsegpt", "--sparsity", "0.6", "--sparsity-profile", "owl", "--owl-m", 3, "--owl-lmbda", "0.1")
        shares = {}
        for name, tensor in read_checkpoint(out).items():
            if is_pruned(name):
                values = sum(rows_of(tensor), [])
                shares.setdefault(name.split(".")[2], []).append(sum(v == 0 for v in values) / len(values))
        means = [sum(layer) / len(layer) for layer in shares.values()]
        for layer in shares.values():
            self.assertLess(max(layer) - min(layer), 0.02)  # one share a layer
        self.assertAlmostEqual(max(means) - min(means), 0.2, delta=0.02)  # from one end to the other: twice owl_lmbda
        self.assertAlmostEqual(sum(means) / len(means), 0.6, delta=0.02)

    def test_experts_are_pruned_too(self):
        out = self.prune("--method", "wanda", "--mask-structure", "1:2", model="mixtral")
        experts = [n for n in read_checkpoint(out) if ".experts." in n and n.endswith(".weight")]
        self.assertTrue(experts)
        for name in experts:
            self.assertGreaterEqual(min(zeros_in_groups(read_checkpoint(out)[name], 2)), 1, name)

    def test_what_makes_no_sense_is_refused(self):
        model = self.model("llama32_tied")
        for arguments, message in ((("--method", "sparsegpt"), "give a sparsity"), (("--method", "wanda", "--sparsity", "1.5"), "from 0 to 1"),
                                   (("--method", "wanda", "--mask-structure", "7:9"), "do not split into groups of 9"),
                                   (("--method", "magnitude", "--sparsity", "0.5", "--model-free"), "not supported model-free")):
            result = self.compress(model, "-d", self.text, *CALIBRATION, *arguments, out=self.folder / "never")
            self.assertNotEqual(result.returncode, 0, arguments)
            self.assertIn(message, result.stderr)
            self.assertFalse((self.folder / "never").exists())


if __name__ == "__main__":
    unittest.main()
