"""Recipes as scripts give them, as the file or name that swage reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Sequence, Union

from ._errors import InvalidArgumentError, UnsupportedError
from .modifiers._base import Modifier

RecipeInput = Union[str, "Path", Modifier, Sequence[Any]]


def _flat(recipe: Any) -> list[Modifier]:
    if isinstance(recipe, Modifier):
        return [recipe]
    if isinstance(recipe, (list, tuple)):
        return [one for item in recipe for one in _flat(item)]
    raise InvalidArgumentError(
        f"a recipe of type {type(recipe).__module__}.{type(recipe).__name__}: expected modifiers of swage.modifiers, "
        "the name of a file or of a shipped recipe, or YAML; call swage.compat.install() before llmcompressor is imported"
    )


def recipe_json(recipe: Union[Modifier, Sequence[Any]]) -> dict[str, Any]:
    """Modifiers as the stages and groups of a recipe, in their order."""
    modifiers = _flat(recipe)
    names = [one.recipe_name for one in modifiers]
    groups: dict[str, Any] = {}
    for place, one in enumerate(modifiers):
        group = "default_modifiers" if len(set(names)) == len(names) else f"step{place}_modifiers"
        groups.setdefault(group, {}).update(one.to_recipe())
    return {"default_stage": groups}


def _is_text(recipe: str) -> bool:
    return "\n" in recipe or recipe.lstrip().startswith("{") or ":" in recipe and not Path(recipe).exists()


def recipe_file(recipe: RecipeInput, folder: Path) -> str:
    """The name of a file with the recipe, written into the folder unless it is one; or the name of a shipped recipe."""
    if isinstance(recipe, Path):
        return str(recipe)
    if isinstance(recipe, str) and not _is_text(recipe):
        return recipe
    if isinstance(recipe, (list, tuple)) and recipe and all(isinstance(one, (str, Path)) for one in recipe):
        if len(recipe) > 1:
            raise UnsupportedError("several recipe files at once: put their modifiers into one")
        return recipe_file(recipe[0], folder)
    file = folder / "recipe.yaml"  # JSON is YAML
    file.write_text(recipe if isinstance(recipe, str) else json.dumps(recipe_json(recipe), indent=1))
    return str(file)
