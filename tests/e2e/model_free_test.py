"""Model-free runs: the same bytes as with a model, on any architecture, from any layout of the tensors."""
import random
import shutil
import struct
import unittest

from support import EndToEnd, bf16, contents, edit_json, read_checkpoint, read_json, read_safetensors, run, split_checkpoint, write_json, write_safetensors

SCHEMES = (("W4A16", "--group-size", 16), ("W4A16_ASYM", "--group-size", 8), ("W8A16", "--group-size", -1), ("W8A8",), ("NVFP4A16",),
           ("MXFP4A16",), ("FP8_DYNAMIC",))


def make_wide(folder, hidden=256, inner=2128):
    """A llama whose matrices are several chunks of rows, the last one not a whole number of words of zero points."""
    draw = random.Random(5)
    tensors = {"model.embed_tokens.weight": bf16(draw, 128, hidden), "lm_head.weight": bf16(draw, 128, hidden), "model.norm.weight": bf16(draw, hidden)}
    layer = "model.layers.0."
    for name, rows, columns in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", hidden, hidden), ("self_attn.v_proj", hidden, hidden),
                                ("self_attn.o_proj", hidden, hidden), ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden),
                                ("mlp.down_proj", hidden, inner)):
        tensors[f"{layer}{name}.weight"] = bf16(draw, rows, columns)
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{layer}{name}.weight"] = bf16(draw, hidden)
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", {"model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 1, "vocab_size": 128,
                                        "num_attention_heads": 4, "num_key_value_heads": 4, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
                                        "max_position_embeddings": 128, "hidden_act": "silu"})
    return folder


def transpose(tensor):
    """[E, A, B] to [E, B, A]"""
    dtype, (count, rows, columns), data = tensor
    values = struct.unpack(f"<{count * rows * columns}H", data)
    out = [values[(e * rows + r) * columns + c] for e in range(count) for c in range(columns) for r in range(rows)]
    return (dtype, [count, columns, rows], struct.pack(f"<{len(out)}H", *out))


def split_experts(model, folder):
    """The same model with its experts one by one."""
    shutil.copytree(model, folder)
    tensors = {}
    for name, (dtype, shape, data) in read_safetensors(model / "model.safetensors").items():
        prefix, _, leaf = name.rpartition(".")
        if not prefix.endswith(".experts"):
            tensors[name] = (dtype, shape, data)
            continue
        parts = ("gate_proj", "up_proj") if leaf == "gate_up_proj" else ("down_proj",)
        rows, size = shape[1] // len(parts), len(data) // shape[0] // len(parts)
        for i in range(shape[0] * len(parts)):
            tensors[f"{prefix}.{i // len(parts)}.{parts[i % len(parts)]}.weight"] = (dtype, [rows, shape[2]], data[i * size:(i + 1) * size])
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


