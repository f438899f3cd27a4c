"""The sizes that pictures of AV1 and HEVC are coded at, by the headers of their streams."""

from __future__ import annotations

# Of a header, enough for 32 operating points.
HEADER_BYTES = 512


class _Bits:
    """Numbers of some bits, one after the other; IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int = 1) -> int:
        self.left -= count
        if self.left < 0:
            raise IndexError
        return self.value >> self.left & (1 << count) - 1

    def take_exponential(self) -> int:
        """A number by its logarithm in zeros: Exp-Golomb, which AV1 calls uvlc."""
        zeros = 0
        while not self.take():
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, least first, and where it ends. IndexError if it does not."""
    value = 0
    for place in range(8):
        value |= (data[at + place] & 127) << 7 * place
        if not data[at + place] & 128:
            return value, at + place + 1
    raise IndexError


def av1_size(header: bytes) -> tuple[int, int]:
    """The largest frame of a sequence, by its header: AV1 specification, 5.5.1. IndexError if it is cut off."""
    bits = _Bits(header[:HEADER_BYTES])
    bits.take(4)
    if bits.take():  # of a still picture, reduced
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take():  # timing
        bits.take(64)
        if bits.take():  # equal intervals
            bits.take_exponential()
        if bits.take():  # a decoder's model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    delays = bits.take()
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take()
        if delay_bits and bits.take():
            bits.take(2 * delay_bits + 1)
        if delays and bits.take():
            bits.take(4)


def hevc_size(unit: bytes) -> tuple[int, int]:
    """The luma samples of a sequence, by its parameter set, a unit with its header: H.265, 7.3.2.2.

    IndexError if it is cut off.
    """
    bits = _Bits(unit[2:HEADER_BYTES].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)
    present = [(bits.take(), bits.take()) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.take_exponential()
    if bits.take_exponential() == 3:
        bits.take()
    return bits.take_exponential(), bits.take_exponential()
