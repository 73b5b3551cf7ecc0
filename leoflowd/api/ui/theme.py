"""How the unmodified UI looks like ours: its own theme setting, so that not a byte of the build changes."""

from __future__ import annotations

from typing import Any

from leoflowd.config import ApiConfig

_BRAND = {
    "50": "oklch(0.98 0.008 285)",
    "100": "oklch(0.955 0.017 285)",
    "200": "oklch(0.91 0.034 285)",
    "300": "oklch(0.84 0.058 285)",
    "400": "oklch(0.70 0.098 285)",
    "500": "oklch(0.58 0.125 285)",
    "600": "oklch(0.48 0.130 285)",
    "700": "oklch(0.41 0.120 285)",
    "800": "oklch(0.33 0.098 285)",
    "900": "oklch(0.26 0.078 285)",
    "950": "oklch(0.18 0.058 285)",
}
"""Same lightness steps as Airflow's blue, so that every contrast of its design stays as it was."""


def build_theme(config: ApiConfig) -> dict[str, Any]:
    """Airflow's `Theme`: colours, our mark as icon, and in Lite a badge under it."""
    icon = f"{config.base_path}leoflow/static/mark.svg"
    return {
        "tokens": {"colors": {"brand": {step: {"value": colour} for step, colour in _BRAND.items()}}},
        "globalCss": _badge(config.edition) if config.edition else None,
        "icon": icon,
        "icon_dark_mode": icon,
    }


def _badge(edition: str) -> dict[str, Any]:
    return {
        "[data-testid='nav-sidebar']::before": {
            "content": f'"{edition}"',
            "position": "absolute",
            "top": "2px",
            "left": "0",
            "right": "0",
            "textAlign": "center",
            "fontSize": "9px",
            "fontWeight": "700",
            "letterSpacing": "0.12em",
            "color": "fg",
            "pointerEvents": "none",
        }
    }
