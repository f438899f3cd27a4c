-- Creatures: a "user" is a team that someone put together, all of it at one moment.
select
    user_id,
    cast(item_id as varchar) as item_id,
    make_timestamp(cast("timestamp" as bigint) * 1000000) as ts,
    1.0 as weight
from read_csv(getvariable('root') || '/interactions.csv')
