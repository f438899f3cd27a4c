-- Places that are known by their ids alone.
with lines as (
    select string_split(trim(line), ' ') as ids
    from read_csv(
        [getvariable('root') || '/' || name || '.txt' for name in ['train', 'valid', 'test']],
        columns = {line: 'varchar'}, header = false, delim = '\t', quote = '', auto_detect = false
    )
)
select distinct
    visits.item_id,
    'Place ' || visits.item_id as title
from lines, unnest(ids[2:]) as visits(item_id)
