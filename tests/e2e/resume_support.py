"""Runs that are stopped and gone on with: a model of several layers, and what its output is if nobody disturbs the run."""
import difflib
import os
import pathlib
import shutil
import signal
import subprocess
import time

from support import PROGRAM, EndToEnd, contents, edit_json, environment, read_safetensors, write_safetensors

FAULTS = os.environ.get("SWAGE_FAULTS_LIBRARY", str(pathlib.Path(PROGRAM).resolve().parent / "libswage_faults.so"))


def make_long(model, layers):
    """Repeats the layers of a golden model, each a little different, so that a run lasts long enough to be stopped in the middle."""
    path = model / "model.safetensors"
    tensors = read_safetensors(path)
    long = {name: value for name, value in tensors.items() if ".layers." not in name}
    for layer in range(layers):
        for name, value in tensors.items():
            if ".layers.0." in name:
                long[name.replace(".layers.0.", f".layers.{layer}.")] = value
    write_safetensors(path, long)
    edit_json(model / "config.json", num_hidden_layers=layers)
    return model


class Resumed(EndToEnd):
    GPTQ = ("--num-calibration-samples", 16, "--max-seq-length", 64, "--group-size", 16)
    # The ways of running, each with what differs in how a layer is taken up again.
    WAYS = {
        "gptq": GPTQ,
        "gptq_asymmetric_static_inputs": ("--scheme", "W4A16_ASYM", *GPTQ),
        "w8a8": ("--scheme", "W8A8", "--num-calibration-samples", 16, "--max-seq-length", 64),
        "fp8_static": ("--scheme", "FP8", "--num-calibration-samples", 16, "--max-seq-length", 64),
        "actorder_group": ("--actorder", "group", *GPTQ),
        "nvfp4": ("--scheme", "NVFP4", "--num-calibration-samples", 16, "--max-seq-length", 64),
        "rtn": ("--method", "rtn", "--group-size", 16),
        "model_free": ("--method", "rtn", "--group-size", 16, "--model-free"),
        "smoothquant_gptq": ("--num-calibration-samples", 16, "--max-seq-length", 64),
    }
    RECIPES = {"smoothquant_gptq": "quant_stage:\n  quant_modifiers:\n    SmoothQuantModifier: {smoothing_strength: 0.7}\n"
                                   "    GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: W4A16_ASYM, group_size: 16}\n"}

    def arguments(self, way):
        out = list(map(str, self.WAYS[way]))
        if way in self.RECIPES:
            recipe = self.folder / f"{way}.yaml"
            recipe.write_text(self.RECIPES[way])
            out += ["--recipe", str(recipe)]
        if "--method" not in out:
            out += ["-d", str(self.text)]
        return out

    def start(self, model, arguments, threads=1, **variables):
        command = [PROGRAM, "compress", str(model), "-o", str(self.out), *arguments, "--threads", str(threads)]
        env = {**environment(), **variables}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def finish(self, process):
        out, err = process.communicate(timeout=240)
        return process.returncode, err

    def with_faults(self, model, arguments, call, number, action, path="", count=None):
        variables = {"LD_PRELOAD": FAULTS, "SWAGE_FAULTS": f"{call}:{number}:{action}", "SWAGE_FAULTS_PATH": str(path)}
        if count:
            variables["SWAGE_FAULTS_COUNT"] = str(count)
        return self.finish(self.start(model, arguments, **variables))

    def undisturbed(self, model, arguments):
        """Contents of the output, and the seconds that the run took; nothing is left."""
        began = time.monotonic()
        code, err = self.finish(self.start(model, arguments))
        self.assertEqual(code, 0, err)
        seconds = time.monotonic() - began
        wanted = contents(self.out)
        self.remove_output()
        return wanted, seconds

    def remove_output(self):
        self.assertEqual(self.left_over(), [])
        for path in self.out.iterdir():
            path.unlink()
        self.out.rmdir()

    def left_over(self):
        return [p.name for p in self.folder.iterdir() if p.name.startswith(".out")]

    def go_on(self, model, arguments, wanted):
        """The same command once more: it succeeds, or says that the killed run had succeeded."""
        code, err = self.finish(self.start(model, arguments, threads=2))
        if code == 2 and self.out.exists():
            self.assertRegex(err, "exists and is not empty")
        else:
            self.assertEqual(code, 0, err)
        self.assert_same(contents(self.out), wanted)
        self.assertEqual(self.left_over(), [])
        return err

    def assert_same(self, found, wanted):
        """Says which files differ, and in which lines."""
        self.assertEqual(sorted(found), sorted(wanted))
        for name in wanted:
            if found[name] != wanted[name]:
                lines = [str(text).splitlines() for text in (wanted[name], found[name])]
                self.fail(f"{name} differs:\n" + "\n".join(list(difflib.unified_diff(*lines, "wanted", "found", n=0, lineterm=""))[:40])[:4000])

    def seconds_of_work(self, model, arguments):
        """From the plan, the first thing that is said, to the output's appearing: a program's way out after it can be the longer part."""
        process = self.start(model, arguments)
        process.stderr.readline()
        began = time.monotonic()
        while not self.out.exists() and process.poll() is None:
            time.sleep(0.001)
        seconds = time.monotonic() - began
        code, err = self.finish(process)
        self.assertEqual(code, 0, err)
        return seconds

    def kill_at_random(self, way, draw, kills, layers):
        """Kills runs, and the runs that go on with them, until there were enough, one that went on among them: where other programs take the
        processors, a short run is killed before its first layer many times. Every one that ends has the same bytes."""
        shutil.rmtree(self.folder / "llama32_tied", ignore_errors=True)
        model = make_long(self.model(), layers)
        arguments = self.arguments(way)
        seconds = self.seconds_of_work(model, arguments)
        wanted = contents(self.out)
        self.remove_output()
        done, resumed, finished = 0, 0, 0
        while done < kills or (resumed == 0 and done < 10 * kills):
            process = self.start(model, arguments, threads=draw.choice((1, 2)))
            process.stderr.readline()
            time.sleep(draw.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
            _, err = process.communicate()
            done += process.returncode == -signal.SIGKILL
            resumed += "gone on with" in err
            if self.out.exists():
                self.go_on(model, arguments, wanted)
                finished += 1
                self.remove_output()
        self.go_on(model, arguments, wanted)
        self.remove_output()
        return done, resumed, finished
