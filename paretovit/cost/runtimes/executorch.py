"""ExecuTorch, with all that XNNPACK takes given to XNNPACK."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from paretovit.cost.exported import FileSession, converting, traced
from paretovit.cost.runtimes import FileRuntime, Session
from paretovit.errors import Unmeasurable


class Executorch(FileRuntime):
    """The model as an ExecuTorch program of fixed shapes; what XNNPACK does not take runs on portable kernels.

    In bfloat16 these round every sum on its way (5% of the largest logit in four blocks), so it is not offered.
    """

    dtypes = ("float32", "float16")
    suffix = ".pte"
    extra = "executorch"
    libraries = (
        "executorch.exir",
        "executorch.backends.xnnpack.partition.xnnpack_partitioner",
        "executorch.runtime",
    )

    def export(self, model: nn.Module, batch: Tensor, path: Path) -> None:
        program = traced(model, batch)
        with converting("executorch"):
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
            from executorch.runtime import Runtime

            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
            called = {
                f"{operator.name}.{operator.overload}" if operator.overload else operator.name
                for plan in lowered.executorch_program.execution_plan
                for operator in plan.operators
            }
            if unknown := called - Runtime.get().operator_registry.operator_names:
                raise Unmeasurable(f"executorch has no kernel for {', '.join(sorted(unknown))}")
            path.write_bytes(lowered.buffer)

    def load(self, path: Path, batch: Tensor) -> Session:
        with converting("executorch"):
            from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
            from executorch.runtime import Runtime

            _unsafe_reset_threadpool(torch.get_num_threads())
            method = Runtime.get().load_program(path).load_method("forward")
        return FileSession(
            lambda images: method.execute((images,))[0],
            batch,
            given=Tensor.contiguous,
            no_peak="executorch does not tell what XNNPACK holds",
        )
