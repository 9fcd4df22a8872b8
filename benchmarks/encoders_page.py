"""Tables of what encoders are worth, from the rows of `encoders`."""


def write_page(rows, path):
    raise NotImplementedError
