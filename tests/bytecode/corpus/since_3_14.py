def f(x):
    return x[1:2], x[:], x[::-1], x["a":"b"], x[1:2, 3:4], x[None:1.0:True], x[(1, 2) : (3, 4)], x[1:2]


def g(name, value):
    return t"hello {name!r:>10} {value} {t'{name}'}"


class Annotated:
    one: Later
    if f:
        two: "Later" = 3


def h():
    try:
        f()
    except ValueError, TypeError:
        pass
