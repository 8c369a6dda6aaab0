-- What DuckDB and Spark SQL spell differently, under one name each; Spark's own names where it has the function.
-- spark.sql is the counterpart for the names Spark lacks.
CREATE OR REPLACE MACRO unix_micros(t) AS epoch_us(t);
CREATE OR REPLACE MACRO timestamp_micros(n) AS make_timestamptz(n);
CREATE OR REPLACE MACRO explode(l) AS unnest(l);
CREATE OR REPLACE MACRO collect_set(x) AS list(DISTINCT x);
CREATE OR REPLACE MACRO sort_array(l) AS list_sort(l);
CREATE OR REPLACE MACRO sha2(x, bits) AS sha256(x);
CREATE OR REPLACE MACRO shiftright(a, b) AS (a >> b);
CREATE OR REPLACE MACRO int_div(a, b) AS (a // b);
CREATE OR REPLACE MACRO to_int(x) AS TRY_CAST(x AS BIGINT);
CREATE OR REPLACE MACRO text_of(x) AS TRY_CAST(x AS VARCHAR);
CREATE OR REPLACE MACRO null_text() AS TRY_CAST(NULL AS VARCHAR);
CREATE OR REPLACE MACRO null_int() AS TRY_CAST(NULL AS BIGINT);
CREATE OR REPLACE MACRO null_time() AS TRY_CAST(NULL AS TIMESTAMPTZ);
CREATE OR REPLACE MACRO no_texts() AS TRY_CAST([] AS VARCHAR[]);
CREATE OR REPLACE MACRO array_of(x) AS [x];
CREATE OR REPLACE MACRO json_string(x) AS TRY_CAST(to_json(x) AS VARCHAR);
