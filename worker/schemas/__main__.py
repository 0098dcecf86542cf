"""``python -m worker.schemas``: writes the JSON Schemas beside this file."""

from pathlib import Path

from worker.files import write_file
from worker.schemas import build_schemas

for name, schema in build_schemas().items():
    write_file(Path(__file__).with_name(name), schema)
    print(f"wrote worker/schemas/{name}")
