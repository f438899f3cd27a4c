-- Micro-videos that are known by their features alone: row i of each array is item i.
with ids as (
    select item_id from read_parquet(getvariable('root') || '/train.parquet')
    union
    select item_id from read_parquet(getvariable('root') || '/valid.parquet')
    union
    select item_id from read_parquet(getvariable('root') || '/test.parquet')
)
select
    cast(item_id as varchar) as item_id,
    'Video ' || item_id as title,
    cast(item_id as varchar) as image,
    cast(item_id as varchar) as audio
from ids
