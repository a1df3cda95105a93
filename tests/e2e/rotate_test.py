"""Rotations folded into the weights before a quantizer: the function stays, outliers are spread, and what would change the model is refused."""
import json
import shutil
import signal
import unittest

from support import EndToEnd, contents, make_llama, read_checkpoint, read_json, read_safetensors, run, write_safetensors
from resume_support import Resumed, make_long
from rescale_test import channel_rounding, shifted

OUTLIERS = 5  # 2^5 times the other channels of the residual stream


def spin_quant(**fields):
    return "SpinQuantModifier", fields


def gptq(**fields):
    return "GPTQModifier", {"scheme": "W4A16", "group_size": 16, "ignore": ["re:.*lm_head"], **fields}


class Rotate(EndToEnd):
    def compress_with(self, model, *modifiers, out=None, more=(), **keywords):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(json.dumps({"default_stage": {"default_modifiers": dict(modifiers)}}))
        return self.compress(model, "--recipe", recipe, *(more or ("-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32)), out=out, **keywords)

    def divergence(self, model, *modifiers, more=()):
        out = self.folder / "compressed"
        self.assert_succeeds(self.compress_with(model, *modifiers, out=out, more=more))
        result = self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32, "--baseline", model, "--json"))
        shutil.rmtree(out)
        return json.loads(result.stdout)["kl_mean"]

    def test_the_function_stays_as_it_is(self):
        """With 8 bits a row little is lost, so that a rotation that is no identity would stand out."""
        rounding = channel_rounding(8)
        for name in ("llama32_tied", "mixtral", "qwen3_moe_fused"):
            model = self.model(name)
            plain = self.divergence(model, rounding)
            for fields in ({}, {"transform_type": "random-hadamard"}, {"transform_type": "random-matrix", "randomize": True, "seed": 3}, {"rotations": ["R2"]},
                           {"rotations": ["R1"], "transform_block_size": 8}):
                for more in ((), ("--no-check",)):  # calibrated for its text, or without data
                    with self.subTest(f"{name} {fields} {more}"):
                        self.assertLess(self.divergence(model, spin_quant(**fields), rounding, more=more), 4 * plain + 1e-4)

    def test_what_is_not_quantized_is_rotated_too(self):
        rounding = channel_rounding(8)
        rounding[1]["ignore"] = ["re:.*lm_head", "re:.*[kv]_proj", "re:.*o_proj", "re:.*up_proj"]
        plain = self.divergence(self.model(), channel_rounding(8))
        self.assertLess(self.divergence(self.model(), spin_quant(), rounding), 4 * plain + 1e-4)

    def test_values_of_opt_are_rotated(self):
        rounding = channel_rounding(8)
        plain = self.divergence(self.model("opt"), rounding)
        self.assertLess(self.divergence(self.model("opt"), spin_quant(rotations=["R2"]), rounding), 4 * plain + 1e-4)

    def test_the_head_is_untied(self):
        model = self.model()
        self.assert_succeeds(self.compress(model, *self.calibrated("--rotate", "R1,R2")))
        out, source = read_checkpoint(self.out), read_checkpoint(model)
        config = read_json(self.out / "config.json")
        self.assertIs(config["tie_word_embeddings"], False)
        self.assertNotIn("lm_head.weight", source)
        self.assertEqual(out["lm_head.weight"][:2], source["model.embed_tokens.weight"][:2])
        self.assertNotEqual(out["model.embed_tokens.weight"][2], source["model.embed_tokens.weight"][2])
        for name in ("model.norm.weight", "model.layers.1.input_layernorm.weight", "model.layers.2.post_attention_layernorm.weight"):
            self.assertEqual(set(out[name][2][1::2]), {0x3F}, name)  # bf16 ones
            self.assertEqual(set(out[name][2][0::2]), {0x80}, name)
        self.assertIn("lm_head", config["quantization_config"]["ignore"])
        described = json.loads(self.assert_succeeds(run("inspect", self.out, "--json")).stdout)
        self.assertEqual(sum(m["scheme"] != "float" for m in described["modules"]), 21)
        self.assertIn("text", json.loads(self.assert_succeeds(run("generate", self.out, "-p", "the river", "--max-new-tokens", 3, "--json")).stdout))
        self.assertIn("SpinQuantModifier", (self.out / "recipe.yaml").read_text())
        again = self.folder / "again"  # the recipe that was written says the same
        self.assert_succeeds(self.compress(model, "--recipe", self.out / "recipe.yaml", "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, out=again))
        self.assertEqual(contents(again), contents(self.out))

    def test_values_alone_leave_embedding_norms_and_head(self):
        model = self.model()
        self.assert_succeeds(self.compress(model, "--method", "rtn", "--group-size", 16, "--rotate", "R2"))
        out, source = read_checkpoint(self.out), read_checkpoint(model)
        for name in ("model.embed_tokens.weight", "model.norm.weight", "model.layers.1.input_layernorm.weight"):
            self.assertEqual(out[name], source[name])
        self.assertNotIn("lm_head.weight", out)
        self.assertIs(read_json(self.out / "config.json")["tie_word_embeddings"], True)

    def test_the_untied_head_can_be_quantized(self):
        model = self.model()
        for more in (("--method", "rtn"), self.calibrated()):
            self.assert_succeeds(self.compress(model, "--rotate", "R1", "--scheme", "W8A16", "--group-size", 16, "--ignore", "re:.*q_proj", *more, out=self.out))
            self.assertIn("lm_head.weight_packed", read_checkpoint(self.out))
            shutil.rmtree(self.out)

    def test_outlier_channels_of_the_stream_are_spread(self):
        """Channels that every layer reads and that the embedding makes large hurt activations of 8 bits."""
        model = make_llama(self.folder / "outliers", tied=False)
        tensors = read_safetensors(model / "model.safetensors")
        large, always = (lambda channel: channel % 32 == 5), (lambda _: True)
        for name in list(tensors):
            if name.endswith("layernorm.weight"):
                tensors[name] = shifted(tensors[name], OUTLIERS, always, large)
        write_safetensors(model / "model.safetensors", tensors)
        rounding = ("QuantizationModifier", {"targets": ["Linear"], "ignore": ["re:.*lm_head"], "scheme": "W8A8"})
        plain, rotated = self.divergence(model, rounding), self.divergence(model, spin_quant(rotations=["R1"], transform_type="random-hadamard"), rounding)
        self.assertGreater(plain, 2 * rotated)

    def test_other_modifiers_follow_in_the_same_pass(self):
        model = self.model()
        for between in ([], [("SmoothQuantModifier", {})], [("AWQModifier", {})], [("MagnitudePruningModifier", {"sparsity": 0.1, "ignore": ["lm_head"]})]):
            with self.subTest(between):
                self.assert_succeeds(self.compress_with(model, spin_quant(), *between, gptq(), more=()))
                shutil.rmtree(self.out)

    def test_threads_seeds_and_plans(self):
        model = self.model("mixtral")
        outs = []
        for threads, seed in ((1, 7), (3, 7), (1, 8)):
            out = self.folder / f"out-{threads}-{seed}"
            self.assert_succeeds(self.compress(model, *self.calibrated("--rotate", "R1,R2", "--seed", seed), out=out, threads=threads))
            outs.append(contents(out))
        self.assertEqual(outs[0], outs[1])
        self.assertNotEqual(outs[0]["model.safetensors"], outs[2]["model.safetensors"])

    def test_the_plan_knows_the_untied_head(self):
        model = make_llama(self.folder / "tied", tied=True)
        arguments = ("--rotate", "R1,R2", "--group-size", 16, "--num-calibration-samples", 8, "--max-seq-length", 32)
        self.assert_succeeds(self.compress(model, *arguments, "-d", self.text))
        plan = read_json(self.out / "swage_report.json")["plan"]
        size = sum(len(data) for _, _, data in read_checkpoint(self.out).values())
        self.assertEqual(plan["output_bytes"], size)
        estimated = json.loads(self.assert_succeeds(run("estimate", model, *arguments, "--json")).stdout)["plan"]
        self.assertEqual(estimated["output_bytes"], size)
        self.assertEqual(estimated["bits_per_weight"], plan["bits_per_weight"])

    def test_refusals(self):
        model, opt = self.model(), self.model("opt")
        narrow = make_llama(self.folder / "narrow", hidden=184, inner=128)  # 46 columns a head, of which no Hadamard matrix is known
        bad = [
            (2, opt, (spin_quant(), gptq()), ("rotation R1", "LayerNorm")),
            (2, narrow, (spin_quant(rotations=["R2"]), channel_rounding(8)), ("rotation R2 of 46 columns", "no Hadamard matrix", "random-matrix")),
            (2, narrow, (spin_quant(rotations=["R1"]), channel_rounding(8)), ("rotation R1 of 184 columns",)),
            (2, model, (spin_quant(transform_block_size=7), gptq()), ("rotation R1: 32 columns do not split into blocks of 7",)),
            (2, model, (spin_quant(rotations=["S1"]), gptq()), ("S1", "expected R1, R2, R3 or R4")),
            (2, model, (gptq(), spin_quant()), ("SpinQuantModifier stands behind GPTQModifier", "put it first")),
            (2, model, (spin_quant(),), ("quantizes nothing",)),
            (2, model, (spin_quant(), ("MagnitudePruningModifier", {"sparsity": 0.1}), gptq()), ("lm_head.weight", "from the embedding", "add it to ignore")),
        ]
        for code, source, modifiers, parts in bad:
            with self.subTest(parts):
                self.assert_refused(self.compress_with(source, *modifiers), code, *parts)

    def test_refusals_of_the_short_form(self):
        model = self.model()
        self.assert_refused(self.compress(model, *self.calibrated("--rotate", "R9")), 2, "--rotate", "R9")
        self.assert_refused(self.compress_with(model, gptq(), more=("-d", self.text, "--rotate", "R1")), 2, "SpinQuantModifier into .*recipe.yaml instead of --rotate")
        self.assert_refused(self.compress(model, "--method", "rtn", "--group-size", 16, "--rotate", "R1", "--model-free"), 2, "rotations are not supported model-free")

    def test_a_quantized_source_is_refused(self):
        first = self.folder / "first"
        self.assert_succeeds(self.compress(self.model(), "--method", "rtn", "--scheme", "W8A16", "--group-size", 16, out=first))
        self.assert_refused(self.compress(first, "--method", "rtn", "--group-size", 16, "--rotate", "R2"), 2, "is stored quantized", "swage convert --to dense")


class GoesOn(Resumed):
    def test_a_run_that_rotates(self):
        model = make_long(self.model(), 4)
        for more in (self.calibrated(), ("--method", "rtn", "--group-size", "16")):
            arguments = [str(argument) for argument in ("--rotate", "R1,R2", *more)]
            with self.subTest(arguments=arguments):
                wanted, _ = self.undisturbed(model, arguments)
                for number in (6, 5):
                    code, err = self.with_faults(model, arguments, "sync", number, "crash", self.folder)
                    self.assertEqual(code, -signal.SIGKILL, err)
                for other in (["--rotate", "R1"], ["--rotate", "R1,R2", "--seed", "8"], []):
                    refused = self.compress(model, *other, *map(str, more))
                    self.assertEqual(refused.returncode, 2, refused.stderr)
                    self.assertRegex(refused.stderr, "but it is not the same: .*(recipe|seed)")
                self.assertRegex(self.go_on(model, arguments, wanted), "gone on with")
                shutil.rmtree(self.out)


if __name__ == "__main__":
    unittest.main()
