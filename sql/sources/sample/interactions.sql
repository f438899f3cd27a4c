-- The purchase log of the synthetic record shop; a purchase of two copies weighs two.
with purchases as (
    select *
    from read_csv(getvariable('root') || '/purchases.csv', header = true, all_varchar = true)
)

select
    buyer_id as user_id,
    record_id as item_id,
    try_cast(bought_at as timestamp) as ts,
    try_cast(quantity as double) as weight
from purchases
