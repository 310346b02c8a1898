"""The deep detectors, one module each; use them as ``skdeepad.DASVDD``."""
