#!/usr/bin/env python3
"""swage and llama.cpp on the same model, one after the other on the same machine: prompts and text per second.

    bench/llama_cpp.py FLOAT_MODEL SWAGE_MODEL [--folder /tmp/llama_cpp] [--python VENV/bin/python3] [--threads 1,2] [--types Q4_0,Q8_0]
                       [--prompt 256] [--new 64] [--batch 1,4,8] [--repeats 3] [--anyway]

FLOAT_MODEL is the unquantized checkpoint that becomes a GGUF; SWAGE_MODEL what `swage bench` runs. llama.cpp's source comes with the Python package
llama-cpp-python (its source distribution); it is built in --folder by one job at the lowest priority, and so is a virtual environment with what its converter
needs, unless --python names one. Both stay there for the next time. Prints a Markdown table: the rates of both, and swage's over llama.cpp's.

A machine that does something else gives figures of that: with a load above a quarter of a processor the script stops, unless --anyway.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONVERTER_NEEDS = ["numpy", "torch", "transformers", "sentencepiece", "safetensors", "protobuf"]
MOST_LOAD = 0.25


def run(*command, **options):
    command = [str(part) for part in command]
    print("+", " ".join(command), file=sys.stderr, flush=True)
    return subprocess.run(command, check=True, **options)


def source(folder):
    """llama.cpp's source, out of the package's."""
    found = sorted(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
    if not found:
        run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", "llama-cpp-python", "-d", folder)
        with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        found = sorted(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
    return found[0]


def build(tree, folder):
    """Its programs, for this processor."""
    out = folder / "build"
    programs = ["llama-bench", "llama-batched-bench", "llama-quantize"]
    if not all((out / "bin" / program).exists() for program in programs):
        run("cmake", "-S", tree, "-B", out, "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_SERVER=OFF",
            "-DBUILD_SHARED_LIBS=OFF", stdout=subprocess.DEVNULL)
        run("nice", "-n", "15", "cmake", "--build", out, "-j1", "--target", *programs, stdout=subprocess.DEVNULL)
    return out / "bin"


def python_for_the_converter(folder, given):
    if given:
        return pathlib.Path(given)
    python = folder / "venv" / "bin" / "python3"
    if not python.exists():
        run(sys.executable, "-m", "venv", folder / "venv")
        run(python, "-m", "pip", "install", "-q", *CONVERTER_NEEDS)
    return python


def gguf(model, kind, tree, programs, folder, python):
    """The model as GGUF of a type."""
    out = folder / f"{pathlib.Path(model).name}-{kind}.gguf"
    whole = folder / f"{pathlib.Path(model).name}-BF16.gguf"
    if not whole.exists():
        environment = {**os.environ, "PYTHONPATH": str(tree / "gguf-py")}
        run(python, tree / "convert_hf_to_gguf.py", model, "--outfile", whole, "--outtype", "bf16", env=environment, stdout=subprocess.DEVNULL)
    if not out.exists():
        run(programs / "llama-quantize", whole, out, kind, "1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return out


def of_llama(programs, file, threads, asked):
    """{"prompt": rate, batch: rate}"""
    text = run(programs / "llama-bench", "-m", file, "-t", threads, "-p", asked.prompt, "-n", asked.new, "-r", asked.repeats, "-o", "json", stdout=subprocess.PIPE,
               stderr=subprocess.DEVNULL).stdout
    rates = {}
    for test in json.loads(text):
        rates["prompt" if test["n_prompt"] > 0 else 1] = test["avg_ts"]
    several = [batch for batch in asked.batch if batch > 1]
    if several:
        room = max(several) * (16 + asked.new) + 64
        text = run(programs / "llama-batched-bench", "-m", file, "-t", threads, "-c", room, "-npp", 16, "-ntg", asked.new, "-npl", ",".join(map(str, several)),
                   "--output-format", "jsonl", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for line in text.splitlines():
            if line.startswith("{"):
                test = json.loads(line)
                rates[test["pl"]] = test["speed_tg"]
    return rates


def of_swage(threads, asked):
    how = ("--threads", threads, "--new-tokens", asked.new, "--repeats", asked.repeats, "--json", "-q")
    prompt = run(ROOT / "build" / "swage", "bench", asked.swage_model, "--batch", 1, "--prompt-tokens", asked.prompt, *how, stdout=subprocess.PIPE).stdout
    text = run(ROOT / "build" / "swage", "bench", asked.swage_model, "--batch", ",".join(map(str, asked.batch)), "--prompt-tokens", 16, *how, stdout=subprocess.PIPE).stdout
    rates = {"prompt": json.loads(prompt)["models"][0]["runs"][0]["prompt_tokens_per_second"]["median"]}
    for one in json.loads(text)["models"][0]["runs"]:
        rates[one["batch"]] = one["decode_tokens_per_second"]["median"]
    return rates


def numbers(text):
    return [int(one) for one in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("float_model")
    parser.add_argument("swage_model")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/llama_cpp"))
    parser.add_argument("--python")
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--types", type=lambda text: text.split(","), default=["Q4_0", "Q8_0"])
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--batch", type=numbers, default=[1, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--anyway", action="store_true", help="measure on a machine that does something else too")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    tree = source(asked.folder)
    programs = build(tree, asked.folder)
    python = python_for_the_converter(asked.folder, asked.python)
    files = {kind: gguf(asked.float_model, kind, tree, programs, asked.folder, python) for kind in asked.types}
    load = os.getloadavg()[0]
    if load > MOST_LOAD and not asked.anyway:
        sys.exit(f"{sys.argv[0]}: the machine has a load of {load:.2f}; figures would be of that, too (--anyway)")
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    print(f"{processor}, load {load:.2f} before; prompt {asked.prompt}, {asked.new} new tokens, {asked.repeats} repeats\n")
    print("| threads | GGUF | what | llama.cpp | swage | ratio |\n| ---: | --- | --- | ---: | ---: | ---: |")
    for threads in asked.threads:
        ours = of_swage(threads, asked)
        for kind, file in files.items():
            theirs = of_llama(programs, file, threads, asked)
            for what in ["prompt", *asked.batch]:
                name = "prompt" if what == "prompt" else f"text, batch {what}"
                print(f"| {threads} | {kind} | {name} | {theirs[what]:.1f} | {ours[what]:.1f} | {ours[what] / theirs[what]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
