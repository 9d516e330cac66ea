"""Bytes made of valid bytes: flipped, cut, doubled, spliced, and mixed with what breaks parsers."""

from __future__ import annotations

import random

TOKENS = (
    b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\xff" * 8, b"NaN", b"1e999999", b"-0", b"9" * 5000,
    b"[" * 3000, b'{"a":' * 500, b'"\\ud800"', b"\xed\xa0\x80", b"null", b"true", b"[]", b"{}", b'""', b"\x1b[2J", b"</script>", b"../",
    b"\r", b"\n", b",", b'"', b"+", b"%", b"a" * 2000, b"PK\x03\x04", b"\x89HDF",
)  # fmt: skip


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """Bytes that come of a few random changes to `seed`."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.randrange(256)
            case 2:
                data[at:at] = rng.choice(TOKENS)
            case 3:
                token = rng.choice(TOKENS)
                data[at : at + len(token)] = token
            case 4:
                del data[at : at + rng.choice((1, 2, 4, 16, 256))]
            case 5:
                end = at + rng.choice((1, 4, 16, 64))
                data[at:at] = data[at:end] * rng.choice((1, 2, 50))
            case 6 if rng.random() < 0.2:
                del data[at:]
            case _ if data:
                other = rng.randrange(len(data))
                n = rng.choice((1, 4, 8, 32))
                data[at : at + n] = data[other : other + n]
    return bytes(data)
