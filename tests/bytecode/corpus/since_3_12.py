type Alias[T: (int, str), *Ts, **P] = dict[T, tuple[*Ts]]


class Generic[T: "bound"]:
    attribute: T

    def method[U](self, value: U = "a b", *rest: *tuple[T, ...]) -> T | U:
        self.one = self.two = self.three = f"{value!r} {f'{value}'}"
        return value
