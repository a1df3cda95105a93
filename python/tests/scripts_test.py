"""Scripts of LLM Compressor's shape, as they are, on swage: `python -m swage.llmcompressor script.py`. Without
transformers, datasets and torch they are skipped."""
import json
import os
import shutil
import subprocess
import sys
import unittest

from python_support import ROOT, PackageTest, has, support, weights

# How scales were found and, but for "group", in which order columns were solved: no reader asks for it.
OF_THE_RUN = ("observer", "observer_kwargs", "actorder")


def what_readers_ask(group):
    """A group of a quantization_config without what is unset and what only tells of the run."""
    if not isinstance(group, dict):
        return group
    return {key: what_readers_ask(value) for key, value in group.items() if value is not None and key not in OF_THE_RUN}


PACKAGES = ("torch", "transformers", "datasets")

LOAD = """
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from llmcompressor import oneshot
import json
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(MODEL)
rows = Dataset.from_list([json.loads(line) for line in open(TEXT)])
"""
TOKENIZE = """
def tokenize(sample):
    return tokenizer(sample["text"], padding=False, max_length=32, truncation=True, add_special_tokens=False)
rows = rows.map(tokenize, remove_columns=rows.column_names)
"""
SAVE = """
model.save_pretrained(OUT, save_compressed=True)
tokenizer.save_pretrained(OUT)
"""


class Scripts(PackageTest):
    def setUp(self):
        super().setUp()
        if not has(*PACKAGES):
            self.skipTest(f"needs {', '.join(PACKAGES)}")

    def run_script(self, text, way=("-m", "swage.llmcompressor")):
        script = self.folder / "script.py"
        names = {"MODEL": self.model(), "TEXT": self.text, "OUT": self.out, "FOLDER": self.folder}
        script.write_text("".join(f"{name} = {str(value)!r}\n" for name, value in names.items()) + text)
        env = dict(os.environ, PYTHONPATH=str(ROOT / "python"), HF_HUB_OFFLINE="1")
        return subprocess.run([sys.executable, *way, str(script)], capture_output=True, text=True, env=env, timeout=300)

    def test_an_object_a_dataset_of_token_ids_and_generate(self):
        result = self.run_script(LOAD + TOKENIZE + """
from llmcompressor.modifiers.quantization import GPTQModifier
recipe = GPTQModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"])
returned = oneshot(model=model, dataset=rows, recipe=recipe, max_seq_length=32, num_calibration_samples=8)
assert returned is model
before = model.model.layers[0].self_attn.q_proj.weight.clone()
model.generate(**tokenizer("the river", return_tensors="pt"), max_new_tokens=4, min_new_tokens=4, do_sample=False)
assert not (model.model.layers[0].self_attn.q_proj.weight == before).all()
""" + SAVE)
        self.assertEqual(result.returncode, 0, result.stderr)
        config = json.loads((self.out / "config.json").read_text())
        self.assertEqual(config["quantization_config"]["quant_method"], "compressed-tensors")

    def test_an_object_gives_the_bytes_of_its_folder(self):
        result = self.run_script(LOAD + """
from llmcompressor.modifiers.quantization import GPTQModifier
recipe = GPTQModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"])
oneshot(model=model, dataset=rows, recipe=recipe, max_seq_length=32, num_calibration_samples=8)
""" + SAVE)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(weights(self.out), weights(self.by_program(self.model(), "--scheme", "W8A8", "--shuffle")))

    def test_groups_names_and_shapes_are_llm_compressor_s(self):
        """Not all types: what is not quantized keeps the type of the file here, there that of the object in memory."""
        if not has("llmcompressor"):
            self.skipTest("needs llmcompressor")
        text = LOAD + TOKENIZE + """
from llmcompressor.modifiers.quantization import GPTQModifier
recipe = GPTQModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"])
oneshot(model=model, dataset=rows, recipe=recipe, max_seq_length=32, num_calibration_samples=8)
""" + SAVE
        made = {}
        for name, way in (("swage", ("-m", "swage.llmcompressor")), ("llmcompressor", ())):
            result = self.run_script(text, way)
            self.assertEqual(result.returncode, 0, result.stderr)
            config = json.loads((self.out / "config.json").read_text())["quantization_config"]
            tensors = {key: shape for key, (_, shape, _) in support.read_checkpoint(self.out).items()}
            groups = [what_readers_ask(group) for group in config["config_groups"].values()]
            made[name] = (groups, config["format"], sorted(config["ignore"]), tensors)
            shutil.rmtree(self.out)
        for ours, theirs in zip(made["swage"], made["llmcompressor"]):
            self.assertEqual(ours, theirs)

    def test_a_changed_object_is_written_first_and_said_so(self):
        result = self.run_script(LOAD + """
import torch
from llmcompressor.modifiers.quantization import QuantizationModifier
with torch.no_grad():
    model.model.layers[0].self_attn.q_proj.weight.mul_(2)
oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=["lm_head"]), output_dir=OUT)
oneshot(model=MODEL, recipe=QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=["lm_head"]), output_dir=FOLDER + "/plain")
""")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("is no longer what", result.stderr)
        self.assertNotEqual(weights(self.out), weights(self.folder / "plain"))

    def test_names_of_old_and_new_scripts_import(self):
        result = self.run_script("""
import llmcompressor
from llmcompressor import active_session, create_session, model_free_ptq, oneshot, reset_session
from llmcompressor.datasets.utils import get_rank_partition
from llmcompressor.modifiers.awq import AWQMapping, AWQModifier
from llmcompressor.modifiers.obcq import SparseGPTModifier
from llmcompressor.modifiers.pruning import MagnitudePruningModifier, WandaPruningModifier
from llmcompressor.modifiers.pruning.sparsegpt import SparseGPTModifier as same
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.smoothquant import SmoothQuantModifier
from llmcompressor.modifiers.transform import QuIPModifier, SmoothQuantModifier, SpinQuantModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.transformers import SparseAutoModelForCausalLM, oneshot
from llmcompressor.utils import dispatch_for_generation, load_context
from llmcompressor.utils.dev import load_context
assert same is SparseGPTModifier and get_rank_partition("train", 10) == "train[0:10]"
with load_context():
    pass
print("all")
""")
        self.assertEqual(result.stdout.strip(), "all", result.stderr)


if __name__ == "__main__":
    unittest.main()
