-- A renamed id or a changed time format drops nearly every row one by one; the sum says that the source has changed.
with judged as (
    select 'items' as source_table, dropped from items_judged
    union all
    select 'users', dropped from users_judged
    union all
    -- A night in the past leaves out what came after it, and that is no fault of the source.
    select 'interactions', dropped from interactions_judged
    where dropped is distinct from 'time at or after the night''s as-of'
    union all
    -- Nor is it one that most visitors choose nothing.
    select 'shown', dropped from shown_judged
    where coalesce(dropped, '') not in ('time at or after the night''s as-of', 'user_id is not in the log')
),
shares as (
    select source_table, avg(cast(dropped is null as integer)) as kept from judged group by source_table
)
select source_table, round(100 * kept, 1) as kept_percent from shares where kept < 0.5
