r"""Lines: text from labels and file names, made fit for text files.

Conventions
-----------
Files are UTF-8. What they cannot hold becomes visible: a byte of a file name that is no UTF-8 as ``\xNN``, as in clip
tables, any other lone surrogate as ``\uNNNN``, and NUL, where many readers stop, as ``\x00``.
"""

import re
import unicodedata

_UNFIT = re.compile("[\x00\ud800-\udfff]")
_BREAKS = frozenset({"Cc", "Zl", "Zp"})  # controls (tab, line feed …), line and paragraph separators


def encodable(text: str) -> str:
    """Return the text with lone surrogates and NUL made visible, all else unchanged."""
    return _UNFIT.sub(_visible, text)


def one_line(text: str) -> str:
    """Return the text without what ends a line or a column: controls and line separators become spaces."""
    return "".join(" " if unicodedata.category(char) in _BREAKS else char for char in encodable(text))


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    # Python reads the bytes 0x80 … 0xff of a file name that is no UTF-8 as U+DC80 … U+DCFF (PEP 383).
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
    return f"\\x{byte:02x}" if byte <= 0xFF else f"\\u{code:04x}"
