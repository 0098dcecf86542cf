"""What a run did, from its records: a page, a table, and how soon a target was reached."""
