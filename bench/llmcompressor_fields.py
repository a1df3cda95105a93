"""Writes the fields of LLM Compressor's modifiers, as their pydantic models have them, to tests/data/llmcompressor_fields.json, which a unit
test compares with what swage's recipes accept.

    python3 -m venv /tmp/llmc && /tmp/llmc/bin/pip install llmcompressor==0.14.0.1
    /tmp/llmc/bin/python bench/llmcompressor_fields.py
"""
import importlib.metadata
import json
import pathlib

from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from llmcompressor.modifiers import ModifierFactory

OUT = pathlib.Path(__file__).resolve().parents[1] / "tests/data/llmcompressor_fields.json"


def main() -> None:
    ModifierFactory.refresh()
    modifiers = {name: sorted(model.model_fields) for name, model in ModifierFactory._main_registry.items() if name.endswith("Modifier") and name != "Modifier"}
    versions = {name: importlib.metadata.version(name) for name in ("llmcompressor", "compressed-tensors")}
    schemes = {model.__name__: sorted(model.model_fields) for model in (QuantizationArgs, QuantizationScheme)}
    lines = [f"    {json.dumps(name)}: {json.dumps(fields)}" for name, fields in sorted(modifiers.items())]
    of_schemes = [f"    {json.dumps(name)}: {json.dumps(fields)}" for name, fields in sorted(schemes.items())]
    OUT.write_text('{\n  "versions": %s,\n  "modifiers": {\n%s\n  },\n  "schemes": {\n%s\n  }\n}\n' % (json.dumps(versions), ",\n".join(lines), ",\n".join(of_schemes)))
    print(f"{OUT}: {sum(map(len, modifiers.values()))} fields of {len(modifiers)} modifiers")


if __name__ == "__main__":
    main()
