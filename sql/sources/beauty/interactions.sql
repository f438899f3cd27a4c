-- On each line a user and then what it bought, oldest first; a second stands between one choice and the next.
with lines as (
    select string_split(trim(line), ' ') as ids
    from read_csv(
        getvariable('root') || '/Beauty.txt',
        columns = {line: 'varchar'}, header = false, delim = '\t', quote = '', auto_detect = false
    )
)
select
    ids[1] as user_id,
    choices.item_id,
    timestamp '2000-01-01' + to_seconds(choices.place) as ts
from lines, unnest(ids[2:]) with ordinality as choices(item_id, place)
