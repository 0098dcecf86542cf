"""What a process of the bench needs to know to draw the same events as all others."""

from typing import NamedTuple

from worker.bench.workload import Workload
from worker.bundle import Bundle
from worker.opening import find_bundle
from worker.settings import Settings


class Assignment(NamedTuple):
    """The work, in a form that can be sent to another process."""

    settings: Settings
    records: int
    partitions: int
    seed: int

    def load(self) -> tuple[Bundle, Workload]:
        """
        Raises:
            LimelightError: the settings' bundle cannot be used.
        """
        bundle = find_bundle(self.settings)
        return bundle, self.workload(bundle)

    def workload(self, bundle: Bundle) -> Workload:
        """The events for the model in `bundle`.

        Raises:
            SettingsError: the settings name a field that the model does not read.
        """
        field = bundle.manifest.fields[0]
        return Workload(
            bundle.vocabulary(field),
            max_tokens=field.max_tokens,
            text_field=self.settings.field_map([field.name])[field.name],
            id_field=self.settings.id_field,
            records=self.records,
            seed=self.seed,
        )
