-- The split of LightGCN: on each line a user and then its places; a second stands between one place and the next.
with lines as (
    select string_split(trim(line), ' ') as ids, parse_filename(filename, true) as part
    from read_csv(
        [getvariable('root') || '/' || name || '.txt' for name in ['train', 'valid', 'test']],
        columns = {line: 'varchar'}, header = false, delim = '\t', quote = '', filename = true, auto_detect = false
    )
)
select
    ids[1] as user_id,
    visits.item_id,
    timestamp '2000-01-01' + to_days(list_position(['train', 'valid', 'test'], part)) + to_seconds(visits.place) as ts,
    part
from lines, unnest(ids[2:]) with ordinality as visits(item_id, place)
