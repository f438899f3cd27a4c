-- What the synthetic record shop showed its buyers, chosen or not.
with pages as (
    select *
    from read_csv(getvariable('root') || '/shown.csv', header = true, all_varchar = true)
)

select
    buyer_id as user_id,
    record_id as item_id,
    try_cast(shown_at as timestamp) as ts
from pages
