"""The replacer: surrogates into the frame, obfuscations where there is none."""

from deid_ros.replacer.compose import BLENDS
from deid_ros.replacer.obfuscate import OBFUSCATIONS
from deid_ros.replacer.replacer import REPLACEMENTS, Replaced, Replacer, cover_solid

__all__ = ["BLENDS", "OBFUSCATIONS", "REPLACEMENTS", "Replaced", "Replacer", "cover_solid"]
