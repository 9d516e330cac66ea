import os
from pathlib import Path
def data_folder() -> Path:
    return Path(os.environ.get("PBENCH_DATA", "/nonexistent"))
