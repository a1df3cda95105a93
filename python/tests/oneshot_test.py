"""oneshot(): recipes, data and models as scripts give them, against the program's bytes for the same settings."""
import json
import pathlib
import tempfile
import unittest
import warnings

from python_support import ROOT, PackageTest, weights

import swage
from swage import _data, _recipe, oneshot
from swage.modifiers import (AutoRoundModifier, AWQMapping, AWQModifier, GPTQModifier, QuantizationModifier,
                             SmoothQuantModifier, SparseGPTModifier)
from swage.quantization import QuantizationArgs, QuantizationScheme, preset_name_to_scheme


class Oneshot(PackageTest):
    def test_gptq_writes_the_program_s_bytes(self):
        model = self.model()
        oneshot(model=str(model), recipe=GPTQModifier(scheme="W4A16", group_size=16, ignore=["lm_head"]), dataset=str(self.text),
                output_dir=str(self.folder / "out"), **self.ROWS)
        self.assertEqual(weights(self.folder / "out"), weights(self.by_program(model, "--group-size", 16, "--shuffle")))

    def test_every_spelling_of_a_recipe_writes_the_same(self):
        model, fields = self.model(), {"scheme": "W8A8", "ignore": ["lm_head"], "targets": "Linear"}
        text = "default_stage:\n  default_modifiers:\n    GPTQModifier: {scheme: W8A8, ignore: [lm_head], targets: Linear}\n"
        (self.folder / "recipe_file.yaml").write_text(text)
        spelled = QuantizationScheme(["Linear"], QuantizationArgs(strategy="channel"), QuantizationArgs(strategy="token", dynamic=True))
        recipes = [GPTQModifier(**fields), [GPTQModifier(**fields)], text, str(self.folder / "recipe_file.yaml"), self.folder / "recipe_file.yaml",
                   GPTQModifier(config_groups={"one": preset_name_to_scheme("W8A8", ["Linear"])}, ignore=["lm_head"]),
                   GPTQModifier(config_groups={"one": spelled}, ignore=["lm_head"], weight_observer=None)]
        made = []
        for place, recipe in enumerate(recipes[:-1]):
            out = self.folder / f"out{place}"
            oneshot(str(model), recipe=recipe, dataset=str(self.text), output_dir=str(out), **self.ROWS)
            made.append(weights(out))
        self.assertTrue(all(one == made[0] for one in made))
        oneshot(str(model), recipe=recipes[-1], dataset=str(self.text), output_dir=str(self.folder / "spelled"), **self.ROWS)

    def test_rescaling_and_rounding_are_one_recipe(self):
        model = self.model()
        for name, first in (("smooth", SmoothQuantModifier(smoothing_strength=0.8)), ("awq", AWQModifier(duo_scaling="both"))):
            with self.subTest(name=name):
                out = self.folder / name
                oneshot(str(model), recipe=[first, GPTQModifier(scheme="W8A8", ignore=["lm_head"])], dataset=str(self.text), output_dir=str(out), **self.ROWS)
                self.assertIn(type(first).__name__, (out / "recipe.yaml").read_text())

    def test_without_an_output_folder_the_model_is_saved_afterwards(self):
        made = oneshot(str(self.model()), recipe=QuantizationModifier(scheme="FP8_DYNAMIC", ignore=["lm_head"]))
        made.save_pretrained(self.folder / "saved")
        self.assertIn("quantization_config", json.loads((self.folder / "saved" / "config.json").read_text()))
        self.assertEqual(weights(self.folder / "saved"), weights(made.name_or_path))
        self.assertTrue(made.generate("the river", chat=False, max_new_tokens=2)["text"])

    def test_datasets_as_objects(self):
        model = self.model()
        rows = [json.loads(line) for line in self.text.read_text().splitlines()]
        texts = [row["text"] for row in rows]
        recipe = GPTQModifier(scheme="W8A8", ignore=["lm_head"])
        made = []
        for place, dataset in enumerate((str(self.text), rows, texts, {"train": rows}, iter(rows))):
            out = self.folder / f"out{place}"
            oneshot(str(model), recipe=recipe, dataset=dataset, output_dir=str(out), **self.ROWS)
            made.append(weights(out))
        self.assertTrue(all(one == made[0] for one in made))

    def test_model_free(self):
        model = self.model()
        swage.model_free_ptq(model, self.folder / "free", scheme="FP8_DYNAMIC", ignore=["lm_head"])
        self.assert_succeeds(self.compress(model, "--method", "rtn", "--scheme", "FP8_DYNAMIC", "--model-free"))
        self.assertEqual(weights(self.folder / "free"), weights(self.out))


class Refused(PackageTest):
    def test_by_name(self):
        recipe = QuantizationModifier(scheme="FP8_DYNAMIC")
        for arguments, part in (({"stage": "one"}, "stage"), ({"recipe_args": ["a=1"]}, "recipe_args"), ({"use_loss_mask": True}, "use_loss_mask"),
                                ({"pipeline": "layers"}, "independent"), ({"max_seq_len": 3}, "max_seq_length"), ({"save_compressed": False}, "save_compressed")):
            with self.subTest(arguments=arguments), self.assertRaises(swage.Error) as raised:
                oneshot("model", recipe=recipe, **arguments)
            self.assertIn(part, raised.exception.message)
        with self.assertRaises(swage.InvalidArgumentError):
            oneshot("model")
        with self.assertRaises(swage.InvalidArgumentError):
            oneshot("model", recipe=object())
        with self.assertRaises(swage.UnsupportedError):
            oneshot("model", recipe=recipe, dataset=[{"pixel_values": [0]}])
        with self.assertRaises(swage.UnsupportedError):
            AutoRoundModifier(iters=10)


