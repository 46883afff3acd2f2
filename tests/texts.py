"""Texts that break programs which take text for something else: they are kept as they are, or refused."""

HOSTILE: dict[str, str] = {
    "from right to left": "\u202egnp.exe\u2066\u200f",
    "four bytes a letter": "🦄\U0001d54f\U0010fffd",
    "no characters": "\uffff\ufffe\U0010ffff",
    "nothing to see": "a\u200b\u200d\ufeff\u00a0",
    "many accents": "Z" + "\u0301" * 100,
    "line breaks": "a\r\nSet-Cookie: b\n\u2028\u2029",
    "control characters": "\x01\x08\x1b[2J\x7f\x85",
    "of other languages": "'\"\\;--$1 %s {0} <script>&amp;`",
    "a fact": '{"type":"orderlog.order.cancelled.v1","at":null}',
    "escapes": "\\u0000 \\ud800 \\x00 %00 &#0;",
}
"""Name to text; none has more than 200 characters."""
