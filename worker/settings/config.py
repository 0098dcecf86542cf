"""How pydantic reads every group of settings."""

from pydantic_settings import SettingsConfigDict

from worker.settings.names import PREFIX

CONFIG = SettingsConfigDict(
    env_prefix=PREFIX,
    extra="forbid",
    frozen=True,
    hide_input_in_errors=True,
    use_attribute_docstrings=True,
    validate_default=False,
)