class Modifiers(unittest.TestCase):
    def test_every_field_of_llm_compressor_is_known(self):
        from swage import modifiers
        told = json.loads((ROOT / "tests" / "data" / "llmcompressor_fields.json").read_text())["modifiers"]
        for name, fields in told.items():
            if name == "AutoRoundModifier":
                continue
            for field in fields:
                with self.subTest(modifier=name, field=field):
                    getattr(modifiers, name)(**{field: None})

    def test_a_field_that_is_none_names_the_nearest(self):
        with self.assertRaises(swage.InvalidArgumentError) as raised:
            SparseGPTModifier(sparsty=0.5)
        self.assertEqual(raised.exception.hint, 'did you mean "sparsity"?')
        with self.assertRaises(swage.InvalidArgumentError):
            GPTQModifier(dampening_frac="much")

    def test_fields_and_defaults_are_attributes(self):
        one = GPTQModifier(scheme="W4A16", dampening_frac=0.1)
        self.assertEqual((one.scheme, one.dampening_frac, one.targets, one.quality), ("W4A16", 0.1, ["Linear"], "balanced"))
        with self.assertRaises(AttributeError):
            one.nothing
        self.assertEqual(one, GPTQModifier(scheme="W4A16", dampening_frac=0.1))
        self.assertNotEqual(one, GPTQModifier(scheme="W4A16"))

    def test_mappings_are_objects_or_lists(self):
        one = AWQModifier(mappings=[AWQMapping("re:.*v_proj$", ["re:.*o_proj$"])])
        self.assertEqual(one.mappings, [{"smooth_layer": "re:.*v_proj$", "balance_layers": ["re:.*o_proj$"]}])

    def test_awq_where_it_was_before_also_rounds(self):
        from swage.modifiers.awq import AWQModifier as OldAwq
        both = OldAwq(scheme="W4A16_ASYM", ignore=["lm_head"], n_grid=5)
        self.assertEqual([one.recipe_name for one in both], ["AWQModifier", "QuantizationModifier"])
        self.assertEqual(both[0].given, {"n_grid": 5})
        self.assertEqual(both[1].given, {"scheme": "W4A16_ASYM", "ignore": ["lm_head"]})

    def test_two_of_a_kind_keep_their_order(self):
        recipe = _recipe.recipe_json([GPTQModifier(scheme="W8A16"), GPTQModifier(scheme="W4A16")])
        self.assertEqual([list(group.values())[0]["scheme"] for group in recipe["default_stage"].values()], ["W8A16", "W4A16"])


class Letters:
    """A tokenizer of one token a letter, that puts token 1 in front."""

    def __call__(self, text):
        return {"input_ids": [1] + [ord(letter) for letter in text]}

    def decode(self, ids, **_):
        return "".join(map(chr, ids))


class Data(unittest.TestCase):
    def written(self, dataset, **more):
        with tempfile.TemporaryDirectory() as folder:
            data = _data.prepare(_data.DataRequest(dataset, tokenizer=Letters, **more), pathlib.Path(folder))
            return data.longest_row, [json.loads(line) for line in pathlib.Path(data.name).read_text().splitlines()]

    def test_token_ids_are_given_as_the_text_that_they_came_from(self):
        ids = [[1, 97, 98, 99], [1, 100]]
        self.assertEqual(self.written(ids), (4, [{"text": "abc"}, {"text": "d"}]))
        self.assertEqual(self.written([{"input_ids": row} for row in ids])[1], [{"text": "abc"}, {"text": "d"}])

    def test_padding_is_left_out(self):
        batch = {"input_ids": [[1, 97, 98], [1, 99, 0]], "attention_mask": [[1, 1, 1], [1, 1, 0]]}
        self.assertEqual(self.written([batch]), (3, [{"text": "ab"}, {"text": "c"}]))

    def test_ids_that_text_cannot_say_are_warned_of(self):
        class Lossy(Letters):
            def decode(self, ids, **_):
                return "?"

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            _data.prepare(_data.DataRequest([[1, 97]], tokenizer=Lossy), pathlib.Path(folder))
        self.assertIn("1 of 1 rows", str(seen[0].message))

    def test_columns(self):
        turns = [{"role": "user", "content": "a"}]
        self.assertEqual(self.written([{"messages": turns, "id": 1}])[1], [{"messages": turns}])
        self.assertEqual(self.written([{"body": "a", "text": "b"}], text_column="body")[1], [{"text": "a"}])
        self.assertEqual(self.written([{"x": 1}], preprocessing_func=lambda row: {"text": "y"})[1], [{"text": "y"}])
        with self.assertRaises(swage.InvalidArgumentError):
            self.written([{"x": 1}])
        with self.assertRaises(swage.InvalidArgumentError):
            self.written([])

    def test_names_with_configurations_and_splits(self):
        def name(dataset, **more):
            return _data.prepare(_data.DataRequest(dataset, **more), pathlib.Path("."))
        self.assertEqual(name("open_platypus").name, "open_platypus")
        self.assertEqual(name("wikitext", config_name="wikitext-2-raw-v1", splits="train[:10]").name, "wikitext:wikitext-2-raw-v1:train[:10]")
        self.assertEqual(name("gsm8k", splits={"calibration": "test"}).name, "gsm8k:test")
        with self.assertRaises(swage.UnsupportedError):
            name("gsm8k", splits=["train", "test"])


if __name__ == "__main__":
    unittest.main()
