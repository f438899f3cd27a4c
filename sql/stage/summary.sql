-- What came in, what was dropped and why; `dropped` is null for what was kept.
create or replace table intake as
with k_core as (
    select count(*) as rows_before from interactions_judged where dropped is null
),
leavers as (
    select rows_before - (select count(*) from interactions) as rows_left from k_core
)
select 'items' as source_table, dropped, count(*) as row_count, min(dropped_example) as example
from items_judged
group by dropped
union all
select 'users', dropped, count(*), min(dropped_example) from users_judged group by dropped
union all
select 'shown', dropped, count(*), min(dropped_example) from shown_judged group by dropped
union all
select 'interactions', dropped, count(*), min(dropped_example)
from interactions_judged
where dropped is not null
group by dropped
union all
select 'interactions', null, count(*), null from interactions
union all
select 'interactions', 'user or item with too few interactions (k-core)', rows_left, null
from leavers
where rows_left > 0;

create or replace table counts as
select
    (select count(*) from items) as items,
    (select count(*) from items where cold) as cold_items,
    (select count(distinct user_id) from interactions) as users,
    validation_cut,
    test_cut
from cuts;

create or replace table part_counts as
select part, count(*) as row_count from interactions group by part;
