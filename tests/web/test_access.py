"""Who is answered, how much and how often: each refusal before anything is computed."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from fastapi import HTTPException

from pipeline.errors import ConfigError, MediaError
from pipeline.media.stored import read_medium
from pipeline.web.access import Hosts, Tokens, host_of
from pipeline.web.media_files import MediaFiles
from pipeline.web.routes import MOST_WAITING, Slowly
from pipeline.web.settings import Settings
from pipeline.web.traffic import Rates
from tests.web.conftest import TOKEN, Started

ASKED = {"user": "buyer-0001"}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost@evil.example", "192.0.2.7", "[::2]", ""],
)
def test_a_name_that_was_made_to_point_here_is_not_answered(client: httpx.Client, host: str) -> None:
    for path in ("/", "/api/index", "/static/main.js", "/openapi.json"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code in (400, 403)
        assert "items" not in answer.text


def test_own_names_are_answered_with_any_port(client: httpx.Client) -> None:
    for host in ("127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8765", "localhost."):
        assert client.get("/api/index", headers={"Host": host}).status_code == 200


def test_a_host_that_is_named_by_hand_is_answered(started: Started) -> None:
    client = started(hosts=("Demo.example",))
    assert client.get("/api/index", headers={"Host": "demo.example"}).status_code == 200
    assert client.get("/api/index", headers={"Host": "other.example"}).status_code == 403


def test_where_others_may_ask_addresses_in_digits_are_expected_and_names_are_not() -> None:
    hosts = Hosts("0.0.0.0", (), is_loopback=False)
    assert hosts._expects("192.0.2.7")
    assert hosts._expects("2001:db8::1")
    assert not hosts._expects("evil.example")
    assert host_of("[2001:db8::1]:80") == "2001:db8::1"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_a_page_elsewhere_cannot_ask(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.post("/api/search", data={"text": "anything"}, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"].startswith("origin: a page elsewhere sent this")


def test_the_own_page_and_a_followed_link_are_answered(client: httpx.Client) -> None:
    own = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/recommend", json=ASKED, headers=own).status_code == 200
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=followed).status_code == 200
    assert "access-control-allow-origin" not in client.get("/api/index").headers


def test_without_the_token_nothing_of_the_index_is_told(started: Started) -> None:
    client = started(token=TOKEN)
    reached = ["/api/index", "/api/map", "/api/picture?item=rec-0003", "/api/clip?item=rec-0003", "/api/users?q=b"]
    for wrong in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "medley_session=x"},
    ):
        for path in reached:
            answer = client.get(path, headers=wrong)
            assert answer.status_code == 401
            assert answer.json()["error"].startswith("token: wrong or not given")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.post("/api/recommend", json=ASKED, headers=wrong).status_code == 401
    assert client.get("/api/index", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_page_gets_a_session_for_the_token(started: Started) -> None:
    client = started(token=TOKEN)
    assert client.post("/api/session", json={"token": "wrong"}).status_code == 401
    assert client.get("/api/index").status_code == 401
    answer = client.post("/api/session", json={"token": TOKEN})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/api/index").status_code == 200


def test_tokens_of_any_letters_are_compared() -> None:
    tokens = Tokens("geheim \N{SNOWMAN}")
    assert tokens.is_right("geheim \N{SNOWMAN}")
    assert not tokens.is_right("geheim ")
    assert not tokens.is_right("\ud800")
    assert tokens.session != Tokens("geheim \N{SNOWMAN}").session


def test_too_many_questions_are_refused_with_the_time_to_wait(started: Started) -> None:
    client = started(rate="3/minute")
    statuses = [client.get("/api/users", headers={"X-Forwarded-For": f"192.0.2.{at}"}).status_code for at in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = client.post("/api/recommend", json=ASKED)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"].startswith("too many requests: 3 per 1 minute is the limit; ask again in ")
    assert client.get("/").status_code == 200
    pictures = [client.get("/api/picture", params={"item": "nothing"}).status_code for _ in range(61)]
    assert pictures == [404] * 60 + [429]


def test_wrong_tokens_are_counted_too(started: Started) -> None:
    client = started(rate="3/minute", token=TOKEN)
    statuses = [client.post("/api/session", json={"token": str(at)}).status_code for at in range(4)]
    assert statuses == [401, 401, 401, 429]


@pytest.mark.parametrize("rate", ["often", "0/minute", "-1/second", "5", ""])
def test_a_rate_that_is_none_is_a_sentence(rate: str) -> None:
    with pytest.raises(ConfigError, match=r"--rate .*: write a number and a time, such as 120/minute"):
        Rates(rate)


def test_an_upload_above_the_limit_is_refused_before_it_is_sent(started: Started) -> None:
    client = started(max_upload_bytes=50_000)
    place = urlsplit(str(client.base_url))
    asking = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    asking.putrequest("POST", "/api/search")
    asking.putheader("Content-Type", "multipart/form-data; boundary=x")
    asking.putheader("Content-Length", "50001")
    asking.endheaders()
    # Not a byte of the body has been sent.
    answer = asking.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read()) == {"error": "upload: over the limit of 50000 bytes; send a smaller file"}


def test_an_upload_that_does_not_say_its_size_is_cut_off_at_the_limit(started: Started) -> None:
    client = started(max_upload_bytes=50_000)
    read = 0

    def endless() -> object:
        nonlocal read
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while read < 60_000_000:
            read += 65_536
            yield bytes(65_536)

    # Or the connection is closed while it is still being sent.
    with suppress(httpx.TransportError):
        answer = client.post(
            "/api/search", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"}
        )  # type: ignore[arg-type]
        assert answer.status_code == 413
    assert read < 30_000_000


def test_an_upload_within_the_limit_is_read(started: Started, sleeve: tuple[str, Path]) -> None:
    client = started(max_upload_bytes=sleeve[1].stat().st_size + 1000)
    assert client.post("/api/search", files={"image": ("a", sleeve[1].read_bytes())}).status_code == 200


def test_a_question_without_an_upload_is_bounded_too(client: httpx.Client) -> None:
    answer = client.post("/api/recommend", json={"user": "x" * 1_000_001})
    assert answer.status_code == 413


def test_headers_without_an_end_are_cut_off(address: str) -> None:
    place = urlsplit(address)
    with socket.create_connection((str(place.hostname), place.port or 0), timeout=20) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000)
        assert plain.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.anyio
async def test_what_waits_for_the_slow_thread_is_bounded() -> None:
    slowly, begun, ended = Slowly(anyio.CapacityLimiter(1)), threading.Event(), threading.Event()

    def long() -> None:
        begun.set()
        ended.wait(20)

    async with anyio.create_task_group() as tasks:
        for _ in range(1 + MOST_WAITING):
            tasks.start_soon(slowly, long)
        await anyio.to_thread.run_sync(begun.wait)
        while slowly._limiter.statistics().tasks_waiting < MOST_WAITING:
            await anyio.sleep(0.01)
        with pytest.raises(HTTPException, match="too many questions that take long are waiting"):
            await slowly(long)
        ended.set()


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "sub/../../secret.png", "..%2fsecret.png", "link.png"]
)
def test_no_file_outside_the_media_folder_is_read(tmp_path: Path, sleeve: tuple[str, Path], name: str) -> None:
    root = tmp_path / "media"
    root.mkdir()
    secret = tmp_path / "secret.png"
    secret.write_bytes(sleeve[1].read_bytes())
    (root / "link.png").symlink_to(secret)
    (root / "fine.png").write_bytes(secret.read_bytes())
    media = MediaFiles(root, tmp_path / "workspace")
    assert media.picture("fine.png", "card")
    with pytest.raises(MediaError):
        media.picture(name, "card")
    (tmp_path / "secret.png").write_bytes(b"RIFF    WAVE")
    with pytest.raises(MediaError, match=r"leaves the media root|file not found"):
        media.clip(name)


def test_a_picture_and_that_there_is_none_are_found_out_once(
    tmp_path: Path, sleeve: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fine.png").write_bytes(sleeve[1].read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    media, read = MediaFiles(tmp_path, tmp_path / "workspace"), Counter[str]()

    def counting(root: Path, stored: Path, name: str, most: int) -> bytes:
        read[name] += 1
        return read_medium(root, stored, name, most)

    monkeypatch.setattr("pipeline.web.media_files.read_medium", counting)
    for _ in range(2):
        assert media.picture("fine.png", "card").startswith(b"\xff\xd8")
        with pytest.raises(MediaError, match="not a readable picture"):
            media.picture("broken.png", "card")
    assert read == {"fine.png": 1, "broken.png": 1}


@pytest.mark.parametrize("content", [b"user,password", b"<html><script>", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7", b""])
def test_only_sounds_go_out_as_clips(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.wav").write_bytes(content)
    with pytest.raises(MediaError, match="not a clip"):
        MediaFiles(tmp_path, tmp_path).clip("clip.wav")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py",
        "/static/....//app.py", "/static//etc/passwd",
        "/api/picture?item=../../../etc/passwd", "/api/clip?item=%2e%2e%2fitems.csv", "/api/picture?item=/etc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(client: httpx.Client, path: str) -> None:
    place = urlsplit(str(client.base_url))
    asking = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    asking.request("GET", path)
    answer = asking.getresponse()
    assert answer.status == 404
    assert "error" in json.loads(answer.read())


def test_every_answer_forbids_what_is_not_the_pages_own(client: httpx.Client) -> None:
    for path in ("/", "/static/main.js", "/api/index", "/nowhere", "/openapi.json"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    page = client.get("/").text
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "style=" not in page


def test_others_than_this_machine_need_a_token(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.7"):
        with pytest.raises(ConfigError, match="set MEDLEY_SERVE_TOKEN to a token"):
            Settings(tmp_path, host).check()
        Settings(tmp_path, host, token=TOKEN).check()
    with pytest.raises(ConfigError, match=r"--host no\.such\.name\.invalid: no such address"):
        Settings(tmp_path, "no.such.name.invalid").check()
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.53"):
        Settings(tmp_path, host).check()
