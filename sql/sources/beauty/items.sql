-- Products that are known by their ids alone.
with lines as (
    select string_split(trim(line), ' ') as ids
    from read_csv(
        getvariable('root') || '/Beauty.txt',
        columns = {line: 'varchar'}, header = false, delim = '\t', quote = '', auto_detect = false
    )
)
select distinct
    choices.item_id,
    'Product ' || choices.item_id as title
from lines, unnest(ids[2:]) as choices(item_id)
