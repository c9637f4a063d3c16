"""The generic operator for ONNX models, and how every ONNX operator opens its session.

``OnnxOperator`` runs any model file::

    operators:
      classify:
        run: circinus.onnx:OnnxOperator
        knobs:
          model: [models/large.onnx, models/small.onnx]
          pre: ["my_package.hooks:to_tensor"]
          post: ["my_package.hooks:to_label"]

onnxruntime and numpy are imported when a session is opened, never by importing this module: an
agent without ML extras can still read what the operator declares.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circinus.errors import InvalidInput
from circinus.operator import Context, Knob, KnobValue, Operator, load_object

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensor = NDArray[Any]
    Tensors = Mapping[str, Tensor]

__all__ = ["OnnxOperator", "choose_providers", "find_model", "open_session"]

CPU_PROVIDER = "CPUExecutionProvider"


class OnnxOperator(Operator):
    """Runs an ONNX model on each request, many requests per run where shapes agree.

    Without hooks an input is one array without batch axis (or a map from input name to such
    arrays, for a model with several inputs), and an output is one array without batch axis (or
    a map from output name, for a model with several outputs). ``pre`` turns a request's value
    into such an input, ``post`` such an output into what the next operator receives.
    """

    model = Knob("")
    pre = Knob("")
    post = Knob("")
    threads = Knob(0, affects_accuracy=False)

    def setup(self, config: Mapping[str, KnobValue]) -> None:  # noqa: ARG002 - read as knobs
        """Open the session and resolve the hooks.

        Raises:
            InvalidInput: If the model, a hook or onnxruntime is not there.
        """
        if not self.model:
            raise InvalidInput(
                "operator OnnxOperator needs a model",
                key="model",
                remedy="give the knob `model` the path of an .onnx file",
            )
        self._pre = _hook(self.pre)
        self._post = _hook(self.post)
        path = find_model(self.model)
        self._session = open_session(path, self.context, threads=self.threads or None)
        inputs = self._session.get_inputs()
        self._names = [i.name for i in inputs]
        self._dtypes = {i.name: i.type for i in inputs}
        self._outputs = [o.name for o in self._session.get_outputs()]
        first = inputs[0].shape[0] if inputs[0].shape else None
        self._fixed_batch = first if isinstance(first, int) and first > 0 else None

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        """Run the model on each input; one that a hook rejects fails its own request only."""
        results: list[Any] = [None] * len(batch)
        groups: dict[tuple[Any, ...], list[tuple[int, Tensors]]] = {}
        for index, value in enumerate(batch):
            try:
                tensors = self._tensors(value)
            except Exception as error:  # noqa: BLE001 - fails this request alone
                results[index] = error
                continue
            shapes = tuple(tensors[name].shape for name in self._names)
            groups.setdefault(shapes, []).append((index, tensors))
        for group in groups.values():
            size = self._fixed_batch or len(group)
            for start in range(0, len(group), size):
                part = group[start : start + size]
                try:
                    self._run(part, results)
                except Exception as error:  # noqa: BLE001 - a shape the model refuses: these alone
                    for index, _ in part:
                        results[index] = error
        return results

    def _run(self, group: list[tuple[int, Tensors]], results: list[Any]) -> None:
        """Run one group of equal shapes; its outputs go into `results` by index."""
        import numpy as np

        rows = [tensors for _, tensors in group]
        missing = (self._fixed_batch or len(rows)) - len(rows)
        rows += rows[-1:] * missing  # a model of fixed batch wants a full one; surplus is dropped
        feed = {name: np.stack([row[name] for row in rows]) for name in self._names}
        outputs = self._session.run(self._outputs, feed)
        for row, (index, _) in enumerate(group):
            values = [output[row] for output in outputs]
            value = values[0] if len(values) == 1 else dict(zip(self._outputs, values, strict=True))
            try:
                results[index] = self._post(value) if self._post else value
            except Exception as error:  # noqa: BLE001 - fails this request alone
                results[index] = error

    def _tensors(self, value: Any) -> Tensors:
        """The model's inputs for one request, of the dtypes the model declares."""
        import numpy as np

        if self._pre:
            value = self._pre(value)
        if not isinstance(value, Mapping):
            if len(self._names) > 1:
                raise InvalidInput(f"the model wants a map with the inputs {self._names}")
            value = {self._names[0]: value}
        absent = [name for name in self._names if name not in value]
        if absent:
            raise InvalidInput(f"the model's inputs {absent} are missing", key="pre")
        return {n: np.asarray(value[n], dtype=_dtype(self._dtypes[n])) for n in self._names}


def open_session(path: str | Path, context: Context, *, threads: int | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` that shares its cores well with its neighbours.

    Args:
        path: The model file.
        context: Its providers are taken as far as onnxruntime has them; its `threads` is the
            default number of intra-op threads.
        threads: Overrides ``context.threads``.

    Raises:
        InvalidInput: If onnxruntime is not installed or cannot load the model.
    """
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or context.threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Many instances share the cores: a thread that spins while it waits takes its neighbour's time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = choose_providers(context.providers, runtime.get_available_providers())
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no base but Exception
        raise InvalidInput(f"onnxruntime cannot load the model: {error}", file=str(path)) from error


def choose_providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """The providers of `wanted` that are `available`, in its order, with the CPU as last resort."""
    chosen = [p for p in wanted if p in available]
    return chosen if CPU_PROVIDER in chosen else [*chosen, CPU_PROVIDER]


def find_model(ref: str) -> Path:
    """The file behind a model reference: a path, or ``package:path/inside/it``.

    Raises:
        InvalidInput: If there is no such file.
    """
    package, colon, inside = ref.partition(":")
    path = Path(ref).expanduser()
    if colon and package.isidentifier() and len(package) > 1:  # a single letter is a drive
        spec = find_spec(package)  # finds the folder without running the package's code
        if spec is None or not spec.origin:
            raise InvalidInput(
                f"package {package!r} is not installed on this device",
                key="model",
                remedy=f"pip install {package.replace('_', '-')}",
            )
        path = Path(spec.origin).parent / inside
    if not path.is_file():
        raise InvalidInput(f"there is no model file {str(path)!r} on this device", key="model")
    return path


def _onnxruntime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InvalidInput(
            "onnxruntime is not installed on this device", remedy="install its extra onnx"
        ) from error


def _hook(ref: str) -> Callable[[Any], Any] | None:
    if not ref:
        return None
    found = load_object(ref)
    if not callable(found):
        raise InvalidInput(f"{ref!r} is not a function")
    hook: Callable[[Any], Any] = found
    return hook


def _dtype(onnx_type: str) -> np.dtype[Any]:
    """The numpy dtype of an onnxruntime type such as ``tensor(float)``."""
    import numpy as np

    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    names = {"float": "float32", "double": "float64", "float16": "float16", "string": "object"}
    return np.dtype(names.get(name, name))
