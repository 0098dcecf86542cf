"""Training and export, and the data for both and for the stream."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from deploy.local.demo import programs
from deploy.local.demo.errors import DemoError
from deploy.local.demo.labels import check_labels
from deploy.local.demo.material import GeneratedLines, file_lines
from deploy.local.demo.run import Run
from deploy.local.demo.stages import Stage
from deploy.local.demo.summary import ExportFacts, TrainFacts

T = TypeVar("T", bound=msgspec.Struct)


class Model(NamedTuple):
    """A bundle and where it comes from."""

    bundle: Path
    train: TrainFacts | None
    export: ExportFacts | None


class _Exported(ExportFacts):
    bundle: str


def prepare_events(run: Run) -> Iterable[bytes]:
    """The lines to stream: what is kept of the user's data, or generated messages.

    Raises:
        LimelightError: the data cannot be read, or the bundle does not know their labels.
    """
    data = run.options.data
    if data is None:
        return GeneratedLines(
            lambda records, seed, output: run.crew.start_job("generate", programs.generate(records, seed, output)),
            run.directory,
            total=run.options.records,
        )
    heldout = run.directory / "heldout.jsonl"
    bundle = run.options.bundle
    job = run.crew.start_job("split", programs.split(data, train=_train_file(run), heldout=heldout))
    stage = run.begin("data", f"keeping a fifth of {data.path} from training", child=job)
    run.finish(job)
    if bundle is not None:
        check_labels(heldout, source=data.path, bundle=bundle)
    with heldout.open("rb") as lines:
        stage.end(f"{sum(1 for _ in lines)} records of {data.path} are kept from training, to be streamed")
    # A number of records that was asked for can be more than there are.
    return file_lines(heldout, endless=not run.options.once or run.options.records is not None)


def begin_check(run: Run) -> None:
    """Starts to look at the bundle that was given, if one was: a worker would refuse it only when all else is up.

    Raises:
        DemoError: it is no bundle at all.
    """
    bundle = run.options.bundle
    if bundle is None:
        return
    if not (bundle / "manifest.json").is_file():
        raise DemoError(f"{bundle} is not a model bundle. Give the directory that `python -m export` printed.")
    run.crew.start_job("bundle", programs.check_bundle(), {"LIMELIGHT_BUNDLE": str(bundle)})


def begin_training(run: Run) -> Stage | None:
    """Starts training; None if there is a bundle already."""
    if run.options.bundle is not None:
        return None
    data = _train_file(run) if run.options.data else None
    command = programs.train(data=data, rounds=run.options.rounds, model=_model(run), report=_report(run, "train"))
    job = run.crew.start_job("train", command)
    return run.begin("training", "loading TensorFlow Federated", child=job, progress="round ")


def finish_model(run: Run, training: Stage | None) -> Model:
    """Waits for the model and exports it."""
    if training is None or training.child is None:
        assert run.options.bundle is not None
        return Model(run.options.bundle.absolute(), None, None)
    run.finish(training.child)
    trained = _read(_report(run, "train"), TrainFacts)
    rounds = f"{trained.rounds} rounds over {trained.clients} clients"
    training.end(f"{rounds}, accuracy {trained.heldout_accuracy:.3f} on held-out messages")
    bundles = run.directory / "bundles"
    job = run.crew.start_job("export", programs.export(_model(run), bundles=bundles, report=_report(run, "export")))
    stage = run.begin("export", "converting to ONNX and comparing with TensorFlow", child=job)
    run.finish(job)
    exported = _read(_report(run, "export"), _Exported)
    stage.end(f"ONNX bundle, within {exported.max_abs_diff:.0e} of TensorFlow on {exported.probes} probes")
    return Model(Path(exported.bundle), trained, ExportFacts(exported.max_abs_diff, exported.probes))


def _train_file(run: Run) -> Path:
    return run.directory / "train.jsonl"


def _model(run: Run) -> Path:
    return run.directory / "model"


def _report(run: Run, program: str) -> Path:
    return run.directory / f"{program}.json"


def _read(path: Path, kind: type[T]) -> T:
    return msgspec.json.decode(path.read_bytes(), type=kind)
