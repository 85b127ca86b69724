def cases(folder):
    return ()
