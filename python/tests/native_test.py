"""The functions of swage.h through the native module: options by name, results, errors, progress, interruptions."""
import json
import os
import pickle
import subprocess
import sys
import threading
import unittest

from python_support import ROOT, PackageTest, support, weights

import swage



class Functions(PackageTest):
    def test_compress_writes_the_program_s_bytes(self):
        model = self.model()
        report = swage.compress(model, self.folder / "out", data=self.text, scheme="W8A8", **self.ROWS)
        self.assertEqual(weights(self.folder / "out"), weights(self.by_program(model, "--scheme", "W8A8")))
        self.assertEqual(report, json.loads((self.folder / "out" / "swage_report.json").read_text()))

    def test_shipped_recipes_and_fields_beside_them(self):
        model = self.model()
        swage.compress(model, self.folder / "out", recipe="fp8-dynamic", ignore=["lm_head"])
        summary = swage.inspect(self.folder / "out")
        self.assertIn("FP8", json.dumps(summary))

    def test_estimate_generate_evaluate_convert(self):
        model = self.model()
        plan = swage.estimate(model, scheme="W8A8", **self.ROWS)
        self.assertGreater(plan["parameters"], 0)
        swage.compress(model, self.folder / "out", method="rtn", scheme="W8A8", progress=False)
        pieces = []
        answer = swage.generate(self.folder / "out", "the river", chat=False, max_new_tokens=4, ignore_end=True, on_text=lambda p, c, text: pieces.append(text))
        self.assertEqual(answer["tokens"], 4)
        self.assertEqual("".join(pieces), answer["text"])
        perplexity = swage.evaluate(self.folder / "out", self.text, window=16, max_windows=4, baseline=model)
        self.assertGreater(perplexity["perplexity"], 1)
        self.assertIn("kl_mean", perplexity)
        made = swage.convert(self.folder / "out", self.folder / "dense", "dense")
        self.assertEqual(made["to"], "dense")

    def test_every_option_is_listed_with_its_default(self):
        by_name = {field["name"]: field for field in swage.options("compress")}
        self.assertEqual(by_name["num_calibration_samples"]["default"], 512)
        self.assertEqual(by_name["seed"]["default"], 42)
        self.assertTrue(all(field["help"] for field in by_name.values()))
        with self.assertRaises(swage.InvalidArgumentError):
            swage.options("comprss")


class Errors(PackageTest):
    def test_kind_hint_and_python_s_own_class(self):
        with self.assertRaises(swage.Error) as raised:
            swage.inspect(self.folder / "nothing")
        self.assertEqual(raised.exception.kind, "Io")
        self.assertIsInstance(raised.exception, OSError)
        self.assertIn("nothing", str(raised.exception))
        self.assertTrue(raised.exception.hint)

    def test_an_error_of_the_library_keeps_its_kind(self):
        with self.assertRaises(swage.InvalidArgumentError) as raised:
            swage.compress(self.model(), self.folder / "out", method="rtn", scheme="W4A61")
        self.assertIn("W4A16", raised.exception.message)

    def test_unknown_options_name_the_nearest(self):
        for option, near in (("shceme", "scheme"), ("num_calibration_sample", "num_calibration_samples"), ("overwite", "overwrite")):
            with self.subTest(option=option), self.assertRaises(swage.InvalidArgumentError) as raised:
                swage.compress("x", "y", **{option: 1})
            self.assertEqual(raised.exception.hint, f'did you mean "{near}"?')

    def test_errors_go_from_process_to_process(self):
        error = swage.IoError("a message", "a hint")
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((type(again), again.kind, str(again), again.hint), (swage.IoError, "Io", "a message", "a hint"))

    def test_values_that_json_has_no_word_for(self):
        with self.assertRaises(swage.InvalidArgumentError) as raised:
            swage.compress("x", "y", trace=object())
        self.assertIn("object", raised.exception.message)

    def test_what_a_callback_raises_is_raised_by_the_call(self):
        class Stop(Exception):
            pass

        def progress(event):
            raise Stop

        with self.assertRaises(Stop):
            swage.compress(self.model(), self.folder / "out", data=self.text, scheme="W8A8", progress=progress, **self.ROWS)
        self.assertFalse((self.folder / "out").exists())


