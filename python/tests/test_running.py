"""Threads, processes, interrupts, pickles."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import layerwise


def test_threads_share_a_model(model, texts):
    expected = model.encode(texts)["mean"].tobytes()
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda _: model.encode(texts, batch_tokens=8)["mean"].tobytes(), range(40))
        assert set(results) == {expected}


def test_other_threads_go_on_meanwhile(model):
    steps, done = 0, threading.Event()

    def encode():
        model.encode(["a long text " * 100] * 60 + [f"text {number} " * 100 for number in range(60)])
        done.set()

    worker = threading.Thread(target=encode)
    worker.start()
    while not done.wait(0.001):
        steps += 1
    worker.join()
    assert steps > 20, "with the interpreter's lock held, nothing else would have run"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_an_encoding_and_the_model_goes_on(model, texts):
    texts_of_minutes = [f"text {number} " * 120 for number in range(20_000)]
    before = model.encode(texts)["mean"].tobytes()
    sent = []

    def send():
        time.sleep(1)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send).start()
    with pytest.raises(KeyboardInterrupt):
        # Tokenizing takes longer than a second by itself; the next one is interrupted while it encodes.
        model.encode(texts_of_minutes)
    assert time.monotonic() - sent[0] < 4
    sent.clear()
    threading.Thread(target=send).start()
    with pytest.raises(KeyboardInterrupt):
        model.encode(texts_of_minutes[:1500])
    assert time.monotonic() - sent[0] < 4
    assert model.encode(texts)["mean"].tobytes() == before


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_another_handler_raises_ends_it_too(model):
    def ring(*_):
        raise TimeoutError("time is up")

    old = signal.signal(signal.SIGALRM, ring)
    try:
        texts = [f"text {number} " * 120 for number in range(3000)]
        begun = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(TimeoutError, match="time is up"):
            model.encode(texts)
        assert time.monotonic() - begun < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_model_pickles_by_name_and_settings(golden, texts, tmp_path, monkeypatch):
    monkeypatch.chdir(golden("width16").parent)
    model = layerwise.Model("width16", threads=1, deepest=1)
    pickled = pickle.dumps(model)
    assert len(pickled) < 1000, "not its weights"
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickled)
    assert repr(again) == repr(model) and again.threads == 1 and again.name == str(golden("width16"))
    assert again.encode(texts, layers=1)["mean"].tobytes() == model.encode(texts, layers=1)["mean"].tobytes()
    with pytest.raises(ValueError, match="deeper"):
        again.encode(texts)


def test_the_last_unpickled_model_is_kept(golden):
    one, other = (pickle.dumps(layerwise.Model(golden("width16"), threads=threads)) for threads in (1, 2))
    first = pickle.loads(one)
    assert pickle.loads(one) is first, "so that a worker loads it once"
    assert pickle.loads(other).threads == 2
    assert pickle.loads(one) is not first, "only the last"


def mean(model, texts):
    return model.encode(texts)["mean"].tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes(model, texts, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    expected = mean(model, texts)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap_async(mean, [(model, texts)] * 4).get(timeout=120) == [expected] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_model_of_before_a_fork_works_in_the_child(model, texts):
    expected = mean(model, texts)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if mean(model, texts) == expected else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_numpy_is_not_imported_before_it_is_needed():
    script = (
        "import sys, layerwise; out = layerwise.Model('bundled').encode(['a']); out.tolist('mean'); "
        "assert 'numpy' not in sys.modules; out['mean']; assert 'numpy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_command(command, tmp_path):
    assert command("--version").startswith(f"layerwise {layerwise.__version__}")
    command("extract", "--no-such-option", code=2)
    command("verify", tmp_path / "none", code=1)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_the_command_quietly(tmp_path):
    (tmp_path / "texts.txt").write_text("".join(f"text {number} {'word ' * 100}\n" for number in range(20_000)))
    job = subprocess.Popen(
        [sys.executable, "-m", "layerwise", "extract", "-i", tmp_path / "texts.txt", "-m", "bundled", "-o", tmp_path / "out"],
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1.5)
    job.send_signal(signal.SIGINT)
    _, messages = job.communicate(timeout=60)
    assert job.returncode == 130, messages
    assert "Traceback" not in messages and "run the same command again" in messages
