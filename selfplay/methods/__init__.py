"""Training methods, one file each: `NAME.py` holds `method(config)`, which the command line finds as `--method NAME`."""
