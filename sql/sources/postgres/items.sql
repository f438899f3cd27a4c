-- The catalogue of sql/schema/postgres.sql, with the first picture and the first recording of each item.
select
    items.item_id,
    items.title,
    items.description as text,
    image.path as image,
    audio.path as audio,
    items.category,
    items.price::double precision as price,
    items.in_stock
from shop.items as items
left join lateral (
    select path from shop.media where media.item_id = items.item_id and kind = 'image' order by place limit 1
) as image on true
left join lateral (
    select path from shop.media where media.item_id = items.item_id and kind = 'audio' order by place limit 1
) as audio on true
