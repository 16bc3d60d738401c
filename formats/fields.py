"""The file of a neural field that a capture leaves, as the input of a job that looks at it."""

from __future__ import annotations

FILE = "field.safetensors"
