"""As much of SLURM as submitit speaks to, as programs that run arrays on this machine one task after the other."""

from __future__ import annotations

import sys
from pathlib import Path

SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path

script, here = sys.argv[-1], Path(__file__).parent
text = Path(script).read_text()
job = 100 + len(list(here.glob("*.job")))
(here / f"{{job}}.job").write_text(text)
array = re.search(r"--array=0-(\\d+)", text)
last = int(array[1]) if array else 0
code = ""
for i in range(last + 1):
    task = f"SLURM_ARRAY_JOB_ID={{job}} SLURM_ARRAY_TASK_ID={{i}}" if array else ""
    code += f"env SLURM_JOB_ID={{job + 1000 * i}} {{task}} SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 bash {{script}}\\n"
null = subprocess.DEVNULL
process = subprocess.Popen(["bash", "-c", code], stdin=null, stdout=null, stderr=null, start_new_session=True)
(here / f"{{job}}.pid").write_text(str(process.pid))
print(f"Submitted batch job {{job}}")
"""
SRUN = """#!{python}
import os, sys

words = sys.argv[1:]
job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ["SLURM_JOB_ID"])
task = os.environ.get("SLURM_ARRAY_TASK_ID", "")
while words[0].startswith("--"):
    name = words.pop(0)
    if name in ("--output", "--error"):
        path = words.pop(0).replace("%A", job).replace("%a", task).replace("%j", job).replace("%t", "0")
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 1 if name == "--output" else 2)
os.execvp(words[0], words)
"""
SACCT = """#!{python}
print("JobID|State|NodeList")
"""
SCANCEL = """#!{python}
import os, signal, sys
from pathlib import Path

pid = int((Path(__file__).parent / f"{{sys.argv[1].partition('_')[0]}}.pid").read_text())
try:
    os.killpg(pid, signal.SIGKILL)
except ProcessLookupError:
    pass
"""


def install(folder: Path) -> None:
    """Write ``sbatch``, ``srun``, ``sacct`` and ``scancel`` into a folder; what was submitted lies there as ``*.job``."""
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT, "scancel": SCANCEL}.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
