"""Arrays in, probabilities and attention out. The only file that imports onnxruntime.

A session is built from the bytes that the bundle verified, so ONNX Runtime can read nothing else. It is refused when
its tensors differ from the manifest's. Outputs are fetched by name: tf2onnx reorders them.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from worker.bundle import PROBABILITIES, Bundle, Graph, Tensor
from worker.errors import BundleTensorError, ScoringError, SettingsError
from worker.ports import Scores
from worker.process.cpus import available_cpus

CPU = "CPUExecutionProvider"
RUNTIME_VERSION: str = onnxruntime.__version__
OPTIONS = (
    "enable_cpu_mem_arena",
    "enable_mem_pattern",
    "enable_mem_reuse",
    "execution_mode",
    "execution_order",
    "graph_optimization_level",
    "inter_op_num_threads",
    "intra_op_num_threads",
    "log_severity_level",
    "use_deterministic_compute",
)
"""Of `onnxruntime.SessionOptions`, those that are numbers, truths or names. None of them writes a file."""

_DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
}
"""ONNX Runtime's names -> the Open Inference Protocol's."""


class OnnxScorer:
    """Runs the graph of a ``classify`` bundle."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        provider: str = CPU,
        session_options: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            bundle: a loaded bundle with one graph.
            threads: intra-op threads; default: the CPUs that this process may use.
            provider: ONNX Runtime's name for what computes.
            session_options: options of the session in place of ours.

        Raises:
            SettingsError: the provider is not there, or an option is none.
            BundleTensorError: ONNX Runtime cannot load the graph, or reports other tensors than the manifest.
        """
        graph = bundle.manifest.graphs[0]
        try:
            self._session = build_session(
                bundle.contents[graph.file],
                threads=threads or available_cpus(),
                provider=provider,
                session_options=session_options,
            )
        except SettingsError:
            raise
        except Exception as error:
            # ONNX Runtime's exceptions share no base class of their own.
            raise BundleTensorError(
                f"ONNX Runtime cannot load {bundle.path / graph.file}: {error}. Export the model again."
            ) from error
        _check_tensors(bundle.path, graph, self._session)
        self._input = bundle.manifest.fields[0].input
        self._attention = {axes.name: axes.output for axes in bundle.manifest.attention}
        self._outputs = [PROBABILITIES, *self._attention.values()]

    def score(self, token_ids: NDArray[np.int32]) -> Scores:
        """Implements `worker.ports.Scorer`."""
        try:
            probabilities, *weights = self._session.run(self._outputs, {self._input: token_ids})
        except Exception as error:
            raise ScoringError(f"the model failed on a batch of shape {token_ids.shape}: {error}") from error
        if not all(np.isfinite(values).all() for values in (probabilities, *weights)):
            raise ScoringError(f"the model gave a number that is not finite on a batch of shape {token_ids.shape}.")
        return Scores(probabilities, dict(zip(self._attention, weights, strict=True)))


def build_session(
    model: bytes, *, threads: int, provider: str = CPU, session_options: Mapping[str, str] | None = None
) -> onnxruntime.InferenceSession:
    """Loads an ONNX graph with the thread settings that suit a small model in a container.

    Raises:
        SettingsError: `provider` is not there, or an option is none.
    """
    if provider not in onnxruntime.get_available_providers():
        raise SettingsError(
            f"LIMELIGHT_EXECUTION_PROVIDER={provider} is not there. The ONNX Runtime that is installed has "
            f"{', '.join(onnxruntime.get_available_providers())}; install the package that brings it."
        )
    options = onnxruntime.SessionOptions()
    # ONNX Runtime sizes its pool by the host's cores, not by what the process may use.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would burn the core that the Kafka client needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # In an arena each session would keep its peak for itself, so that models that follow one another would grow the
    # process by twice as much. Scoring is as fast without.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    for name, value in (session_options or {}).items():
        _set_option(options, name, value)
    session = onnxruntime.InferenceSession(model, options, providers=[provider])
    if session.get_providers()[0] != provider:
        # ONNX Runtime would go on with the CPU, and say so only in its own log.
        raise SettingsError(
            f"LIMELIGHT_EXECUTION_PROVIDER={provider} cannot be used: ONNX Runtime took {session.get_providers()[0]}. "
            "Look for its libraries and devices."
        )
    return session


def _set_option(options: onnxruntime.SessionOptions, name: str, value: str) -> None:
    if "." in name:
        options.add_session_config_entry(name, value)
        return
    current = getattr(options, name, None) if name in OPTIONS else None
    try:
        match current:
            case bool():
                setattr(options, name, {"true": True, "false": False}[value.lower()])
            case int():
                setattr(options, name, int(value))
            case None:
                raise SettingsError(
                    f"LIMELIGHT_SESSION_OPTIONS names {name}, which is no option. Options are {', '.join(OPTIONS)}, "
                    "and configuration entries, whose names have dots."
                )
            case _:
                setattr(options, name, type(current).__members__[value])
    except (KeyError, ValueError) as error:
        raise SettingsError(f"LIMELIGHT_SESSION_OPTIONS: {name} cannot be {value!r}.") from error


def _check_tensors(path: Path, graph: Graph, session: onnxruntime.InferenceSession) -> None:
    for kind, named, reported in (
        ("input", graph.inputs, session.get_inputs()),
        ("output", graph.outputs, session.get_outputs()),
    ):
        expected = {tensor.name: tensor for tensor in named}
        found = {node.name: _describe(node) for node in reported}
        if expected != found:
            raise BundleTensorError(
                f"{path / graph.file}: the manifest names the {kind}s {_list(expected)}, "
                f"ONNX Runtime reports {_list(found)}. Export the model again."
            )


def _describe(node: onnxruntime.NodeArg) -> Tensor:
    shape = [size if isinstance(size, int) else -1 for size in node.shape]
    return Tensor(name=node.name, datatype=_DATATYPES.get(node.type, node.type), shape=shape)


def _list(tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"{t.name} {t.datatype}{t.shape}" for t in tensors.values()) or "none"
