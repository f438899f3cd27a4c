"""Audio from files to vectors, beside the plain loop over librosa that a user would write instead.

Both give the same statistics of the same coefficients and derivatives. Ours reads and decodes in two threads and then
encodes in batches, as the extract step does; the loop takes one clip after the other.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import librosa
import numpy as np
import soundfile

from pipeline.encoders.audio.kinds.mfcc import DELTA_FRAMES, DELTA_SCALE, MfccAudio, MfccEncoder
from pipeline.media import open_audio

DATA = Path(os.environ.get("MEDLEY_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
CRIES, LONG_CLIPS, LONG_SECONDS, RATE_HZ = 300, 16, 30, 44_100
REPEATS, THREADS = 5, 2
STATUS, RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def cases(repeats: int = REPEATS) -> list[dict[str, Any]]:
    """A case for each set of clips and order of derivatives.

    Each holds `ratio` and `cpu_ratio` (the loop's median seconds by ours, as time passed and as processor time, which
    busy neighbours change less), `seconds`, `max_difference` of the statistics on the same samples, and `peak_bytes`
    that either added to the process (null where the system does not say).
    """
    with TemporaryDirectory() as folder:
        sets = {"30 s WAV": _long_clips(Path(folder))}
        cries = sorted((DATA / "creatures" / "audio").glob("*"))[:CRIES]
        if cries:
            sets = {"creature cries": cries} | sets
        return [
            _case(f"mfcc, {name}, {deltas} deltas", files, MfccAudio(deltas=deltas), repeats)
            for name, files in sets.items()
            for deltas in (0, 2)
        ]


def ours(files: Sequence[Path], encoder: MfccEncoder) -> np.ndarray:
    """Vectors of clips by the encoder, a window decoded in threads ahead: shape (clips, width)."""
    with ThreadPoolExecutor(THREADS) as pool:
        inputs = list(pool.map(lambda file: encoder.decode(file.read_bytes()), files))
    return encoder.embed(inputs)


def theirs(files: Sequence[Path], settings: MfccAudio) -> np.ndarray:
    """The same vectors by librosa, one clip after the other."""
    return np.stack(
        [_by_librosa(librosa.load(file, sr=settings.sample_rate_hz, mono=True)[0], settings) for file in files]
    )


def _case(name: str, files: Sequence[Path], settings: MfccAudio, repeats: int) -> dict[str, Any]:
    encoder = MfccEncoder(settings)
    encoder.load()
    runs: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: ours(files, encoder),
        "librosa": lambda: theirs(files, settings),
    }
    theirs(files[:1], settings)  # what librosa compiles on its first call is not counted
    peaks = {way: _peak_bytes(run) for way, run in runs.items()}
    seconds, cpu_seconds = _medians(runs, repeats)
    return {
        "name": name,
        "clips": len(files),
        "ratio": round(seconds["librosa"] / seconds["ours"], 2),
        "cpu_ratio": round(cpu_seconds["librosa"] / cpu_seconds["ours"], 2),
        "seconds": {way: round(value, 3) for way, value in seconds.items()},
        "max_difference": _difference(files, encoder),
        "peak_bytes": peaks,
    }


def _medians(runs: dict[str, Callable[[], np.ndarray]], repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds and processor seconds of each way, run in turn."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in runs}
    for _ in range(repeats):
        for way, run in runs.items():
            begin, cpu_begin = time.perf_counter(), time.process_time()
            run()
            times[way].append((time.perf_counter() - begin, time.process_time() - cpu_begin))
    seconds = {way: statistics.median(wall for wall, _ in pairs) for way, pairs in times.items()}
    return seconds, {way: statistics.median(cpu for _, cpu in pairs) for way, pairs in times.items()}


def _difference(files: Sequence[Path], encoder: MfccEncoder) -> float:
    settings = encoder.settings
    samples = (open_audio(file.read_bytes(), settings.sample_rate_hz, settings.max_seconds) for file in files)
    expected = np.stack([_by_librosa(one, settings) for one in samples])
    return float(np.abs(ours(files, encoder) - expected).max())


def _by_librosa(samples: np.ndarray, settings: MfccAudio) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=settings.sample_rate_hz,
        n_fft=settings.window_samples,
        hop_length=settings.hop_samples,
        n_mels=settings.mel_bands,
    )
    cepstrum = librosa.feature.mfcc(S=librosa.power_to_db(power, ref=np.max), n_mfcc=settings.coefficients)
    cepstrum[0] /= np.sqrt(settings.mel_bands)
    orders = [cepstrum]
    for _ in range(settings.deltas):
        orders.append(DELTA_SCALE * librosa.feature.delta(orders[-1], width=DELTA_FRAMES, mode="nearest"))
    frames = np.concatenate(orders)
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)])


def _long_clips(folder: Path) -> list[Path]:
    """Noise that fades in and out, at a rate that has to be resampled."""
    generator = np.random.default_rng(0)
    files = [folder / f"{number:02d}.wav" for number in range(LONG_CLIPS)]
    swell = 0.3 * np.sin(np.linspace(0, 40, LONG_SECONDS * RATE_HZ)) ** 2
    for file in files:
        soundfile.write(file, (swell * generator.standard_normal(len(swell))).clip(-1, 1), RATE_HZ)
    return files


def _peak_bytes(run: Callable[[], np.ndarray]) -> int | None:
    """What a run adds to the process's resident memory at its peak."""
    try:
        RESET_PEAK.write_text("5")
    except OSError:
        return None
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
