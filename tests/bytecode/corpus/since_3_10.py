def f(x):
    match x:
        case {"a": 1, **rest} if rest:
            return rest
        case [1, -2.0, 3j, *others]:
            return others
        case str() | bytes(name="x") | None | True:
            return x
        case -1 | 1.0 | "text" as y:
            return y
