-- The published split; its files say no time, so a second stands between one row of a user and the next.
with parts as (
    select user_id, item_id, 'train' as part, 0 as days, file_row_number
    from read_parquet(getvariable('root') || '/train.parquet', file_row_number = true)
    union all
    select user_id, item_id, 'validation', 1, file_row_number
    from read_parquet(getvariable('root') || '/valid.parquet', file_row_number = true)
    union all
    select user_id, item_id, 'test', 2, file_row_number
    from read_parquet(getvariable('root') || '/test.parquet', file_row_number = true)
)
select
    cast(user_id as varchar) as user_id,
    cast(item_id as varchar) as item_id,
    timestamp '2000-01-01' + to_days(days) + to_seconds(
        row_number() over (partition by user_id, part order by file_row_number)
    ) as ts,
    part
from parts
