"""Two ways to download jars: pure Python, and Maven, which knows the mirror that a site has configured."""

import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.kafka.errors import SourceError
from deploy.local.kafka.jars import KAFKA_VERSION, Jar
from deploy.local.processes import ChildProcess

PARALLEL_DOWNLOADS = 8


def download_with_jgo(jars: Sequence[Jar], directory: Path) -> None:
    """Fetches the jars with the ``jgo`` package, from the repository that it knows.

    Raises:
        SourceError: the package is missing, or a jar cannot be had.
    """
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415 - the package is optional
    except ImportError as error:
        raise SourceError("the package jgo is not installed") from error
    _announce("jgo")
    # jgo writes straight to the final name: its repository must be as short-lived as this download.
    repository = directory / "repository"
    context = MavenContext(repo_cache=repository)

    def fetch(jar: Jar) -> None:
        found = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        found.rename(directory / jar.path.name)

    pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS, thread_name_prefix="jgo")
    try:
        for _ in pool.map(fetch, jars):
            pass
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo's own are RuntimeErrors
        raise SourceError(str(error)) from error
    finally:
        pool.shutdown(cancel_futures=True)
    shutil.rmtree(repository)


def download_with_maven(jars: Sequence[Jar], directory: Path) -> None:
    """Fetches the jars with ``mvn``, from wherever its settings say.

    Raises:
        SourceError: there is no ``mvn``, or it failed.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise SourceError("mvn is not on PATH")
    _announce("Maven")
    pom = directory / "pom.xml"
    pom.write_text(render_pom(jars), encoding="utf-8")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={directory}"]
    with ChildProcess([maven, "-q", "-B", "-f", str(pom), *goal], name="mvn", output=directory / "mvn.log") as process:
        if process.wait() != 0:
            raise SourceError(f"mvn failed: {process.tail(lines=3)}")
    for scaffold in (pom, process.output):
        scaffold.unlink()


def render_pom(jars: Sequence[Jar]) -> str:
    """A project that depends on exactly these jars."""
    dependencies = "".join(
        f"    <dependency><groupId>{jar.group}</groupId><artifactId>{jar.artifact}</artifactId>"
        f"<version>{jar.version}</version></dependency>\n"
        for jar in jars
    )
    return (
        "<project>\n  <modelVersion>4.0.0</modelVersion>\n"
        "  <groupId>limelight</groupId><artifactId>kafka</artifactId><version>1</version>\n"
        f"  <dependencies>\n{dependencies}  </dependencies>\n</project>\n"
    )


def _announce(means: str) -> None:
    print(f"Fetching Apache Kafka {KAFKA_VERSION} with {means}; this happens once", file=sys.stderr)
