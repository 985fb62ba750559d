def f():
    try:
        g()
    except* (ValueError, TypeError) as group:
        raise group
    except* OSError:
        pass


async def many():
    return [x async for x in f()], [await x for x in f()]
