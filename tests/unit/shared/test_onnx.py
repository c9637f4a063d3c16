"""The generic ONNX operator, on a model of two inputs and one of one, made here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from circinus.errors import InvalidInput
from circinus.onnx import OnnxOperator, choose_providers, find_model
from circinus.operator import Context, load_operator

np = pytest.importorskip("numpy", reason="numpy is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: ocr)")

FLOAT = 1  # onnx.TensorProto.FLOAT


def save(path: Path, nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any]) -> str:
    def described(values: dict[str, Any]) -> list[Any]:
        return [onnx.helper.make_tensor_value_info(n, FLOAT, s) for n, s in values.items()]

    graph = onnx.helper.make_graph(nodes, "g", described(inputs), described(outputs))
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return str(path)


@pytest.fixture(params=["n", 1, 3])
def doubler(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """y = x + x, of any batch size, of one, and of three."""
    shape = [request.param, "w"]
    node = onnx.helper.make_node("Add", ["x", "x"], ["y"])
    return save(tmp_path / "double.onnx", [node], {"x": shape}, {"y": shape})


@pytest.fixture
def sum_and_product(tmp_path: Path) -> str:
    nodes = [
        onnx.helper.make_node("Add", ["a", "b"], ["sum"]),
        onnx.helper.make_node("Mul", ["a", "b"], ["product"]),
    ]
    shape = ["n", 2]
    return save(
        tmp_path / "two.onnx", nodes, {"a": shape, "b": shape}, {"sum": shape, "product": shape}
    )


def make(**config: Any) -> OnnxOperator:
    operator = OnnxOperator(config)
    operator.setup(operator.config)
    return operator


def test_every_request_gets_its_own_row_whatever_the_models_batch(doubler: str) -> None:
    outputs = make(model=doubler).process([[1, 2], [3, 4], [5, 6], [7, 8, 9]])
    assert [o.tolist() for o in outputs] == [[2, 4], [6, 8], [10, 12], [14, 16, 18]]


def test_several_inputs_and_outputs_are_maps(sum_and_product: str) -> None:
    (output,) = make(model=sum_and_product).process([{"a": [1, 2], "b": [3, 4]}])
    assert {name: value.tolist() for name, value in output.items()} == {
        "sum": [4, 6],
        "product": [3, 8],
    }


def parse(value: str) -> Any:
    return np.array([float(part) for part in value.split()])


def first(value: Any) -> float:
    return float(value[0])


def test_hooks_stand_before_and_after_and_fail_one_request_only(
    doubler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hooks_of_a_user", sys.modules[__name__])
    operator = make(model=doubler, pre="hooks_of_a_user:parse", post="hooks_of_a_user:first")
    outputs = operator.process(["1 2", "no number", "4 5"])
    assert (outputs[0], outputs[2]) == (2.0, 8.0)
    assert isinstance(outputs[1], ValueError)


def test_a_shape_the_model_refuses_fails_its_request_only(sum_and_product: str) -> None:
    good, bad = {"a": [1, 2], "b": [3, 4]}, {"a": [1, 2, 3], "b": [4, 5, 6]}
    outputs = make(model=sum_and_product).process([good, bad, {"a": [1, 2]}])
    assert outputs[0]["sum"].tolist() == [4, 6]
    assert isinstance(outputs[1], Exception)
    assert isinstance(outputs[2], InvalidInput)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "needs a model"),
        ({"model": "nowhere.onnx"}, "no model file"),
        ({"model": "no_such_package:m.onnx"}, "not installed"),
        ({"model": __file__}, "cannot load"),
        ({"model": __file__, "pre": "circinus:nothing"}, "no 'nothing'"),
    ],
)
def test_what_is_missing_is_named(config: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        make(**config)


def test_a_model_may_lie_inside_a_package() -> None:
    assert find_model("circinus:onnx.py").name == "onnx.py"


def test_providers_are_the_devices_in_its_order_and_the_cpu_at_last() -> None:
    available = ["CPUExecutionProvider", "CUDAExecutionProvider"]
    wanted = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert choose_providers(wanted, available) == ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_threads_default_to_the_contexts(doubler: str) -> None:
    operator = OnnxOperator({"model": doubler}, Context(threads=2))
    operator.setup(operator.config)
    assert operator._session.get_session_options().intra_op_num_threads == 2


def test_it_is_registered_under_a_name_of_its_own() -> None:
    assert load_operator("onnx") is OnnxOperator


def test_importing_it_loads_no_ml_package() -> None:
    code = "import sys, circinus.onnx; print({'numpy', 'onnxruntime', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
