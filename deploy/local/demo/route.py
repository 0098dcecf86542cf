"""The way from nothing to a scored stream. Training takes most of the time; what can be done meanwhile is."""

from deploy.local.demo.audit import Audit, Auditor
from deploy.local.demo.broker import Site, begin_broker, finish_broker
from deploy.local.demo.model import begin_check, begin_training, finish_model, prepare_events
from deploy.local.demo.reading import read_back
from deploy.local.demo.run import Run
from deploy.local.demo.stream import Stream
from deploy.local.demo.summary import Summary, build_attention_facts, build_stream_facts


def walk(run: Run) -> tuple[Summary, Audit]:
    """Goes all the way. Without ``--once`` it never arrives: it runs until it is interrupted.

    Raises:
        LimelightError: something cannot go on.
    """
    begin_check(run)
    broker_stage = begin_broker(run)
    lines = prepare_events(run)
    training = begin_training(run)
    site = finish_broker(run, broker_stage)
    model = finish_model(run, training)
    stream = Stream(run, site)
    stream.start_workers(model.bundle)
    stream.feed(lines)
    workers = stream.retire()
    audit = count_answers(run, site)
    summary = Summary(
        broker=site.facts,
        train=model.train,
        export=model.export,
        stream=build_stream_facts(audit, dict(stream.arrivals_ms)),
        attention=build_attention_facts(audit),
        workers=workers,
    )
    return summary, audit


def count_answers(run: Run, site: Site) -> Audit:
    """Reads the topics back and counts."""
    stage = run.begin("audit", "reading the topics back, record by record")

    def work() -> Audit:
        auditor = Auditor()
        for topic, take in [
            (site.topics.events, auditor.take_event),
            (site.topics.predictions, auditor.take_prediction),
            (site.topics.dead_letters, auditor.take_dead_letter),
        ]:
            for record in read_back(site.servers, topic):
                take(record)
        return auditor.finish()

    audit = run.call("audit", work)
    found = "; ".join(audit.describe_findings())
    stage.end(found or f"every one of {len(audit.timestamps_ms):,} records has one answer, in order")
    return audit
