-- Every row of the log, with the reason why it is dropped, if it is.
create or replace table interactions_judged as
with typed as (
    select
        rowid as position,
        nullif(trim(user_id), '') as user_id,
        nullif(trim(item_id), '') as item_id,
        ts,
        unread_ts,
        weight,
        unread_weight,
        case
            when getvariable('split') <> 'given' then null
            when lower(trim(part)) = 'valid' then 'validation'
            else lower(trim(part))
        end as given_part
    from interactions_read
),
numbered as (
    select
        *,
        row_number() over (
            partition by user_id, item_id, ts, given_part order by weight desc nulls last, position
        ) as occurrence
    from typed
)
select
    numbered.* exclude (position, occurrence, unread_ts, unread_weight),
    case
        when numbered.user_id is null then 'no user_id'
        when numbered.item_id is null then 'no item_id'
        when items.item_id is null then 'item_id is not in the catalogue'
        when ts is null then 'no readable time'
        when ts < timestamp '1990-01-01' then 'time before 1990'
        when ts >= getvariable('as_of') then 'time at or after the night''s as-of'
        when weight is null or isnan(weight) or weight <= 0 or isinf(weight) then 'weight is not a positive number'
        when getvariable('split') = 'given' and coalesce(given_part, '') not in ('train', 'validation', 'test')
            then 'part is not train, validation or test'
        when occurrence > 1 then 'same user, item and time seen before'
    end as dropped,
    case
        when dropped = 'no readable time' then coalesce(unread_ts, 'null')
        when dropped[:4] = 'time' then cast(ts as varchar)
        when dropped[:6] = 'weight' then coalesce(unread_weight, cast(weight as varchar), 'null')
        when dropped[:4] = 'part' then coalesce(given_part, 'null')
        when dropped is not null then coalesce(numbered.item_id, numbered.user_id)
    end as dropped_example
from numbered
left join items using (item_id);

create or replace table log as
select user_id, item_id, ts, weight, given_part from interactions_judged where dropped is null;

-- A log is long: no copy of it stays that nothing reads any more.
drop table if exists interactions_read;
