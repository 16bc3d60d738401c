"""Translation of what a user reads, by Blender's own dictionaries; labels and tooltips need none of this."""

from __future__ import annotations

from typing import Any

from bpy.app import translations

# The oldest stubs say that these return nothing.
iface_: Any = translations.pgettext_iface
rpt_: Any = translations.pgettext_rpt
