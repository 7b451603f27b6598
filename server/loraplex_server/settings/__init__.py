"""The options of a server: one definition, read from the command line, the environment and a YAML file."""

from loraplex_server.settings.errors import SettingsError
from loraplex_server.settings.load import load_settings
from loraplex_server.settings.options import ServeSettings

__all__ = ["ServeSettings", "SettingsError", "load_settings"]
