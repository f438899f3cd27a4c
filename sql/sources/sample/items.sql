-- The catalogue of the synthetic record shop that `medley sample` writes; `root` is its folder.
with records as (
    select *
    from read_csv(getvariable('root') || '/items.csv', header = true, all_varchar = true)
)

select
    record_id as item_id,
    title,
    blurb as text,
    sleeve as image,
    clip as audio,
    artist,
    label,
    genre,
    try_cast(year as integer) as year,
    language
from records
