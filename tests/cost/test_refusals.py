"""What a row says where a converter does not take a model."""

from __future__ import annotations

import pytest
import torch

import paretovit.zoo
from paretovit.cost.exported import converting
from paretovit.errors import Unmeasurable


@pytest.mark.parametrize(
    ("module", "named"), [(paretovit.zoo, "paretovit/zoo/__init__.py"), (torch, "torch/__init__.py")]
)
def test_files_are_named_below_the_folder_that_they_are_imported_from(module, named):
    with pytest.raises(Unmeasurable) as told, converting("litert"):
        raise ValueError(f"{module.__file__}:68:0: error: 'i64' by ({module.__file__})")
    assert str(told.value) == f"litert cannot take this model: {named}:68:0: error: 'i64' by ({named})"


def test_the_line_that_names_an_operator_is_told():
    outer = RuntimeError("it failed\n in the end")
    outer.__cause__ = ValueError("what is more\nno decomposition of aten::kthvalue")
    why = r"^onnx cannot take this model: no decomposition of aten::kthvalue$"
    with pytest.raises(Unmeasurable, match=why), converting("onnx"):
        raise outer
