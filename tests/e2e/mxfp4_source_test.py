"""GPT-OSS as it is published: experts in MXFP4, fused. Read bit for bit, quantized with their biases as tensors of their own; damaged parts are named."""
import random
import struct
import unittest

from support import EndToEnd, make_tokenizer, read_checkpoint, read_safetensors, run, write_json, write_safetensors

HIDDEN, INNER, EXPERTS, VOCABULARY = 32, 64, 4, 300
VALUES = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def bf16(draw, *shape):
    count = 1
    for size in shape:
        count *= size
    return "BF16", list(shape), b"".join(struct.pack("<f", draw.gauss(0, 0.2))[2:] for _ in range(count))


def value(code, exponent):
    return (-1) ** (code >> 3) * VALUES[code & 7] * 2.0 ** (exponent - 127)


class Mxfp4Sources(EndToEnd):
    def make(self):
        """The model as published, and the same in bf16, which holds every value of MXFP4."""
        draw, tensors, plain = random.Random(3), {}, {}
        both = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
        for layer in range(2):
            at = f"model.layers.{layer}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                both[at + norm + ".weight"] = (HIDDEN,)
            for name, rows, columns in (("q_proj", 32, HIDDEN), ("k_proj", 16, HIDDEN), ("v_proj", 16, HIDDEN), ("o_proj", HIDDEN, 32)):
                both[f"{at}self_attn.{name}.weight"], both[f"{at}self_attn.{name}.bias"] = (rows, columns), (rows,)
            both[at + "self_attn.sinks"] = (4,)
            both[at + "mlp.router.weight"], both[at + "mlp.router.bias"] = (EXPERTS, HIDDEN), (EXPERTS,)
            for name, rows, columns in (("gate_up_proj", 2 * INNER, HIDDEN), ("down_proj", HIDDEN, INNER)):
                at_expert = f"{at}mlp.experts.{name}"
                both[at_expert + "_bias"] = (EXPERTS, rows)
                codes = [[[draw.randrange(16) for _ in range(columns)] for _ in range(rows)] for _ in range(EXPERTS)]
                scales = [[[draw.randint(122, 125) for _ in range(columns // 32)] for _ in range(rows)] for _ in range(EXPERTS)]
                packed = bytes(row[i] | row[i + 1] << 4 for expert in codes for row in expert for i in range(0, columns, 2))
                tensors[at_expert + "_blocks"] = ("U8", [EXPERTS, rows, columns // 32, 16], packed)
                tensors[at_expert + "_scales"] = ("U8", [EXPERTS, rows, columns // 32], bytes(s for expert in scales for row in expert for s in row))
                numbers = [value(codes[e][r][c], scales[e][r][c // 32]) for e in range(EXPERTS) for c in range(columns) for r in range(rows)]
                plain[at_expert] = ("BF16", [EXPERTS, columns, rows], b"".join(struct.pack("<f", n)[2:] for n in numbers))
        for name, shape in both.items():
            tensors[name] = plain[name] = bf16(draw, *shape)
        config = {"model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": EXPERTS, "num_experts_per_tok": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 64,
                  "sliding_window": 8, "rms_norm_eps": 1e-5, "rope_theta": 150000, "attention_bias": True, "torch_dtype": "bfloat16"}
        folders = []
        for name, stored in (("published", tensors), ("plain", plain)):
            folder = self.folder / name
            folder.mkdir()
            make_tokenizer(folder)
            write_json(folder / "config.json", dict(config, **({"quantization_config": {"quant_method": "mxfp4"}} if name == "published" else {})))
            write_safetensors(folder / "model.safetensors", stored)
            folders.append(folder)
        return folders

    def ids(self):
        path = self.folder / "ids.safetensors"
        write_safetensors(path, {"input_ids": ("I64", [1, 20], struct.pack("<20q", *(i * 37 % 256 for i in range(20))))})
        return path

    def logits(self, model):
        out = self.folder / f"{model.name}-logits.safetensors"
        self.assert_succeeds(run("eval", model, "--token-ids", self.ids(), "--save-logits", out))
        return read_safetensors(out)["logits"]

    def test_values_are_those_of_the_plain_model(self):
        published, plain = self.make()
        self.assertEqual(self.logits(published), self.logits(plain))

    def test_quantized_experts_and_biases_are_tensors_of_their_own(self):
        outputs = []
        for source in self.make():
            out = self.folder / f"{source.name}-q"
            self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", "W4A16", "--group-size", 16, out=out))
            outputs.append(read_checkpoint(out))
        self.assertEqual(outputs[0], outputs[1])
        for name in ("gate_proj.weight_packed", "up_proj.bias", "down_proj.weight_scale", "down_proj.bias"):
            self.assertIn("model.layers.1.mlp.experts.3." + name, outputs[0])
        self.assertFalse([name for name in outputs[0] if "_blocks" in name or "gate_up_proj" in name])
        self.logits(self.folder / "published-q")

    def test_parts_that_do_not_fit_are_named(self):
        published, _ = self.make()
        stored = read_checkpoint(published)
        name = "model.layers.0.mlp.experts.down_proj"
        dtype, shape, data = stored[name + "_scales"]
        stored[name + "_scales"] = (dtype, [shape[0], shape[1] * shape[2]], data)
        write_safetensors(published / "model.safetensors", stored)
        result = run("eval", published, "--token-ids", self.ids(), "--save-logits", self.folder / "out")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("_blocks: bytes [E, O, G, 16] with scales [E, O, G] are expected, found ", result.stderr)


if __name__ == "__main__":
    unittest.main()
