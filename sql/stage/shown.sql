-- Every row that tells what a user was shown, with the reason why it is dropped, if it is.
create or replace table shown_judged as
with typed as (
    select
        rowid as position,
        nullif(trim(user_id), '') as user_id,
        nullif(trim(item_id), '') as item_id,
        ts,
        unread_ts
    from shown_read
),
numbered as (
    select *, row_number() over (partition by user_id, item_id, ts order by position) as occurrence from typed
),
choosers as (
    select distinct user_id as chooser from interactions
)
select
    numbered.* exclude (position, occurrence, unread_ts),
    case
        when numbered.user_id is null then 'no user_id'
        when numbered.item_id is null then 'no item_id'
        when items.item_id is null then 'item_id is not in the catalogue'
        when ts is null then 'no readable time'
        when ts < timestamp '1990-01-01' then 'time before 1990'
        when ts >= getvariable('as_of') then 'time at or after the night''s as-of'
        when chooser is null then 'user_id is not in the log'
        when occurrence > 1 then 'same user, item and time seen before'
    end as dropped,
    case
        when dropped = 'no readable time' then coalesce(unread_ts, 'null')
        when dropped[:4] = 'time' then cast(ts as varchar)
        when dropped[:4] = 'user' then numbered.user_id
        when dropped is not null then coalesce(numbered.item_id, numbered.user_id)
    end as dropped_example
from numbered
left join items using (item_id)
left join choosers on numbered.user_id = chooser;

-- The parts are those of the log: by its cut times, or each user's own, after the last choice of the part before.
-- Before the test a held-out item is `held_out` here too: that it was shown and not chosen would tell of it.
create or replace table shown as
with ends as (
    select
        user_id,
        max(ts) filter (part = 'train') as last_train,
        max(ts) filter (part = 'validation') as last_validation
    from parted
    group by user_id
),
placed as (
    select
        shown_judged.* exclude (dropped, dropped_example),
        case
            when getvariable('split') = 'time' then
                case when ts >= test_cut then 'test' when ts >= validation_cut then 'validation' else 'train' end
            when ts > last_validation then 'test'
            when last_validation is not null and ts > last_train then 'validation'
            else 'train'
        end as part
    from shown_judged
    join ends using (user_id)
    cross join cuts
    where dropped is null
)
select
    placed.* exclude (part),
    case when items.cold and part <> 'test' then 'held_out' else part end as part
from placed
join items using (item_id);

drop table if exists parted;
drop table if exists shown_read;
