-- Creatures: genus and description are the text, a drawing is the image, a cry is the audio.
select
    cast(item_id as varchar) as item_id,
    title,
    concat_ws('. ', genus, description) as text,
    image,
    audio,
    genus
from read_csv(getvariable('root') || '/items.csv')
