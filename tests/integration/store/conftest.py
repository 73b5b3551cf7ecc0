"""The API's application and the scheduler's world, for tests of what they do to the store together."""

from tests.integration.api.conftest import admin, anonymous, api_context, app, clock
from tests.integration.scheduler.conftest import world

__all__ = ["admin", "anonymous", "api_context", "app", "clock", "world"]
