"""Which model answers, and whether it is the one that should."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Info


class ModelMetrics:
    """The model in use, and the registry that it comes from."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """
        Args:
            registry: where the metrics are published.
        """
        self.at_fault = Gauge(
            "limelight_model_at_fault", "1 while the model fails on its golden records.", registry=registry
        )
        self._model = Info("limelight_model", "The bundle that answers, but for a canary's share.", registry=registry)
        self.swaps = Counter("limelight_model_swaps", "Deployments taken over while running.", registry=registry)
        self.returned = Counter(
            "limelight_canary_returned_records",
            "Records that the canary could not score, and the current version was asked for.",
            registry=registry,
        )
        self._generation = Gauge(
            "limelight_deployment_generation", "Generation of the registry that answers.", registry=registry
        )
        self.problems = Counter(
            "limelight_deployment_problems",
            "Times that the registry could not be followed, or a version was refused.",
            registry=registry,
        )
        self.followed = Gauge(
            "limelight_deployment_followed", "1 while what answers is what the registry asks for.", registry=registry
        )
        self.followed.set(1)

    def loaded(self, *, name: str, version: str) -> None:
        """Says which bundle answers from now on."""
        self._model.info({"name": name, "version": version})

    def deployment_taken(self, *, name: str, version: str, generation: int) -> None:
        """Says which generation of a registry answers from now on."""
        self.loaded(name=name, version=version)
        self._generation.set(generation)