class Running(PackageTest):
    def test_progress_names_layers_and_other_threads_run_meanwhile(self):
        events, turns, done = [], [], threading.Event()

        def turn():
            while not done.wait(0.001):
                turns.append(1)

        other = threading.Thread(target=turn)
        other.start()
        try:
            swage.compress(self.model(), self.folder / "out", data=self.text, scheme="W8A8", progress=events.append, **self.ROWS)
        finally:
            done.set()
            other.join()
        self.assertTrue(events)
        self.assertTrue(any(event["layers"] > 0 for event in events))
        self.assertGreater(len(turns), 10)

    def test_an_interrupted_run_goes_on_with_the_same_bytes(self):
        from resume_support import make_long
        model = make_long(self.model(), 5)
        code = (f"import sys; sys.path.insert(0, {str(ROOT / 'python')!r})\n"
                "import swage, os, signal\n"
                "def progress(event):\n"
                "    if event['milestone'] and event['layer'] == 2: os.kill(os.getpid(), signal.SIGINT)\n"
                f"swage.compress({str(model)!r}, {str(self.folder / 'out')!r}, data={str(self.text)!r}, scheme='W8A8', "
                "num_calibration_samples=8, max_seq_length=32, progress=progress)\n")
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        self.assertIn("KeyboardInterrupt", result.stderr)
        self.assertFalse((self.folder / "out").exists())
        kept = [file.name for file in self.folder.iterdir() if file.name.startswith((".out", "out."))]
        self.assertTrue(kept, "the journal is there")
        swage.compress(model, self.folder / "out", data=self.text, scheme="W8A8", **self.ROWS)
        self.assertEqual(weights(self.folder / "out"), weights(self.by_program(model, "--scheme", "W8A8")))

    def test_a_process_of_its_own_gives_the_same(self):
        model = self.model()
        code = (f"import sys; sys.path.insert(0, {str(ROOT / 'python')!r})\n"
                "import swage; from swage import _library\n"
                "_library.runs_in_process = lambda: False\n"
                "seen = []\n"
                f"swage.compress({str(model)!r}, {str(self.folder / 'out')!r}, data={str(self.text)!r}, scheme='W8A8', "
                "num_calibration_samples=8, max_seq_length=32, progress=seen.append)\n"
                "assert seen and not swage._swage.library_is_open()\n"
                "try: swage.convert('/nothing', '/there', 'dense')\n"
                "except swage.Error as error: print(error.kind)\n")
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.strip(), "Io")
        self.assertEqual(weights(self.folder / "out"), weights(self.by_program(model, "--scheme", "W8A8")))


class Importing(unittest.TestCase):
    def test_needs_neither_torch_nor_transformers_nor_the_library(self):
        code = (f"import sys; sys.path.insert(0, {str(ROOT / 'python')!r})\n"
                "import swage\n"
                "assert not {'torch', 'transformers', 'numpy', 'datasets'} & set(sys.modules), sys.modules\n"
                "assert not swage._swage.library_is_open()\n"
                "assert swage.schemes() and swage.scheme_for('vllm')\n"
                "assert not swage._swage.library_is_open()\n")
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

    def test_a_library_that_is_missing_is_named(self):
        code = (f"import sys; sys.path.insert(0, {str(ROOT / 'python')!r})\n"
                "import swage\n"
                "try: swage.about()\n"
                "except swage.IoError as error: print(error.message)\n")
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                                env=dict(os.environ, SWAGE_LIBRARY="/nothing/libswage.so", SWAGE_IN_WORKER="1"))
        self.assertIn("/nothing/libswage.so", result.stdout)


if __name__ == "__main__":
    unittest.main()
