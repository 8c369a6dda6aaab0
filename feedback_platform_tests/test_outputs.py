"""What a publication writes: exports, report, warehouse; what it leaves out and says so; what a died run left undone."""

import os

import duckdb
import pytest

from feedback_platform.compile.window import EXCHANGE_MARKER
from feedback_platform.errors import CompileError, ConfigError
from feedback_platform.outputs import compile_once, default_outputs
from feedback_platform_tests.builders import Line, inference, line, thumbs


def published(one: Line):
    """Two good answers, compiled with all outputs."""
    one.send([inference(n, text=n) for n in ("a", "b")], [thumbs(f"f{n}", n, rater="x") for n in ("a", "b")])
    one.land()
    return compile_once(one.compiler, "test")


def test_a_publication_writes_exports_report_and_warehouse(tmp_path):
    one = line(tmp_path, publish={"formats": ["parquet", "sft"]})
    done = published(one)
    assert (done.outcome, done.skipped_formats) == ("published", ())
    folder = one.settings.exports / "d" / "v1"
    assert sorted(p.name for p in folder.iterdir()) == ["parquet", "sft"]
    assert (one.settings.reports / "d" / "v1.html").is_file()
    with duckdb.connect(str(one.settings.warehouse), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM d.train_sft").fetchone() == (2,)
        assert connection.execute("SELECT published_at IS NOT NULL FROM d.dataset_versions").fetchone() == (True,)


def test_a_format_without_examples_is_noted_and_does_not_fail_the_publication(tmp_path):
    one = line(tmp_path, publish={"formats": ["dpo", "kto", "sft"]})
    done = published(one)
    assert (done.outcome, done.skipped_formats) == ("published", ("dpo", "kto"))
    folder = one.settings.exports / "d" / "v1"
    assert "'preference'" in (folder / "dpo.skipped.txt").read_text()
    assert "0 bad" in (folder / "kto.skipped.txt").read_text()
    assert (folder / "sft" / "manifest.json").is_file()


@pytest.mark.parametrize(("publish", "words"), [({"formats": ["xml"]}, "xml"), ({"to": "s3://b/x"}, "s3://b/x")])
def test_outputs_that_cannot_be_are_refused_before_any_work(tmp_path, publish, words):
    one = line(tmp_path, publish=publish)
    one.send([inference()], [thumbs("f")])
    one.land()
    with pytest.raises(ConfigError, match=words):
        compile_once(one.compiler, "test")
    assert one.compiler.store.all() == []


def test_exports_go_where_the_policy_says(tmp_path):
    one = line(tmp_path / "home", publish={"to": str(tmp_path / "shelf")})
    published(one)
    assert (tmp_path / "shelf" / "d" / "v1" / "parquet" / "manifest.json").is_file()


def test_a_run_that_died_before_the_warehouse_is_made_up_for_by_the_next(tmp_path):
    one = line(tmp_path)
    published(one)
    one.settings.warehouse.unlink()
    assert compile_once(one.compiler, "test").outcome == "nothing_new"
    assert one.settings.warehouse.exists()
    os.utime(one.settings.warehouse, (1, 1))
    compile_once(one.compiler, "test")
    assert one.settings.warehouse.stat().st_mtime > 1


def test_nothing_is_compiled_on_half_exchanged_tables(tmp_path):
    one = line(tmp_path)
    published(one)
    (one.settings.lake / "d" / EXCHANGE_MARKER).write_text("x")
    with pytest.raises(CompileError, match="feedback rebuild d"):
        compile_once(one.compiler, "test")


def test_outputs_come_in_order_exports_before_the_report(tmp_path):
    one = line(tmp_path)
    names = [output.__name__ for output in default_outputs(one.settings, one.compiler.policy)]
    assert names == ["exports", "write_report"]
