-- MovieLens movies: title, genres and abstract are the text, the poster is the image.
with movies as (
    select movieId as movie_id, title, replace(genres, '|', ', ') as genres
    from read_csv(getvariable('root') || '/movies.csv')
),
abstract_entries as (
    select unnest(map_entries(json)) as entry
    from read_json(
        getvariable('root') || '/abstracts.json',
        records = 'false', columns = {json: 'map(varchar, varchar)'}, maximum_object_size = 1000000000
    )
),
abstracts as (
    select cast(entry.key as bigint) as movie_id, entry.value as abstract from abstract_entries
),
posters as (
    select try_cast(parse_filename(file, true) as bigint) as movie_id, 'posters/' || parse_filename(file) as image
    from glob(getvariable('root') || '/posters/*.jpg')
)
select
    cast(movies.movie_id as varchar) as item_id,
    movies.title,
    concat_ws('. ', movies.genres, abstracts.abstract) as text,
    posters.image,
    cast(null as varchar) as audio,
    string_split(movies.genres, ', ')[1] as genre,
    regexp_extract(movies.title, '\((\d{4})\)', 1) as year
from movies
left join abstracts using (movie_id)
left join posters using (movie_id)