class ModelFree(EndToEnd):
    def rtn(self, model, *arguments, **keywords):
        return self.compress(model, "--method", "rtn", *arguments, **keywords)

    def assert_same_as_with_the_model(self, model, *arguments, threads=1, described=None):
        """`described` holds the same weights in a layout for the run with a model."""
        known, free = self.folder / "known", self.folder / "free"
        self.assert_succeeds(self.rtn(described or model, *arguments, "--overwrite", out=known))
        self.assert_succeeds(self.rtn(model, *arguments, "--model-free", "--overwrite", out=free, threads=threads))
        self.assertEqual(read_checkpoint(known), read_checkpoint(free))
        self.assertEqual(read_json(known / "config.json"), read_json(free / "config.json"))
        self.assertEqual({p.name for p in known.iterdir()}, {p.name for p in free.iterdir()})
        self.assertTrue(read_json(free / "swage_report.json")["model_free"])

    def test_equals_the_run_with_a_model(self):
        for name, *options in SCHEMES:
            with self.subTest(scheme=name):
                self.assert_same_as_with_the_model(self.model(), "--scheme", name, *options)

    def test_chunks_of_rows_make_the_same_bytes_on_any_number_of_threads(self):
        model = make_wide(self.folder / "wide")
        for name, *options in (("W4A16", "--group-size", 8), ("W4A16_ASYM", "--group-size", 8), ("NVFP4A16",), ("FP8_DYNAMIC",),
                               ("FP8_BLOCK", "--ignore", "lm_head", "--ignore", "re:.*down_proj")):
            for threads in (1, 2):
                with self.subTest(scheme=name, threads=threads):
                    self.assert_same_as_with_the_model(model, "--scheme", name, *options, threads=threads)
        # An observer that searches looks at whole weights.
        self.assert_same_as_with_the_model(model, "--scheme", "W4A16", "--group-size", 8, "--weight-observer", "mse", threads=2)
        result = self.rtn(model, "--scheme", "NVFP4A16", "--weight-observer", "mse", "--model-free", out=self.out)
        self.assert_refused(result, 2, "observer mse with a global scale")
        self.assert_same_as_with_the_model(model, "--scheme", "FP8_DYNAMIC")
        equal = self.folder / "equal"
        self.assert_succeeds(self.rtn(model, "--scheme", "FP8_DYNAMIC", "--model-free", out=equal))
        self.assertEqual(contents(equal), contents(self.folder / "free"))

    def test_chunks_of_a_few_long_rows(self):
        model = make_wide(self.folder / "long", hidden=72, inner=16384)
        for name, *options in (("W4A16", "--group-size", 8), ("W3A16", "--group-size", 8), ("W4A16_ASYM", "--group-size", 8), ("FP8_DYNAMIC",)):
            with self.subTest(scheme=name):
                self.assert_same_as_with_the_model(model, "--scheme", name, *options, threads=2)

    def test_shards_in_and_out(self):
        model = make_wide(self.folder / "wide")
        whole, split = self.folder / "whole", self.folder / "split"
        self.assert_succeeds(self.rtn(model, "--model-free", "--group-size", 8, out=whole))
        split_checkpoint(model)
        self.assert_succeeds(self.rtn(model, "--model-free", "--group-size", 8, "--max-shard-size", 0.0005, out=split))
        self.assertGreater(len(list(split.glob("*.safetensors"))), 1)
        self.assertEqual(read_checkpoint(whole), read_checkpoint(split))
        self.assertEqual(set(read_json(split / "model.safetensors.index.json")["weight_map"]), set(read_checkpoint(whole)))

    def test_fused_linears_in_several_shards_share_a_global_scale(self):
        model = self.model()
        path = model / "model.safetensors"
        tensors = dict(sorted(read_safetensors(path).items(), key=lambda item: ("up_proj" in item[0] or "v_proj" in item[0], item[0])))
        path.unlink()
        write_safetensors(path, tensors)
        split_checkpoint(model)
        self.assert_same_as_with_the_model(model, "--scheme", "NVFP4A16")
        stored, layer = read_checkpoint(self.folder / "free"), "model.layers.0."
        scales = [stored[f"{layer}{name}.weight_global_scale"][2] for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")]
        self.assertEqual(len(set(scales)), 1)

    def test_experts_in_three_dimensions(self):
        for name, *options in SCHEMES[:2] + SCHEMES[-1:]:
            options = [8 if option == 16 else option for option in options]
            with self.subTest(scheme=name):
                fused = self.model("qwen3_moe_fused")
                self.assert_same_as_with_the_model(fused, "--scheme", name, *options, described=split_experts(fused, self.folder / f"split-{name}"))

    def test_fused_experts_of_mixtral_get_the_names_of_its_checkpoints(self):
        """As transformers 5 holds them: mlp.experts.gate_up_proj, whose parts engines know as block_sparse_moe.experts.N.w1 and w3."""
        model, fused = self.model("mixtral"), self.folder / "fused"
        shutil.copytree(model, fused)
        tensors, experts = {}, {}
        for name, tensor in read_safetensors(model / "model.safetensors").items():
            parent, _, rest = name.partition(".block_sparse_moe.experts.")
            if rest:
                index, part, _ = rest.split(".")
                experts.setdefault(parent, {})[part, int(index)] = tensor
            else:
                tensors[name] = tensor
        for parent, parts in experts.items():
            count = len(parts) // 3
            dtype, (inner, hidden), _ = parts["w1", 0]
            gate_up = b"".join(parts[part, e][2] for e in range(count) for part in ("w1", "w3"))
            tensors[f"{parent}.mlp.experts.gate_up_proj"] = (dtype, [count, 2 * inner, hidden], gate_up)
            tensors[f"{parent}.mlp.experts.down_proj"] = (dtype, [count, hidden, inner], b"".join(parts["w2", e][2] for e in range(count)))
        write_safetensors(fused / "model.safetensors", tensors)
        known, free = self.folder / "known", self.folder / "free"
        self.assert_succeeds(self.rtn(model, "--group-size", 8, out=known))
        self.assert_succeeds(self.rtn(fused, "--group-size", 8, "--model-free", out=free))
        self.assertEqual(read_checkpoint(known), read_checkpoint(free))

    def test_transposed_experts_are_the_same_linears(self):
        model = self.model("qwen3_moe_fused")
        straight, transposed = self.folder / "straight", self.folder / "transposed"
        self.assert_succeeds(self.rtn(model, "--model-free", "--group-size", 8, out=straight))
        path = model / "model.safetensors"
        write_safetensors(path, {name: transpose(t) if ".experts." in name else t for name, t in read_safetensors(path).items()})
        self.assert_succeeds(self.rtn(model, "--model-free", "--group-size", 8, out=transposed))
        self.assertEqual(read_checkpoint(straight), read_checkpoint(transposed))

    def test_experts_left_alone_beside_quantized_ones_become_tensors_of_their_own(self):
        model = self.model("qwen3_moe_fused")
        self.assert_succeeds(self.rtn(model, "--model-free", "--group-size", 8, "--ignore", "lm_head", "--ignore", "re:.*experts.1.*"))
        stored = read_checkpoint(self.out)
        expert = "model.layers.0.mlp.experts"
        fused = read_safetensors(model / "model.safetensors")[f"{expert}.gate_up_proj"]
        self.assertNotIn(f"{expert}.gate_up_proj", stored)
        self.assertIn(f"{expert}.0.gate_proj.weight_packed", stored)
        size = 24 * 32 * 2
        self.assertEqual(stored[f"{expert}.1.up_proj.weight"], ("BF16", [24, 32], fused[2][3 * size:4 * size]))
        self.assertIn(f"{expert}.1.up_proj", read_json(self.out / "config.json")["quantization_config"]["ignore"])

    def test_unknown_architectures_need_no_flag(self):
        model = self.model()
        self.assert_succeeds(self.rtn(model, "--scheme", "FP8_DYNAMIC", out=self.folder / "known"))
        edit_json(model / "config.json", model_type="gizmo", architectures=["GizmoModel"])
        self.assert_succeeds(self.rtn(model, "--scheme", "FP8_DYNAMIC"))
        self.assertEqual(read_checkpoint(self.out), read_checkpoint(self.folder / "known"))
        self.assertEqual(read_json(self.out / "config.json")["model_type"], "gizmo")
        self.assertEqual((self.out / "LICENSE").read_text(), "A licence.\n")

    def test_what_is_no_linear_is_copied(self):
        draw, folder = random.Random(9), self.folder / "gizmo"
        folder.mkdir()
        linear, others = ["tower.3.mix.weight", "tower.12.mix.weight"], ["tower.3.router.weight", "tower.3.gate.weight", "tower.3.norm2d.weight",
                                                                         "word_embeddings.weight", "embed_out.weight", "tower.3.table"]
        tensors = {name: bf16(draw, 32, 64) for name in linear + others}
        tensors["tower.3.conv.weight"] = bf16(draw, 8, 4, 3)
        tensors["tower.3.mix.bias"] = bf16(draw, 32)
        tensors["tower.3.ids.weight"] = ("I32", [2, 2], bytes(16))
        tensors["tower.3.empty.weight"] = ("BF16", [0, 4], b"")
        write_safetensors(folder / "model.safetensors", tensors)
        write_json(folder / "config.json", {"model_type": "gizmo"})
        self.assert_succeeds(self.compress(folder, "--method", "rtn", "--scheme", "FP8_DYNAMIC"))
        stored = read_checkpoint(self.out)
        for name, tensor in tensors.items():
            if name in linear:
                self.assertEqual(stored[name][0], "F8_E4M3")
            else:
                self.assertEqual(stored[name], tensor)
        ignored = read_json(self.out / "config.json")["quantization_config"]["ignore"]
        self.assertEqual(ignored, ["tower.3.empty", "tower.3.gate", "tower.3.ids", "tower.3.router", "embed_out", "lm_head"])

    def test_groups_are_added_to_a_quantized_checkpoint(self):
        model, first = self.model(), self.folder / "first"
        self.assert_succeeds(self.rtn(model, "--scheme", "FP8_DYNAMIC", "--ignore", "lm_head", "--ignore", "re:.*mlp.*", out=first))
        self.assert_succeeds(self.rtn(first, "--scheme", "W4A16", "--group-size", 16, "--model-free", "--ignore", "lm_head", "--ignore", "re:.*up_proj"))
        before, after = read_checkpoint(first), read_checkpoint(self.out)
        for name, tensor in before.items():
            if "mlp" not in name or "up_proj" in name:
                self.assertEqual(after[name], tensor)
        self.assertIn("model.layers.0.mlp.down_proj.weight_packed", after)
        config = read_json(self.out / "config.json")["quantization_config"]
        self.assertEqual(config["format"], "mixed-precision")
        self.assertEqual(list(config["config_groups"]), ["group_0", "group_1"])
        self.assertIn("model.layers.1.mlp.down_proj", config["config_groups"]["group_1"]["targets"])
        self.assertEqual(sorted(config["ignore"]), ["lm_head"] + [f"model.layers.{i}.mlp.up_proj" for i in range(len(config["ignore"]) - 1)])
        self.assert_succeeds(run("eval", self.out, "-d", self.text, "--window", 32, "--max-windows", 2))

    def test_dry_run_writes_nothing(self):
        result = self.assert_succeeds(self.rtn(self.model(), "--model-free", "--group-size", 16, "--dry-run"))
        self.assertIn("quantized", result.stdout)
        self.assert_nothing_left()


class Refused(EndToEnd):
    def refused(self, model, *arguments, parts, code=1):
        self.assert_refused(self.compress(model, "--model-free", "--method", "rtn", *arguments), code, *parts)

    def test_methods_and_schemes_that_need_data(self):
        self.assert_refused(self.compress(self.model(), "--model-free", "-d", self.text), 2, "GPTQModifier", "cannot run model-free")

    def test_group_sizes_and_patterns(self):
        self.refused(self.model(), "--group-size", 24, code=2, parts=("group size 24 does not divide", "use --group-size"))
        result = self.compress(self.model(), "--model-free", "--method", "rtn", "--group-size", 16, "--ignore", "re:.*nothing.*", "--dry-run")
        self.assert_succeeds(result)
        self.assertRegex(result.stderr, r"warning: .*ignore matches no module of this model: re:\.\*nothing")
        self.refused(self.model(), "--group-size", 16, "--ignore", "re:.*", code=2, parts=("nothing to quantize",))

    def test_a_number_that_is_none_names_the_tensor(self):
        model = make_wide(self.folder / "wide")
        path = model / "model.safetensors"
        tensors = read_safetensors(path)
        for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.o_proj.weight"):
            dtype, shape, data = tensors[name]
            for value in (b"\xc0\x7f", b"\x80\xff"):  # NaN, -infinity
                write_safetensors(path, {**tensors, name: (dtype, shape, data[:-2] + value)})
                self.refused(model, "--group-size", 8, parts=(name, "NaN or Inf"))

    def test_truncated_shard(self):
        model = self.model()
        path = model / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        self.refused(model, "--group-size", 16, parts=("model.safetensors", "truncated"))

    def test_another_quantization_method(self):
        model = self.model()
        edit_json(model / "config.json", quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
        self.refused(model, "--group-size", 16, code=2, parts=("fp8",))

    def test_weights_stored_transposed(self):
        model = self.model()
        edit_json(model / "config.json", model_type="gpt2")
        self.refused(model, "--group-size", 16, code=2, parts=("transposed",))


if __name__ == "__main__":
    unittest.main()
