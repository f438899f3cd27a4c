-- MovieLens ratings: 3.5 stars and more are interactions.
select
    cast(userId as varchar) as user_id,
    cast(movieId as varchar) as item_id,
    make_timestamp(cast("timestamp" as bigint) * 1000000) as ts,
    1.0 as weight
from read_csv(getvariable('root') || '/ratings.csv')
where rating >= 3.5
