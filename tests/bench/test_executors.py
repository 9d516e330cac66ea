"""The same jobs give the same records wherever they run, and what goes wrong there is told in the same words."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import Process
from pathlib import Path

import pytest
from small_matrices import MODELS, Told, records, registered, small_matrix
from small_slurm import install

from pbench.bench.contracts.errors import DataError, MissingDependency, UsageError
from pbench.bench.contracts.model import Capabilities
from pbench.bench.engine import executors, ray_connection, ray_executor
from pbench.bench.engine.executors import Need, executor
from pbench.bench.engine.goods import Goods
from pbench.bench.engine.parcel import opened, received
from pbench.bench.engine.run import run_matrix
from pbench.bench.engine.slurm_executor import SlurmExecutor
from pbench.bench.engine.store import Store

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'pbench[ray]'")
needs_slurm = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="submitit is not installed: pip install 'pbench[slurm]'"
)
ELSEWHERE = [
    pytest.param("ray", marks=needs_ray),
    pytest.param("ray-apart", marks=needs_ray),
    pytest.param("slurm", marks=needs_slurm),
    pytest.param("slurm-debug-apart", marks=needs_slurm),
]
#: One of each kind, for what takes longer.
FAR = [pytest.param("ray", marks=needs_ray), pytest.param("slurm", marks=needs_slurm)]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def plugins(toy_plugin, tmp_path_factory):
    file = tmp_path_factory.mktemp("models") / "small_models.py"
    file.write_text(MODELS)
    forget = registered(toy_plugin, file)
    yield (toy_plugin, file)
    forget()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of one core, which this process has joined; their cache is not this process's."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'pbench[ray]'")
    from ray.cluster_utils import Cluster

    cache = tmp_path_factory.mktemp("cache-of-nodes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PBENCH_CACHE", str(cache))
        node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=node)
        made.add_node(**node)
        ray.init(address=made.address, log_to_driver=False, logging_level="CRITICAL")
    made.cache = cache
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def elsewhere(request, tmp_path):
    """An executor by a short name."""

    def enter(name):
        shared = not name.endswith("apart")
        if name.startswith("ray"):
            request.getfixturevalue("cluster")
            return ray_executor.RayExecutor("auto", shared=shared, apart=True)
        return SlurmExecutor(tmp_path / "slurm", {"cluster": "debug" if "debug" in name else "local"}, shared=shared)

    return enter


@pytest.fixture(scope="module")
def at_home(plugins, tmp_path_factory):
    """Records of a local run."""
    out = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PBENCH_CACHE", str(tmp_path_factory.mktemp("cache-at-home")))
        patch.setenv("OMP_NUM_THREADS", "1")
        run_matrix(small_matrix(out, ["steady", "shaken"], plugins, seeds=(0, 1), metrics=("l2@all", "energy@all#pca")), Told())
    return records(out)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_records_are_those_of_a_local_run(name, elsewhere, at_home, plugins, tmp_path, request):
    out, told = tmp_path / "out", Told()
    matrix = small_matrix(out, ["steady", "shaken"], plugins, seeds=(0, 1), metrics=("l2@all", "energy@all#pca"))
    with elsewhere(name) as run_jobs:
        summary = run_matrix(matrix, told, run_jobs=run_jobs)
    assert len(at_home) == 6 and summary.computed == 3
    assert records(out) == at_home
    assert sorted(told.begun) == sorted(title for title, _, _ in told.ended)
    assert not (tmp_path / "slurm").exists()
    assert not list(Path(os.environ["PBENCH_CACHE"]).glob(".seen-*"))
    if name.startswith("ray"):
        # Each of five kinds of goods came to each of the nodes that worked, once, where they do not see the disk of this process.
        brought = list((request.getfixturevalue("cluster").cache / "shipped").glob("*/*/checksums.json"))
        assert len(brought) in ((5, 10) if name == "ray-apart" else (0,))
        assert not list((request.getfixturevalue("cluster").cache / "shipped").glob("*/jobs/*"))
    # What is there is not computed again.
    with elsewhere(name) as run_jobs:
        assert run_matrix(matrix, told, run_jobs=run_jobs).reused == 3


def ended(told):
    return {title.partition(" ")[0].partition("[")[0]: (status, reason) for title, status, reason in told.ended}


BROKEN = ["failing", "sleeping", "killed", "steady"]


@pytest.fixture(scope="module")
def wrong_at_home(plugins, tmp_path_factory):
    """What a local run says of models that do not end well, and their records."""
    out, told = tmp_path_factory.mktemp("wrong-home"), Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PBENCH_CACHE", str(tmp_path_factory.mktemp("cache-wrong")))
        patch.setenv("OMP_NUM_THREADS", "1")
        run_matrix(small_matrix(out, BROKEN, plugins, timeout=3), told)
    return ended(told), records(out)


@pytest.mark.parametrize("name", [ELSEWHERE[0], pytest.param("slurm-debug", marks=needs_slurm)])
def test_what_goes_wrong_has_the_outcome_that_it_has_at_home(name, elsewhere, wrong_at_home, plugins, tmp_path):
    told = Told()
    with elsewhere(name) as run_jobs:
        run_matrix(small_matrix(tmp_path / "out", BROKEN, plugins, timeout=3), told, run_jobs=run_jobs)
    expected, cards = wrong_at_home
    assert ended(told) == expected
    assert {k: v[0] for k, v in expected.items()} == dict(zip(BROKEN, ["failed", "timeout", "killed", "ok"], strict=True))
    found = records(tmp_path / "out")
    assert found.keys() == cards.keys()
    for key, card in cards.items():
        # The outermost frame is that of whatever started the job.
        trace, known = found[key].pop("traceback", ""), card.get("traceback", "")
        assert known.splitlines()[-5:] == trace.splitlines()[-5:]
        assert found[key] == {k: v for k, v in card.items() if k != "traceback"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAR)
def test_a_worker_that_is_lost_loses_nothing(name, elsewhere, plugins, tmp_path):
    told = Told()
    models = [("treacherous", {"where": str(tmp_path)}), "steady"]
    with elsewhere(name) as run_jobs:
        run_matrix(small_matrix(tmp_path / "out", models, plugins), told, run_jobs=run_jobs)
    assert (tmp_path / "done").exists()
    assert set(ended(told).values()) == {("ok", "")}
    assert len(told.begun) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FAR)
def test_an_interrupted_run_ends_its_processes_and_keeps_what_is_done(name, elsewhere, plugins, tmp_path, alive):
    class Impatient(Told):
        def finished(self, title, status, reason, seconds):
            for _ in range(200):
                if list((tmp_path / "pids").iterdir()):
                    raise KeyboardInterrupt
                time.sleep(0.05)

    (tmp_path / "pids").mkdir()
    models = [("sleeping", {"where": str(tmp_path / "pids")}), "steady"]
    with pytest.raises(KeyboardInterrupt), elsewhere(name) as run_jobs:
        run_matrix(small_matrix(tmp_path / "out", models, plugins), Impatient(), run_jobs=run_jobs)
    [pid] = [int(p.name) for p in (tmp_path / "pids").iterdir()]
    for _ in range(200):
        if not alive(pid):
            break
        time.sleep(0.05)
    assert not alive(pid)
    assert [c["model"] for c in Store(tmp_path / "out").cards()] == ["steady"]
    assert not list(Path(os.environ["PBENCH_CACHE"]).glob(".seen-*"))


@pytest.mark.parametrize("name", FAR[:1])
def test_an_archived_answer_is_scored_anew_and_not_made_anew(name, elsewhere, plugins, tmp_path):
    run_matrix(small_matrix(tmp_path / "out", ["steady"], plugins), Told())
    with elsewhere(name) as run_jobs:
        again = run_matrix(small_matrix(tmp_path / "out", ["steady"], plugins, metrics=("mse@all",)), Told(), run_jobs=run_jobs)
    assert [c["rescored"] for c in again.cards] == [True]


@needs_ray
def test_a_job_that_fits_on_no_machine_says_so(elsewhere, plugins, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_executor, "PATIENCE", 1.5)
    told = Told()
    with elsewhere("ray") as run_jobs:
        run_matrix(small_matrix(tmp_path / "out", ["greedy", "steady"], plugins), told, run_jobs=run_jobs)
    status, reason = ended(told)["greedy"]
    assert status == "failed" and "1 CPU, 16 GPU" in reason and "there is: 1 CPU" in reason
    assert ended(told)["steady"] == ("ok", "")


@needs_ray
@pytest.mark.slow
def test_the_command_line_joins_a_cluster_and_starts_one(pbench, toy_plugin, cluster, tmp_path):
    before = set(Path("/tmp").glob("pbench-ray-*"))
    for where in (f"ray:{cluster.address}", "ray"):
        arguments = [
            "--models",
            "additive",
            "--plugin",
            toy_plugin,
            "--dataset",
            "toy-screen",
            "--metrics",
            "headline",
            "-j",
            "2",
        ]
        done = pbench("run", *arguments, "--executor", where, "--out", tmp_path / f"out-{len(where)}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "1 job(s) computed" in done.stderr and "Traceback" not in done.stderr
    # One was started and has ended; the other goes on.
    assert cluster.head_node.remaining_processes_alive()
    assert set(Path("/tmp").glob("pbench-ray-*")) <= before


def test_names_of_executors(tmp_path):
    for text, said in {
        "rya": "Did you mean 'ray'",
        "local:4": "--jobs",
        "ray:nowhere": "ray:HOST:PORT",
        "ray:a:b": "ray:HOST:PORT",
        "ray:ray://a:10001": "ray:HOST:PORT",
        "slurm:partitoin=a": "Did you mean 'partition'",
        "slurm:gpu": "option=value",
        "slurm:time=soon": "whole number",
        "slurm:cluster=lokal": "'local'",
    }.items():
        if text.startswith(("ray", "slurm")) and importlib.util.find_spec({"r": "ray", "s": "submitit"}[text[0]]) is None:
            continue
        with pytest.raises(UsageError, match=".*") as caught:
            executor(text, results=tmp_path)
        assert said in str(caught.value), text


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_names_the_extra(name, package, tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "find_spec", lambda asked: None if asked == package else object())
    with pytest.raises(MissingDependency, match=rf"'{package}', which is not installed. Type: pip install 'pbench\[{name}\]'"):
        executor(name, results=tmp_path)


@needs_ray
@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_address_without_a_cluster_ends_at_once(answer, tmp_path, monkeypatch):
    """Nothing listens, something listens and is silent, something else answers."""
    monkeypatch.setattr(ray_connection, "DIAL", 0.5)

    def reply():
        line, _ = listener.accept()
        line.sendall(answer)
        line.recv(100)
        time.sleep(0 if answer else 2)
        line.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if answer is None:
            listener.close()
        else:
            threading.Thread(target=reply, daemon=True).start()
        began = time.monotonic()
        with (
            pytest.raises(UsageError, match=r"no cluster answers there.*ray start"),
            executor(f"ray:127.0.0.1:{port}", results=tmp_path),
        ):
            pass
        assert time.monotonic() - began < 10


@needs_slurm
def test_slurm_is_looked_for_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no sbatch on this machine"), executor("slurm", results=tmp_path):
        pass


@needs_slurm
def test_arrays_of_slurm_ask_for_what_cards_and_options_say(plugins, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr("pbench.bench.engine.slurm_executor.POLL", 0.1)
    out, told = tmp_path / "out", Told()
    matrix = small_matrix(out, ["steady", "shaken", "greedy"], plugins, memory_mb=6000, timeout=600)
    with executor("slurm:partition=short,array=7,qos=low", results=out) as run_jobs:
        run_matrix(matrix, told, run_jobs=run_jobs)
    assert {status for _, status, _ in told.ended} == {"ok"} and sorted(told.begun) == sorted(t for t, _, _ in told.ended)
    plain, greedy = (p.read_text() for p in sorted((tmp_path / "bin").glob("*.job")))
    assert "#SBATCH --array=0-1%2" in plain and "--array" not in greedy and "--gpus" not in plain
    assert "#SBATCH --gpus-per-node=16" in greedy
    for text in (plain, greedy):
        for asked in ("partition=short", "qos=low", "mem=6000MB", "cpus-per-task=1", "time=20"):
            assert f"#SBATCH --{asked}\n" in text
    assert not (out / "slurm").exists()
    run_matrix(small_matrix(tmp_path / "home", ["steady", "shaken", "greedy"], plugins, memory_mb=6000), Told())
    assert records(out) == records(tmp_path / "home")


def test_a_local_run_imports_neither(toy_plugin, tmp_path, shared_cache):
    """The command line with packages that cannot be imported."""
    code = "import sys; sys.modules.update(ray=None, submitit=None); from pbench.bench.cli.main import main; main()"
    arguments = ["--models", "additive", "--no-controls", "--plugin", str(toy_plugin), "--dataset", "toy-screen"]
    done = subprocess.run(
        [sys.executable, "-c", code, "run", *arguments, "--metrics", "l2@all", "-q"],
        cwd=tmp_path,
        env=os.environ | {"PBENCH_CACHE": str(shared_cache)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def test_needs_come_from_the_card_and_memory_from_the_bound():
    assert Need.of(Capabilities(), None) == Need(1, 0, 0)
    assert Need.of(Capabilities(), 4096) == Need(1, 0, 4096)
    assert Need.of(Capabilities(cpus=2, gpus=0.25, memory_mb=100), 4096) == Need(2, 0.25, 100)
    assert Need.of(Capabilities(), None, {"device": "cuda:0"}) == Need(1, 1, 0)
    assert (
        Need.of(Capabilities(gpus=0.5), None, {"device": "cuda"}) == Need(1, 0.5, 0)
        and Need.of(Capabilities(), None, {"device": "auto"}) == Need()
    )
    assert Need(2, 0.5).share(Need(4, 1)) == 0.5
    assert Need(1, 1).share(Need(4, 0)) > 1
    assert str(Need(2, 0.25, 100)) == "2 CPU, 0.25 GPU, 100 MB of memory"


@pytest.fixture
def goods(tmp_path):
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "deep" / "a.bin").write_bytes(os.urandom(1000))
    (tmp_path / "here" / "b.bin").write_bytes(b"")
    token = tmp_path / "token"
    token.write_text("secret")
    return Goods(tmp_path / "here", (("deep/a.bin", 1000, ""), ("b.bin", 0, "")), tmp_path / "here", (token, "secret"))


def packed(goods, monkeypatch):
    monkeypatch.setattr("pbench.bench.engine.goods.PIECE", 300)
    sent = []

    def put(value):
        sent.append(value)
        return len(sent) - 1

    return goods.pack(put), sent


def test_goods_are_used_where_the_same_disk_is_seen(goods, tmp_path):
    assert goods.placed(tmp_path / "store", None) == tmp_path / "here"
    for other in (
        replace(goods, at=None),
        replace(goods, at=tmp_path / "elsewhere"),
        replace(goods, token=(tmp_path / "token", "another")),
        replace(goods, files=(("deep/a.bin", 999, ""),)),
        replace(goods, token=None, files=(("deep/a.bin", 1000, "0" * 64),)),
    ):
        assert other.placed(tmp_path / "store", None) is None


def test_goods_that_are_not_seen_are_brought_whole(goods, tmp_path, monkeypatch):
    away, sent = packed(replace(goods, at=None), monkeypatch)
    assert len(sent) == 5
    place = away.placed(tmp_path / "store", sent.__getitem__)
    assert place is not None and place.parent == tmp_path / "store"
    for name, _, _ in goods.files:
        assert (place / name).read_bytes() == (goods.folder / name).read_bytes()
    # What is there is not fetched again, under whatever path it was known elsewhere.
    assert replace(away, folder=Path("/another")).placed(tmp_path / "store", None) == place


def test_goods_that_arrive_damaged_are_refused(goods, tmp_path, monkeypatch):
    away, sent = packed(replace(goods, at=None), monkeypatch)
    sent[1] = b"x" + sent[1][1:]
    with pytest.raises(DataError, match=r"deep/a.bin has arrived with other bytes"):
        away.placed(tmp_path / "store", sent.__getitem__)
    assert [p.suffix for p in (tmp_path / "store").iterdir()] == [".lock"]


class Slow:
    """Pieces that arrive after a while, and are counted."""

    def __init__(self, sent, log):
        self.sent, self.log = sent, log

    def __call__(self, reference):
        with open(self.log, "a") as f:
            f.write(".")
        time.sleep(0.1)
        return self.sent[reference]


def test_processes_of_one_machine_fetch_once(goods, tmp_path, monkeypatch):
    away, sent = packed(replace(goods, at=None), monkeypatch)
    load = Slow(sent, tmp_path / "log")
    crowd = [Process(target=away.placed, args=(tmp_path / "store", load)) for _ in range(4)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join(30)
    assert [p.exitcode for p in crowd] == [0] * 4
    assert (tmp_path / "log").read_text() == "." * 5


@pytest.fixture
def parcels(plugins, tmp_path):
    """Parcels of the jobs of a matrix, and a function that ends what they were made for."""
    sent = []

    def run_jobs(function, jobs, *, workers, timeout, memory_mb, preload, on_start):
        from pbench.bench.engine.goods import Supply
        from pbench.bench.engine.parcel import parcel_of

        supply = Supply(jobs)
        for key, job in enumerate(jobs):
            on_start(key)
            sent.append(parcel_of(function, job, supply.goods(job), timeout=timeout, memory_mb=memory_mb, preload=preload))
            delivery = opened(sent[-1], store=tmp_path / "store", load=None)
            sent.append(delivery)
            yield replace(received(delivery, job), key=key)

    def make(*models, **options):
        run_matrix(small_matrix(tmp_path / "out", models, plugins, **options), Told(), run_jobs=run_jobs)
        return sent

    return make


def test_a_machine_with_other_code_computes_nothing(parcels, tmp_path):
    parcel, _ = parcels("steady")
    for name, said in {"code": "other code of pbench", "numpy": "numpy 2"}.items():
        delivery = opened(replace(parcel, code=parcel.code | {name: "0"}), store=tmp_path / "store", load=None)
        assert delivery.outcome is None and said in delivery.trouble and "same versions" in delivery.trouble


def test_what_a_machine_cannot_do_is_trouble_and_no_exception(parcels, tmp_path):
    parcel, _ = parcels("steady")
    (tmp_path / "store-file").touch()
    lost = {p: replace(g, at=None, id="0" * 64, packed=0) for p, g in parcel.goods.items()}
    delivery = opened(replace(parcel, goods=lost), store=tmp_path / "store-file", load=lambda reference: {})
    assert delivery.outcome is None and "store-file" in delivery.trouble


def test_a_newer_record_of_another_run_stays(parcels, tmp_path):
    parcel, delivery = parcels("steady")
    store = Store(tmp_path / "out")
    [card] = store.cards()
    [path] = (tmp_path / "out" / "records").glob("*.json")
    rows = (path.parent / card["rows_file"]).read_bytes()
    late = received(replace(delivery, outcome=replace(delivery.outcome, value=card | {"started": 1.0})), parcel.job)
    assert late.value["started"] == card["started"] and store.cards() == [card]
    # One that is newer takes its place, and leaves no rows behind that nobody names.
    again = opened(replace(parcel, job=replace(parcel.job, refit=True), archived={}), store=tmp_path / "store", load=None)
    assert received(again, parcel.job).status == "ok"
    [new] = store.cards()
    assert new["started"] > card["started"] and new["rows_file"] != card["rows_file"]
    assert [p.read_bytes() for p in path.parent.glob("*.parquet")] == [rows]


def test_a_result_that_cannot_be_kept_fails_its_job_alone(tmp_path, parcels):
    parcel, delivery = parcels("steady")
    (tmp_path / "full").touch()
    outcome = received(delivery, replace(parcel.job, store=tmp_path / "full"))
    assert outcome.status == "failed" and "cannot write" in outcome.reason


def test_where_things_lie_is_told_as_the_user_knows_it(parcels, tmp_path):
    _, delivery = parcels("diverging")
    [file] = (tmp_path / "out" / "checkpoints").iterdir()
    assert delivery.outcome.status == "failed"
    assert delivery.outcome.reason == f"the loss is no number. They lie in {file}."
