"""The export's DAG is one task that every published index starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DESCRIBE = """
os.environ["MEDLEY_EXPORT"] = "redis -s 'prefix=my shop'"
parsed = parse(sys.argv[1], "export.py")
dag = parsed["EXPORT"]
(sent,) = dag.tasks
import medley_verbs
asked = []

def run(command, stdout, folder):
    asked.append(command[4:])
    os.write(stdout, b'{"index": "1", "rows": {"lists": 2}}')
    return 0, ""

medley_verbs.run = run
said = sent.python_callable()
schedule = [asset.name for asset in dag.schedule]
print(json.dumps([sent.task_id, sent.retries, schedule, dag.catchup, sorted(dag.params), asked, said]))
"""


def test_without_what_to_export_nothing_is_scheduled(with_airflow: Any, tmp_path: Path) -> None:
    script = "print(json.dumps([parse(None, 'export.py')['EXPORT'].schedule]))"
    assert with_airflow(f"os.environ.pop('MEDLEY_EXPORT', None)\n{script}", str(tmp_path)) == [None]


def test_a_published_index_is_exported_by_one_task(with_airflow: Any, tmp_path: Path) -> None:
    (tmp_path / "medley.yaml").write_text("extract: {audio: null}\nnightly: {retries: 4}\n")
    name, retries, schedule, catchup, params, asked, said = with_airflow(DESCRIBE, str(tmp_path / "medley.yaml"))
    assert (name, retries, schedule, catchup, params) == ("export", 4, ["medley_index"], False, [])
    assert asked == [["export", "redis", "-s", "prefix=my shop", "-w", str(tmp_path / "workspace"), "--json"]]
    assert said == {"index": "1"}
