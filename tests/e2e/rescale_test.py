"""SmoothQuant and AWQ before a quantizer: the model's function stays, outlier channels stop hurting, and mappings that would change the
model are refused."""
import json
import shutil
import struct
import unittest

from support import EndToEnd, read_safetensors, run, write_safetensors

SHIFT = 6  # outliers are 2^6 times as large as they were: exact in every float type


def quantizer(scheme, **fields):
    return "QuantizationModifier", {"targets": ["Linear"], "ignore": ["re:.*lm_head"], "scheme": scheme, **fields}


def channel_rounding(bits):
    """Weights of `bits` bits, one scale a row."""
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "channel"}
    return "QuantizationModifier", {"ignore": ["re:.*lm_head"], "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


def shifted(tensor, shift, rows, columns):
    """A bf16 tensor with the numbers whose row and column the functions accept multiplied by 2^shift."""
    dtype, shape, data = tensor
    assert dtype == "BF16"
    width = shape[-1]
    values = list(struct.unpack(f"<{len(data) // 2}H", data))
    for i, bits in enumerate(values):
        exponent = bits >> 7 & 255
        if rows(i // width) and columns(i % width) and exponent > 0:
            values[i] = bits + shift * 128 if exponent + shift > 0 else 0
    return dtype, shape, struct.pack(f"<{len(values)}H", *values)


class Rescale(EndToEnd):
    def compress_with(self, model, *modifiers, out):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(json.dumps({"default_stage": {"default_modifiers": dict(modifiers)}}))
        return self.compress(model, "--recipe", recipe, "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, "--no-check", out=out)

    def divergence(self, model, *modifiers):
        """KL divergence from the model to what the modifiers make of it."""
        out = self.folder / "compressed"
        self.assert_succeeds(self.compress_with(model, *modifiers, out=out))
        result = self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32, "--baseline", model, "--json"))
        shutil.rmtree(out)
        return json.loads(result.stdout)["kl_mean"]

    def with_outliers(self, model):
        """The same function with a few large channels behind every norm: norm weights up, the columns that read them down."""
        path = model / "model.safetensors"
        tensors = read_safetensors(path)
        large = lambda channel: channel % 16 == 3
        always = lambda _: True
        readers = {"input_layernorm": ("q_proj", "k_proj", "v_proj"), "post_attention_layernorm": ("gate_proj", "up_proj")}
        for name in list(tensors):
            for norm, linears in readers.items():
                if name.endswith(norm + ".weight"):
                    tensors[name] = shifted(tensors[name], SHIFT, always, large)
                if name.split(".")[-2] in linears:
                    tensors[name] = shifted(tensors[name], -SHIFT, always, large) if norm == self.norm_of(name) else tensors[name]
        write_safetensors(path, tensors)
        return model

    @staticmethod
    def norm_of(linear):
        return "input_layernorm" if ".self_attn." in linear else "post_attention_layernorm"

    def test_the_function_stays_as_it_is(self):
        """With 8 bits a row little is lost, so that a rescaling that is no identity would stand out."""
        for name in ("llama32_tied", "opt", "opt_350m", "mixtral", "qwen3_moe_fused"):
            model = self.model(name)
            rounding = channel_rounding(8)
            if name == "opt_350m":
                rounding[1]["ignore"].append("re:.*project_(in|out)")
            plain = self.divergence(model, rounding)
            for modifiers in ([("SmoothQuantModifier", {"smoothing_strength": 0.8})], [("AWQModifier", {})], [("SmoothQuantModifier", {}), ("AWQModifier", {})]):
                with self.subTest(f"{name} {modifiers}"):
                    self.assertLess(self.divergence(model, *modifiers, rounding), 3 * plain + 1e-5)

    def test_unquantized_readers_are_rescaled_too(self):
        rounding = channel_rounding(8)
        rounding[1]["ignore"] = ["re:.*lm_head", "re:.*[kv]_proj", "re:.*up_proj"]
        plain = self.divergence(self.model(), rounding)
        kl = self.divergence(self.model(), ("AWQModifier", {}), rounding)
        self.assertLess(kl, 3 * plain + 1e-5)  # k and v are rounded to bf16 once more: 2^-9 of each weight

    def test_outliers_hurt_8_bit_activations_unless_smoothed(self):
        model = self.with_outliers(self.model())
        plain = self.divergence(model, quantizer("W8A8"))
        smoothed = self.divergence(model, ("SmoothQuantModifier", {"smoothing_strength": 0.5}), quantizer("W8A8"))
        self.assertGreater(plain, 10 * smoothed)

    def test_awq_protects_columns_that_matter(self):
        model = self.with_outliers(self.model())
        rounding = channel_rounding(4)
        self.assertGreater(self.divergence(model, rounding), 1.5 * self.divergence(model, ("AWQModifier", {}), rounding))

    def test_awq_judges_by_the_module_above_if_asked(self):
        """The same pairs in attention, MLP and experts; the bytes do not depend on the number of threads."""
        for name in ("llama32_tied", "mixtral"):
            model = self.with_outliers(self.model()) if name == "llama32_tied" else self.model(name)
            rounding, awq = channel_rounding(4), ("AWQModifier", {"objective": "parent", "n_grid": 8})
            with self.subTest(name):
                self.assertLess(self.divergence(model, awq, rounding), self.divergence(model, rounding))
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(json.dumps({"default_stage": {"default_modifiers": dict([awq, rounding])}}))
        files = []
        for threads in (1, 2):
            out = self.folder / f"threads{threads}"
            self.assert_succeeds(self.compress(model, "--recipe", recipe, "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32,
                                               "--no-check", out=out, threads=threads))
            files.append((out / "model.safetensors").read_bytes())
        self.assertEqual(files[0], files[1])

    def test_a_mapping_may_name_the_hook_of_llm_compressor(self):
        mapping = {"smooth_layer": "re:.*input_layernorm", "balance_layers": ["re:.*q_proj", "re:.*k_proj", "re:.*v_proj"], "activation_hook_target": None}
        result = self.compress_with(self.model(), ("AWQModifier", {"mappings": [mapping]}), channel_rounding(4), out=self.out)
        self.assert_succeeds(result)

    def test_refusals(self):
        model = self.model()
        gptq = ("GPTQModifier", {"scheme": "W4A16", "group_size": 16, "ignore": ["lm_head"]})
        bad = [
            ((gptq, ("SmoothQuantModifier", {})), ("SmoothQuantModifier stands behind GPTQModifier", "put it first")),
            ((("AWQModifier", {}),), ("quantizes nothing",)),
            ((("AWQModifier", {"mappings": [{"smooth_layer": "re:.*gate_proj", "balance_layers": ["re:.*down_proj"]}]}), gptq), ("gate_proj", "without changing the model")),
            ((("SmoothQuantModifier", {"mappings": [[["re:.*o_proj"], "re:.*input_layernorm"]]}), gptq), ("input_layernorm", "without changing the model")),
            ((("SmoothQuantModifier", {"mappings": "norms"}), gptq), ("mappings", "expected a list")),
            ((("SmoothQuantModifier", {"smoothing_strength": 2}), gptq), ("smoothing_strength",)),
            ((("AWQModifier", {"duo_scaling": "twice"}), gptq), ("duo_scaling",)),
            ((("AWQModifier", {"n_grid": 0}), gptq), ("n_grid",)),
            ((("AWQModifier", {"objective": "hessian"}), gptq), ("objective", "gram or parent")),
            ((("AWQModifier", {"mappings": [{"smooth_layer": "re:.*norm", "balance_layers": ["re:.*"], "hook": "x"}]}), gptq), ("mappings", "hook")),
        ]
        for modifiers, parts in bad:
            with self.subTest(parts):
                self.assert_refused(self.compress_with(model, *modifiers, out=self.out), 2, *parts)


if __name__ == "__main__":
    unittest.main()
