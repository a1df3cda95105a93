"""Pruning experts: whose weights stay under which names, what the reports say, quantization behind it, going on when killed, and what is refused."""
import json
import random
import shutil
import signal
import unittest

from resume_support import Resumed
from support import bf16, edit_json, make_tokenizer, ones, read_checkpoint, read_json, read_safetensors, run, write_json, write_safetensors

CALIBRATION = ("--num-calibration-samples", 8, "--max-seq-length", 32)
GROUPS = ("--group-size", 8)


def prefix_of(layer):
    return f"model.layers.{layer}."


def make_mixture(folder, hidden=128, inner=256, experts=8, layers=2):
    """A random Qwen3-MoE, its experts one by one."""
    draw, tensors = random.Random(11), {"model.embed_tokens.weight": bf16(random.Random(5), 128, hidden), "model.norm.weight": ones(hidden)}
    tensors["lm_head.weight"] = bf16(draw, 128, hidden)
    for layer in range(layers):
        prefix = prefix_of(layer)
        for name, rows in (("q_proj", hidden), ("k_proj", hidden // 2), ("v_proj", hidden // 2), ("o_proj", hidden)):
            tensors[f"{prefix}self_attn.{name}.weight"] = bf16(draw, rows, hidden)
        for name, size in (("input_layernorm", hidden), ("post_attention_layernorm", hidden), ("self_attn.q_norm", hidden // 4), ("self_attn.k_norm", hidden // 4)):
            tensors[f"{prefix}{name}.weight"] = ones(size)
        tensors[f"{prefix}mlp.gate.weight"] = bf16(draw, experts, hidden)
        for expert in range(experts):
            for name, rows, columns in (("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)):
                tensors[f"{prefix}mlp.experts.{expert}.{name}.weight"] = bf16(draw, rows, columns)
    make_tokenizer(folder)
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "dtype": "bfloat16", "hidden_size": hidden, "head_dim": hidden // 4,
                                        "intermediate_size": inner, "moe_intermediate_size": inner, "num_experts": experts, "num_experts_per_tok": 2, "norm_topk_prob": True,
                                        "decoder_sparse_step": 1, "mlp_only_layers": [], "num_hidden_layers": layers, "vocab_size": 128, "num_attention_heads": 4,
                                        "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "max_position_embeddings": 128, "hidden_act": "silu"})
    return folder


def make_idle(folder, source):
    """The mixtral at `source` with six experts, of which the router never chooses the last two: its rows are u, -u, v, -v, 0, 0."""
    shutil.copytree(source, folder)
    tensors = read_safetensors(folder / "model.safetensors")
    for layer in range(3):
        moe = f"{prefix_of(layer)}block_sparse_moe."
        dtype, (_, columns), data = tensors[moe + "gate.weight"]
        u, v = data[:2 * columns], data[2 * columns:4 * columns]
        negative = [bytes(b ^ (0x80 * (i % 2)) for i, b in enumerate(row)) for row in (u, v)]
        tensors[moe + "gate.weight"] = (dtype, [6, columns], u + negative[0] + v + negative[1] + bytes(4 * columns))
        for expert in (4, 5):
            for name in ("w1", "w2", "w3"):
                tensors[f"{moe}experts.{expert}.{name}.weight"] = tensors[f"{moe}experts.{expert - 4}.{name}.weight"]
    write_safetensors(folder / "model.safetensors", tensors)
    edit_json(folder / "config.json", num_local_experts=6)
    return folder


class Experts(Resumed):
    def prune(self, model, *arguments, out="out", threads=1):
        out = self.folder / out
        result = self.assert_succeeds(self.compress(model, "-d", self.text, *CALIBRATION, *arguments, out=out, threads=threads))
        self.messages = result.stderr
        return out

    def pruning(self, out):
        return read_json(out / "swage_report.json")["expert_pruning"]

    def retained(self, out):
        return [layer["retained"] for layer in self.pruning(out)["layers"]]

    def recipe(self, *modifiers):
        path = self.folder / "recipe.yaml"
        path.write_text(json.dumps({"default_stage": {"default_modifiers": dict(modifiers)}}))
        return path

    def test_those_that_stay_are_the_sources_under_new_numbers(self):
        model = self.model("mixtral")
        out = self.prune(model, "--method", "reap", "--sparsity", "0.25")
        before, after = read_checkpoint(model), read_checkpoint(out)
        wanted = {name: tensor for name, tensor in before.items() if ".block_sparse_moe." not in name}
        for layer, kept in enumerate(self.retained(out)):
            self.assertEqual(len(kept), 3)
            moe = f"{prefix_of(layer)}block_sparse_moe."
            for place, expert in enumerate(kept):
                for name in ("w1", "w2", "w3"):
                    wanted[f"{moe}experts.{place}.{name}.weight"] = before[f"{moe}experts.{expert}.{name}.weight"]
            dtype, (_, columns), data = before[moe + "gate.weight"]
            rows = [data[2 * columns * expert:2 * columns * (expert + 1)] for expert in kept]
            wanted[moe + "gate.weight"] = (dtype, [3, columns], b"".join(rows))
        self.assertEqual(after, wanted)
        config = read_json(out / "config.json")
        self.assertEqual(config, {**read_json(model / "config.json"), "num_local_experts": 3})
        self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32))
        again = self.prune(model, "--recipe", out / "recipe.yaml", out="again")
        self.assertEqual(read_checkpoint(again), after)

    def test_of_a_rotated_model_the_same_stay(self):
        """A rotation leaves the function as it is: the same experts go, and what is left is the same model up to the rounding of its weights to bf16."""
        for name in ("mixtral", "qwen3_moe_fused"):
            with self.subTest(name):
                model = self.model(name)
                reap = ("REAPPruningModifier", {"sparsity": 0.25})
                plain = self.prune(model, "--recipe", self.recipe(reap), out=f"{name}-plain")
                turned = self.prune(model, "--recipe", self.recipe(("SpinQuantModifier", {"rotations": ["R1"], "transform_type": "random-matrix"}), reap), out=f"{name}-turned")
                self.assertEqual(self.retained(turned), self.retained(plain))
                self.assertNotEqual(read_checkpoint(turned), read_checkpoint(plain))
                self.assertEqual(sorted(read_checkpoint(turned)), sorted(read_checkpoint(plain)))
                losses = [self.perplexity(out) for out in (plain, turned)]
                self.assertLess(abs(losses[1] / losses[0] - 1), 2e-3)  # 2^-9 for each weight, over three layers
                quantized = self.prune(model, "--method", "rtn", "--rotate", "R1", "--prune-experts", "0.25", *GROUPS, out=f"{name}-quantized")
                self.assertEqual(self.retained(quantized)[0], self.retained(plain)[0])  # later layers see what rounding made of those before
                self.assertLess(abs(self.perplexity(quantized) / losses[0] - 1), 0.2)

    def perplexity(self, model):
        return json.loads(self.assert_succeeds(run("eval", model, "-d", self.text, "--window", 32, "--json")).stdout)["perplexity"]

    def test_experts_in_one_tensor_stay_in_one(self):
        model = self.model("qwen3_moe_fused")
        out = self.prune(model, "--method", "reap", "--sparsity", "0.5")
        before, after = read_checkpoint(model), read_checkpoint(out)
        self.assertEqual(sorted(before), sorted(after))
        changed = [name for name in before if before[name] != after[name]]
        self.assertEqual(sorted(name.split(".", 3)[3] for name in changed), sorted(["mlp.gate.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"] * 3))
        for name in changed:
            dtype, shape, data = before[name]
            kept, size = self.retained(out)[int(name.split(".")[2])], len(data) // 4
            self.assertEqual(after[name], (dtype, [2, *shape[1:]], b"".join(data[size * e:size * (e + 1)] for e in kept)))
        self.assertEqual(read_json(out / "config.json")["num_local_experts"], 2)
        self.assert_succeeds(run("generate", out, "--prompt", "the river", "--max-new-tokens", 4))

    def test_reports_say_what_was_found(self):
        own = self.folder / "new" / "folder" / "experts.json"
        out = self.prune(self.model("mixtral"), "--method", "reap", "--sparsity", "0.25", "--report-path", own)
        pruning = self.pruning(out)
        self.assertEqual(read_json(own), pruning)
        self.assertEqual((pruning["modifier"], pruning["experts"], pruning["stay"]), ("REAPPruningModifier", 4, 3))
        self.assertEqual([layer["layer"] for layer in pruning["layers"]], [f"{prefix_of(b)}block_sparse_moe" for b in range(3)])
        for layer in pruning["layers"]:
            experts = layer["experts"]
            self.assertEqual([e["expert"] for e in experts], [0, 1, 2, 3])
            self.assertEqual(sum(e["tokens"] for e in experts), 2 * 8 * 32)
            self.assertEqual([e["expert"] for e in experts if e["kept"]], layer["retained"])
            dropped = min(experts, key=lambda e: e["score"])
            self.assertFalse(dropped["kept"])
            share = dropped["score"] * dropped["tokens"] / sum(e["score"] * e["tokens"] for e in experts)
            self.assertAlmostEqual(layer["lost_share"], share)
        self.assertEqual(read_json(out / "swage_report.json")["modules"], [])
        self.assertIn("<h2>Experts</h2>", (out / "swage_report.html").read_text())

    def test_rounding_behind_it_rounds_those_that_stay(self):
        """Each expert is what round-to-nearest makes of it in the source."""
        for name in ("mixtral", "qwen3_moe_fused"):
            with self.subTest(name):
                model = self.model(name)
                plain = self.prune(model, "--method", "rtn", *GROUPS, out=f"{name}-plain")
                out = self.prune(model, "--method", "rtn", "--prune-experts", "0.25", *GROUPS, out=f"{name}-pruned")
                whole, found = read_checkpoint(plain), read_checkpoint(out)
                experts = [n for n in found if ".experts." in n]
                self.assertEqual(len(experts), 3 * len([n for n in whole if ".experts.0." in n]))
                for tensor in experts:
                    head, rest = tensor.split(".experts.")
                    place, rest = rest.split(".", 1)
                    expert = self.retained(out)[int(head.split(".")[2])][int(place)]
                    self.assertEqual(found[tensor], whole[f"{head}.experts.{expert}.{rest}"], tensor)
                for tensor in set(whole) - set(n for n in whole if ".experts." in n or n.endswith("gate.weight")):
                    self.assertEqual(found[tensor], whole[tensor], tensor)
                self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32))

    def test_every_modifier_can_stand_behind_it(self):
        reap = ("REAPPruningModifier", {"sparsity": 0.25})
        fields = {"targets": ["Linear"], "ignore": ["lm_head"], "scheme": "W4A16_ASYM", "group_size": 8}
        static = {"targets": ["Linear"], "ignore": ["lm_head"], "scheme": "FP8"}
        chains = [[("GPTQModifier", fields)], [("SmoothQuantModifier", {}), ("GPTQModifier", fields)], [("AWQModifier", {}), ("QuantizationModifier", fields)],
                  [("QuantizationModifier", static)], [("SparseGPTModifier", {"mask_structure": "2:4", "ignore": ["lm_head"]}), ("GPTQModifier", fields)],
                  [("GPTQModifier", {**fields, "quality": "best"})], [("GPTQModifier", {**fields, "ignore": ["lm_head", "re:.*experts.*"]})]]
        for name in ("mixtral", "qwen3_moe_fused"):
            for chain in chains:
                for more in ((), ("--moe-routed",)):
                    with self.subTest(model=name, chain=[modifier for modifier, _ in chain], more=more):
                        out = self.prune(self.model(name), "--recipe", self.recipe(reap, *chain), "--overwrite", *more)
                        self.assertEqual(read_json(out / "config.json")["num_local_experts"], 3)
                        self.assertFalse([n for n in read_checkpoint(out) if ".experts.3." in n])
                        self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32))

    def test_idle_experts_go_first_and_nothing_is_lost(self):
        model = make_idle(self.folder / "idle", self.model("mixtral"))
        out = self.prune(model, "--method", "reap", "--sparsity", "0.34")
        self.assertEqual(self.retained(out), [[0, 1, 2, 3]] * 3)
        self.assertRegex(self.messages, r"gate: no calibration token was routed to experts 4, 5, which therefore go first")
        report = read_json(out / "swage_report.json")
        self.assertEqual(len(report["warnings"]), 3)
        self.assertEqual([layer["lost_share"] for layer in report["expert_pruning"]["layers"]], [0] * 3)
        self.assertAlmostEqual(report["check"]["source_perplexity"], report["check"]["output_perplexity"], places=4)

    def test_threads_and_routing_do_not_matter(self):
        for name in ("mixtral", "qwen3_moe_fused"):
            model = self.model(name)
            one, two = (self.prune(model, "--method", "gptq", "--prune-experts", "0.5", *GROUPS, out=f"{name}{n}", threads=n) for n in (1, 2))
            self.assertEqual(read_checkpoint(one), read_checkpoint(two))
            self.assertEqual(self.pruning(one), self.pruning(two))
            every, routed = (self.pruning(self.prune(model, "--method", "reap", "--sparsity", "0.5", *more, out=f"{name}-{len(more)}")) for more in ((), ("--moe-routed",)))
            for a, b in zip(every["layers"], routed["layers"]):
                self.assertEqual((a["retained"], [e["tokens"] for e in a["experts"]]), (b["retained"], [e["tokens"] for e in b["experts"]]))
                for x, y in zip(a["experts"], b["experts"]):  # products of other sizes: f32 over three layers
                    self.assertAlmostEqual(x["score"], y["score"], delta=1e-4 * x["score"])

    def test_killed_runs_go_on_to_the_same_bytes(self):
        quantize = {"targets": ["Linear"], "ignore": ["lm_head"], "scheme": "W4A16_ASYM", "group_size": 8}
        reap = ("REAPPruningModifier", {"sparsity": 0.25, "report_path": str(self.folder / "experts.json")})
        for name in ("qwen3_moe_fused", "mixtral"):
            for chain in ([], [("GPTQModifier", quantize)], [("AWQModifier", {}), ("QuantizationModifier", quantize)], [("GPTQModifier", {**quantize, "quality": "best"})]):
                with self.subTest(model=name, chain=[modifier for modifier, _ in chain]):
                    model = self.model(name)
                    arguments = ["-d", str(self.text), *map(str, CALIBRATION), "--recipe", str(self.recipe(reap, *chain))]
                    wanted, _ = self.undisturbed(model, arguments)
                    own = read_json(self.folder / "experts.json")
                    code, err = self.with_faults(model, arguments, "sync", 0, "count", self.folder, self.folder / "count")
                    self.assertEqual(code, 0, err)
                    self.remove_output()
                    (self.folder / "experts.json").unlink()
                    syncs = int((self.folder / "count").read_text())
                    code, err = self.with_faults(model, arguments, "sync", syncs // 2, "crash", self.folder)
                    self.assertEqual(code, -signal.SIGKILL, err)
                    self.assertRegex(self.go_on(model, arguments, wanted), "gone on with")
                    self.assertEqual(read_json(self.folder / "experts.json"), own)
                    shutil.rmtree(self.out)

    def test_the_plan_is_that_of_the_run_and_holds(self):
        model = make_mixture(self.folder / "mixture", hidden=256, inner=512)
        calibration = ("--num-calibration-samples", 32, "--max-seq-length", 128, "--prune-experts", "0.5")
        planned = json.loads(self.assert_succeeds(run("estimate", model, *calibration, "--rates", "gemm=100G,copy=10G,disk=1G", "--json")).stdout)["plan"]
        report = json.loads(self.assert_succeeds(self.compress(model, "-d", self.text, *calibration, "--json")).stdout)
        self.assertEqual(report["plan"]["output_bytes"], planned["output_bytes"])
        self.assertLessEqual(report["peak_rss_bytes"], 1.1 * report["plan"]["peak_bytes"])
        self.assertLessEqual(report["plan"]["peak_bytes"], 1.4 * report["peak_rss_bytes"])
        self.assertEqual(self.pruning(self.out)["stay"], 4)
        self.assertEqual(read_json(self.out / "config.json")["num_experts"], 4)

    def test_what_cannot_be_is_refused(self):
        data = ("-d", self.text, *CALIBRATION)
        mixtral = self.model("mixtral")
        for model, arguments, code, message in (
                (self.model(), (*data, "--method", "reap", "--sparsity", "0.5"), 2, "has no experts to prune"),
                (mixtral, (*data, "--method", "reap"), 2, "sparsity: expected the share of the experts"),
                (mixtral, (*data, "--prune-experts", "0"), 2, "--prune-experts: REAPPruningModifier: sparsity 0"),
                (mixtral, (*data, "--prune-experts", "0.75"), 2, "leaves 1 of 4 experts, but the router sends each token to 2"),
                (mixtral, (*data, "--prune-experts", "0.1"), 2, "takes none of 4 experts"),
                (mixtral, ("--method", "rtn", "--prune-experts", "0.25", *GROUPS), 2, "REAPPruningModifier needs calibration text"),
                (mixtral, ("--method", "rtn", "--prune-experts", "0.25", "--model-free"), 2, "REAPPruningModifier: needs data and a model"),
                (mixtral, (*data, "--prune-experts", "0.25", "--target-bits", "4.5", *GROUPS), 2, "a bit budget is measured on the model as it is"),
                (mixtral, (*data, "--prune-experts", "0.25", "--method", "sparsegpt", "--sparsity", "0.5", "--sparsity-profile", "owl", "--owl-m", 3, "--owl-lmbda", "0.1"), 2, "owl looks at the model as it is"),
                (mixtral, (*data, "--prune-experts", "0.25", "--recipe", self.recipe(("GPTQModifier", {"scheme": "W4A16"}))), 2, "put a REAPPruningModifier into"),
                (mixtral, (*data, "--method", "reap", "--sparsity", "0.5", "--report-path", self.text / "r.json"), 1, "report_path cannot be written")):
            with self.subTest(message):
                self.assert_refused(self.compress(model, *arguments), code, message)
        quantized = self.prune(mixtral, "--method", "rtn", *GROUPS, out="quantized")
        self.assert_refused(self.compress(quantized, *data, "--method", "reap", "--sparsity", "0.5"), 2, "stored quantized.*convert --to dense")

    def test_tensors_of_nobody_and_mixed_types_are_refused(self):
        data = ("-d", self.text, *CALIBRATION, "--method", "reap", "--sparsity", "0.5")
        model = self.model("mixtral")
        tensors = read_safetensors(model / "model.safetensors")
        experts = f"{prefix_of(1)}block_sparse_moe.experts."
        write_safetensors(model / "model.safetensors", {**tensors, experts + "2.w9.weight": tensors[experts + "2.w1.weight"]})
        self.assert_refused(self.compress(model, *data), 2, r"experts\.2\.w9\.weight: it is not known which expert this belongs to")
        dtype, shape, values = tensors[experts + "2.w1.weight"]
        wide = b"".join(b"\0\0" + values[i:i + 2] for i in range(0, len(values), 2))
        write_safetensors(model / "model.safetensors", {**tensors, experts + "2.w1.weight": ("F32", shape, wide)})
        self.assert_refused(self.compress(model, *data), 2, r"experts\.2\.w1 and .*experts\.0\.w1 are stored in different types")


if __name__ == "__main__":
    unittest.main()
