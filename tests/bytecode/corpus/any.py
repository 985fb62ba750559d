"""Constants that look alike, sets, closures and everything else that marshal can hold."""

# Equal, and not the same.
ALIKE = (1, 1.0, True, 0, 0.0, -0.0, False, 0j, -0j, complex(0.0, -0.0), "1", b"1", "", b"", (), (()), ((),))
ONE, ONE_F, ONE_B = (1,), (1.0,), (True,)
NUMBERS = (-1, 2**15, 2**30, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63, -(2**64), 10**100, -(10**50), 1e308, 1e-320)
FLOATS = (1e400, -1e400, 1e400 - 1e400, 3.14, 2.5j, -2.5j)
TEXTS = ("é", "Ω", "😀", "\ud800", "\udfff\ud800", "\x00", "a b", "a_b", "naïve_name", "x" * 255, "x" * 256, "é" * 300)
# The compiler imports unicodedata for this.
NAMED = "\N{GREEK SMALL LETTER ALPHA}"
BYTES = (b"\x00\xff", b"a" * 300)
LONG = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10) * 40
DEEP = ((((((((((1, 2.0), "three"), b"four"), 5j), None), ...), True), -0.0), frozenset), ((((((1,),),),),),))


def sets(x):
    a = x in {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "a b", "c d", "e f"}
    b = x in {"theta", "eta", "zeta", "e f", "c d", "a b", "epsilon", "delta", "gamma", "beta", "alpha"}
    c = x in {1, 2.5, "two", b"two", None, ..., (1, "x"), (1.0, "y"), 3j, -7, 10**20, ("a", ("b", ("c",)))}
    d = x in {("a", "b"), ("b", "a"), ("a",), (), ("a", "b", "c")}
    return a, b, c, d


def outer(a, /, b, *args, c=1, d="a b", **kwargs):
    e = a

    def inner(x=("p", "q"), *, y="a b"):
        nonlocal e
        e = b, x, y

        class Inner:
            z = e
            __slots__ = ("one", "two")

            def method(self):
                self.one = self.two = __class__
                return super().__init__, lambda: (self, e)

        return Inner

    return inner, [i + c for i in args if i], {k: d for k in kwargs}, (lambda: 0, lambda: 0)


class Attributes:
    """Writes many attributes, which Python 3.13 lists."""

    def __init__(self):
        self.alpha = self.beta = self.gamma = self.delta = self.epsilon = 1

    async def run(self):
        async with self as x:
            async for y in x:
                yield y


same_line = [lambda: 0, lambda: 0]; again = [lambda: 0]  # noqa: E702
a = lambda: (lambda: "shared constant"); b = lambda: (lambda: "shared constant")  # noqa: E702, E731


def finally_twice():
    try:
        return ("a", "shared", "tuple")
    finally:
        print(("a", "shared", "tuple"), f"{a!r:>{b}} {a}", lambda: ("a", "shared", "tuple"))


def annotated(x: "int | None" = None, *y: ALIKE) -> {"a": 1}:
    z: int = 3
    return x, y, z
