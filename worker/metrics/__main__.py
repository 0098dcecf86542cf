"""``python -m worker.metrics``: writes the list of metrics into the page beside this file."""

from worker.files import write_file
from worker.metrics.table import PAGE, build_page

write_file(PAGE, build_page(PAGE.read_text(encoding="utf-8")).encode())
print("wrote worker/metrics/README.md")
